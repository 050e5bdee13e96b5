"""Intervals for everything that is shown: a bootstrap over replicates, then over observations.

A metric's values form a table (replicates, observations): row r holds what replicate r scored on each
observation. All replicates are measured on the same observations, so the two are crossed: a bootstrap draw
takes rows with replacement, then columns with replacement, and averages [pigeonhole bootstrap, Owen 2007];
the interval is the 2.5 to 97.5 percentile range of the draws. It answers for new training sets and new
observations alike. A metric without observations is a table of one column. Comparisons draw the same rows and
columns for both sides, which were given the same simulations. One replicate says nothing about another: its
interval is NaN. With the five replicates and observations of the standard sweeps, percentile intervals are
somewhat too narrow.

So are they for telling whether something changed: of runs of five replicates in which nothing did, they
exclude 0 in 16 of 100. The interval of a difference of two runs is therefore Student's, d ± t · s: s is the
standard deviation of the draws times √(n/(n − 1)), which they miss, t has n − 1 degrees of freedom, and n is
the least number of replicates or observations, where there are several. In simulations with 2 to 30
replicates and 1 to 10 observations, either or both of which made the spread, it excludes 0 in 7 of 100 at
most.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest
from scipy.stats import t as student
from statsmodels.stats.multitest import multipletests

Array = NDArray[np.float64]

DRAWS = 2000
LEVEL = 0.95
Z = 1.959964  # standard errors on either side of a normal interval
SEED = 20260207
DIGITS = 12  # of a difference of distances


class Interval(NamedTuple):
    """A mean or a ratio of means, and the ends of its interval."""

    value: float
    low: float
    high: float


NO_RESULT = Interval(np.nan, np.nan, np.nan)


class Difference(NamedTuple):
    """A difference of means, the ends of its interval, and the p-value of there being none."""

    difference: float
    low: float
    high: float
    p: float


def bootstrap_means(*tables: Array, seed: int = SEED) -> list[Array]:
    """Return bootstrap draws of the mean of each table (R, m); all tables share the drawn rows and columns.

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
    """Return the mean of a table (R, m) with its interval; NaN if a value is missing."""
    (draws,) = bootstrap_means(table)
    return Interval(float(table.mean()), *percentiles(draws, len(table)))


def ratio_interval(numerator: Array, denominator: Array) -> Interval:
    """Return the ratio of the means of two paired tables (R, m) with its interval.

    0 over 0 is NaN, and then the interval is NaN as well; a number over 0 is infinite.
    """
    above, below = bootstrap_means(numerator, denominator)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, ratios = numerator.mean() / denominator.mean(), above / below
    return Interval(float(ratio), *percentiles(ratios, len(numerator)))


def distance_interval(own: Array, other: Array, distance: Callable[[Array], Array]) -> Interval:
    """Compute how much farther from perfect the mean of one table (R, m) is than the mean of another.

    Args:
        own, other: paired tables.
        distance: from a perfect value, elementwise.
    """
    mine, theirs = map(distance, bootstrap_means(own, other))
    value = distance(own.mean()) - distance(other.mean())
    return Interval(_rounded(value).item(), *percentiles(_rounded(mine - theirs), len(own)))


def _rounded(differences: Array) -> Array:
    """Round what the difference of equal numbers may be, 1e-16 or −0, to 0."""
    return np.round(differences, DIGITS) + 0.0


def share_interval(hits: int, n: int) -> Interval:
    """Return a share with its Wilson interval."""
    interval = binomtest(hits, n).proportion_ci(LEVEL, method="wilson")
    return Interval(hits / n, float(interval.low), float(interval.high))


def exact(number: float) -> Interval:
    """Return a number that is no estimate as an interval."""
    return Interval(number, number, number)


def count(hits: int, unknown: int) -> Interval:
    """Return a number of hits, exact but for what gave no result and may be hits as well."""
    return Interval(hits, hits, hits + unknown)


def difference_interval(before: Array, after: Array, *, paired: bool) -> Difference:
    """Return the mean of one table of values (R, m) less that of another, with Student's interval.

    Args:
        before, after: tables; interval and p are NaN if one of them has a single replicate.
        paired: whether the replicates of both are the same; they are then of one shape. Observations are
            taken to be the same wherever there are as many.

    Raises:
        ValueError: the tables are to be paired but differ in shape.
    """
    value = float(after.mean() - before.mean())
    spread = float(_difference_draws(before, after, paired=paired).std())
    if min(len(before), len(after)) < 2:
        return Difference(value, np.nan, np.nan, np.nan)
    if spread == 0:
        return Difference(value, value, value, float(value == 0))
    n = min(count for count in (*before.shape, *after.shape) if count > 1)
    spread *= (n / (n - 1)) ** 0.5
    reach = float(student.ppf((1 + LEVEL) / 2, n - 1)) * spread
    p = 2 * float(student.sf(abs(value) / spread, n - 1))
    return Difference(value, value - reach, value + reach, p)


def _difference_draws(before: Array, after: Array, *, paired: bool) -> Array:
    if paired:
        first, second = bootstrap_means(before, after)
        return second - first
    random = np.random.default_rng(SEED)
    rows = [random.integers(len(table), size=(DRAWS, len(table), 1)) for table in (before, after)]
    columns = [random.integers(m, size=(DRAWS, 1, m)) for m in (before.shape[1], after.shape[1])]
    if before.shape[1] == after.shape[1]:
        columns[1] = columns[0]
    return after[rows[1], columns[1]].mean((1, 2)) - before[rows[0], columns[0]].mean((1, 2))


def holm(p: Array) -> NDArray[np.bool_]:
    """Say which of n p-values, (n,), hold at 1 − `LEVEL` together [Holm 1979]; NaN counts as none."""
    known = np.isfinite(p)
    held = np.zeros(len(p), dtype=bool)
    if known.any():
        held[known] = multipletests(p[known], alpha=1 - LEVEL, method="holm")[0]
    return held


def table_of(rows: pd.DataFrame) -> Array:
    """Arrange the values of one metric, method and budget as (replicates, observations)."""
    wide = rows.assign(observation=rows["observation"].fillna(0)).pivot(
        index="replicate", columns="observation", values="value"
    )
    return wide.to_numpy(dtype=np.float64)


def summarise(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return `value`, `low`, `high` and the mean `floor` of one metric's ok rows, for each group of `by`."""
    records = []
    for key, group in rows[rows["status"] == "ok"].groupby(by, sort=False, dropna=False):
        interval = mean_interval(table_of(group))
        records.append(
            {**dict(zip(by, key, strict=True)), **interval._asdict(), "floor": group["floor"].mean()}
        )
    return pd.DataFrame(records, columns=[*by, *Interval._fields, "floor"])


def percentiles(draws: Array, replicates: int) -> tuple[float, float]:
    """Return the ends of the interval of draws made from so many replicates.

    They are NaN from one replicate, or where a draw is NaN. An end is infinite where draws beyond it are.
    """
    if replicates < 2 or np.isnan(draws).any():
        return float("nan"), float("nan")
    tail = (1 - LEVEL) / 2
    if np.isfinite(draws).all():
        low, high = np.percentile(draws, [100 * tail, 100 * (1 - tail)])
    else:  # between a number and infinity there is nothing to interpolate
        last = len(draws) - 1
        low, high = np.sort(draws)[[math.floor(tail * last), math.ceil((1 - tail) * last)]]
    return float(low), float(high)
