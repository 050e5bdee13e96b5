"""Intervals for everything that is shown: a bootstrap over replicates, then over observations.

A metric's values form a table (replicates, observations): row r holds what replicate r scored on each
observation. All replicates are measured on the same observations, so the two are crossed: a bootstrap draw
takes rows with replacement, then columns with replacement, and averages [pigeonhole bootstrap, Owen 2007];
the interval is the 2.5 to 97.5 percentile range of the draws. It answers for new training sets and new
observations alike. A metric without observations is a table of one column. Comparisons draw the same rows and
columns for both sides, which were given the same simulations. One replicate says nothing about another: its
interval is NaN. With the five replicates and observations of the standard sweeps, percentile intervals are
somewhat too narrow.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]

DRAWS = 2000
LEVEL = 0.95
SEED = 20260207


class Interval(NamedTuple):
    """A mean or a ratio of means, and the ends of its interval."""

    value: float
    low: float
    high: float


def bootstrap_means(*tables: Array, seed: int = SEED) -> list[Array]:
    """Give bootstrap draws of the mean of each table (R, m); all tables share the drawn rows and columns.

    Raises:
        ValueError: the tables differ in shape, so that they cannot be paired.
    """
    if len({table.shape for table in tables}) > 1:
        raise ValueError(f"tables of shapes {[table.shape for table in tables]} cannot be paired")
    replicates, observations = tables[0].shape
    random = np.random.default_rng(seed)
    rows = random.integers(replicates, size=(DRAWS, replicates, 1))
    columns = random.integers(observations, size=(DRAWS, 1, observations))
    return [table[rows, columns].mean((1, 2)) for table in tables]


def mean_interval(table: Array) -> Interval:
    """Give the mean of a table (R, m) with its interval; NaN if a value is missing."""
    (draws,) = bootstrap_means(table)
    return Interval(float(table.mean()), *percentiles(draws, len(table)))


def ratio_interval(numerator: Array, denominator: Array) -> Interval:
    """Give the ratio of the means of two paired tables (R, m) with its interval."""
    above, below = bootstrap_means(numerator, denominator)
    return Interval(float(numerator.mean() / denominator.mean()), *percentiles(above / below, len(numerator)))


def table_of(rows: pd.DataFrame) -> Array:
    """Arrange the values of one metric, method and budget as (replicates, observations)."""
    wide = rows.assign(observation=rows["observation"].fillna(0)).pivot(
        index="replicate", columns="observation", values="value"
    )
    return wide.to_numpy(dtype=np.float64)


def summarise(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Give `value`, `low`, `high` and the mean `floor` of one metric's ok rows, for each group of `by`."""
    records = []
    for key, group in rows[rows["status"] == "ok"].groupby(by, sort=False, dropna=False):
        interval = mean_interval(table_of(group))
        records.append(
            {**dict(zip(by, key, strict=True)), **interval._asdict(), "floor": group["floor"].mean()}
        )
    return pd.DataFrame(records, columns=[*by, *Interval._fields, "floor"])


def percentiles(draws: Array, replicates: int) -> tuple[float, float]:
    """Give the ends of the interval of draws made from so many replicates; NaN from one."""
    if replicates < 2:
        return float("nan"), float("nan")
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return float(low), float(high)
