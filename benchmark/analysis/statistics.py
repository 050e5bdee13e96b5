"""Intervals of means, ratios and differences, from a bootstrap over replicates and observations.

The values of a metric form a table (R, m): R replicates, each measured on the same m observations. A metric
without observations has m = 1. `LEVEL` is the level of all intervals.
scipy and statsmodels are imported inside the functions, so that `graybench table` is quick.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]

DRAWS = 2000
LEVEL = 0.95
Z = 1.959964  # half the width of a normal interval, in standard errors
SEED = 20260207
DIGITS = 12  # decimals to which a difference of distances is rounded


class Interval(NamedTuple):
    """A number and the ends of its interval."""

    value: float
    low: float
    high: float


NO_RESULT = Interval(np.nan, np.nan, np.nan)


class Difference(NamedTuple):
    """A difference of means, the ends of its interval, and the p-value of no difference."""

    difference: float
    low: float
    high: float
    p: float


def bootstrap_means(*tables: Array, seed: int = SEED) -> list[Array]:
    """Return `DRAWS` bootstrap draws of the mean of each table (R, m).

    A draw takes rows with replacement, then columns with replacement, and averages. It thus accounts for new
    training sets and for new observations. All tables share the drawn rows and columns: their methods had the
    same simulations.

    Raises:
        ValueError: the tables have different shapes.

    Source: Owen, The pigeonhole bootstrap, 2007.
    """
    if len({table.shape for table in tables}) > 1:
        raise ValueError(f"tables of shapes {[table.shape for table in tables]} cannot be paired")
    replicates, observations = tables[0].shape
    random = np.random.default_rng(seed)
    rows = random.integers(replicates, size=(DRAWS, replicates, 1))
    columns = random.integers(observations, size=(DRAWS, 1, observations))
    return [table[rows, columns].mean((1, 2)) for table in tables]


def mean_interval(table: Array) -> Interval:
    """Return the mean of a table (R, m) with its percentile interval; NaN if a value is missing.

    With five replicates and observations, as in the standard sweeps, percentile intervals are somewhat too
    narrow.
    """
    (draws,) = bootstrap_means(table)
    return Interval(float(table.mean()), *percentiles(draws, len(table)))


def ratio_interval(numerator: Array, denominator: Array) -> Interval:
    """Return the ratio of the means of two paired tables (R, m) with its percentile interval.

    A ratio 0/0 is NaN and makes the interval NaN. Any other ratio with denominator 0 is infinite.
    """
    above, below = bootstrap_means(numerator, denominator)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, ratios = numerator.mean() / denominator.mean(), above / below
    return Interval(float(ratio), *percentiles(ratios, len(numerator)))


def distance_interval(own: Array, other: Array, distance: Callable[[Array], Array]) -> Interval:
    """Compute distance(mean of `own`) − distance(mean of `other`) with its percentile interval.

    Args:
        own, other: paired tables, (R, m).
        distance: the distance from perfect, elementwise.
    """
    mine, theirs = map(distance, bootstrap_means(own, other))
    value = distance(own.mean()) - distance(other.mean())
    return Interval(_rounded(value).item(), *percentiles(_rounded(mine - theirs), len(own)))


def _rounded(differences: Array) -> Array:
    """Round differences of equal numbers, such as 1e-16 or −0, to 0."""
    return np.round(differences, DIGITS) + 0.0


def share_interval(hits: int, n: int) -> Interval:
    """Return the share hits/n with its Wilson interval."""
    from scipy.stats import binomtest

    interval = binomtest(hits, n).proportion_ci(LEVEL, method="wilson")
    return Interval(hits / n, float(interval.low), float(interval.high))


def exact(number: float) -> Interval:
    """Return the interval of an exact number: both ends are the number."""
    return Interval(number, number, number)


def count(hits: int, unknown: int) -> Interval:
    """Return a number of hits as an interval that ends at hits + unknown.

    `unknown` counts the cases without a result, which may be hits as well.
    """
    return Interval(hits, hits, hits + unknown)


def difference_interval(before: Array, after: Array, *, paired: bool) -> Difference:
    """Return the mean of `after` minus the mean of `before`, with Student's interval and p-value.

        d ± t · s · √(n/(n − 1))

    s is the standard deviation of the bootstrap draws of d. n is the least number of replicates or
    observations, counting only numbers above 1, and t has n − 1 degrees of freedom. The factor corrects s, as
    bootstrap draws divide by n. In simulations without a change, with 2 to 30 replicates and 1 to 10
    observations, this interval excludes 0 in at most 7 of 100 pairs of runs. The percentile interval excludes
    0 in 16 of 100 with five replicates.

    Args:
        before, after: tables, (R, m). Interval and p are NaN if one of them has a single replicate.
        paired: whether both tables have the same replicates, and so the same shape. Observations count as the
            same if both tables have equally many.

    Raises:
        ValueError: `paired` is set and the tables have different shapes.
    """
    from scipy.stats import t as student

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
    """Return which of n p-values, (n,), are significant at 1 − `LEVEL` after Holm's correction.

    A NaN is no test, and not significant.

    Source: Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    from statsmodels.stats.multitest import multipletests

    known = np.isfinite(p)
    held = np.zeros(len(p), dtype=bool)
    if known.any():
        held[known] = multipletests(p[known], alpha=1 - LEVEL, method="holm")[0]
    return held


def table_of(rows: pd.DataFrame) -> Array:
    """Return the values of one metric, method and budget as a table (replicates, observations).

    A place without a row is NaN.

    Raises:
        ValueError: two rows have the same place.
    """
    replicates, row = np.unique(rows["replicate"].to_numpy(np.int64), return_inverse=True)
    observations, column = np.unique(rows["observation"].fillna(0).to_numpy(np.int64), return_inverse=True)
    shape = len(replicates), len(observations)
    place = np.ravel_multi_index((row, column), shape)  # pandas' pivot takes ten times as long
    if len(np.unique(place)) < len(place):
        raise ValueError("the rows of a table have the same replicate and observation twice")
    table = np.full(shape, np.nan)
    table.flat[place] = rows["value"].to_numpy(np.float64)
    return table


def summarise(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return the mean with its interval and the mean floor of one metric, for each group of `by`.

    Only rows with status ok count. The columns are `by`, `value`, `low`, `high` and `floor`.
    """
    records = []
    for key, group in rows[rows["status"] == "ok"].groupby(by, sort=False, dropna=False):
        interval = mean_interval(table_of(group))
        records.append(
            {**dict(zip(by, key, strict=True)), **interval._asdict(), "floor": group["floor"].mean()}
        )
    return pd.DataFrame(records, columns=[*by, *Interval._fields, "floor"])


def percentiles(draws: Array, replicates: int) -> tuple[float, float]:
    """Return the ends of the percentile interval of bootstrap draws.

    Args:
        draws: (DRAWS,).
        replicates: how many replicates the draws come from.

    Returns:
        The ends; NaN with fewer than two replicates or if a draw is NaN. An end is infinite if the draws
        beyond it are.
    """
    if replicates < 2 or np.isnan(draws).any():
        return float("nan"), float("nan")
    tail = (1 - LEVEL) / 2
    if np.isfinite(draws).all():
        low, high = np.percentile(draws, [100 * tail, 100 * (1 - tail)])
    else:  # `np.percentile` cannot interpolate between a number and infinity
        last = len(draws) - 1
        low, high = np.sort(draws)[[math.floor(tail * last), math.ceil((1 - tail) * last)]]
    return float(low), float(high)
