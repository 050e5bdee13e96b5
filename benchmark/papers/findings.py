"""Findings: numbers with 95 % intervals that a claim is held against, and how tables give them.

A claim says that a number is at most a target, or at least. The claim *holds* if the whole interval is on the
right side of the target, *fails* if the whole interval is on the wrong side, and is *open* otherwise. There
is *no result* if a row that the number needs is not ok, with one replicate, or if the number or an end of its
interval is infinite. Ratios are paired: both sides had the same simulations.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..analysis.statistics import NO_RESULT, Interval, mean_interval, ratio_interval, table_of


@dataclass(frozen=True)
class Finding:
    """A number that a claim is held against.

    Args:
        claim: what the number is.
        variant: the setting of the methods that it is for.
        budget: the number of simulations; None where there is no such number.
        target: what the number must not exceed.
        found: the number with its interval.
        at_least: the number must reach the target instead.
    """

    claim: str
    variant: str
    budget: int | None
    target: float
    found: Interval
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """`holds`, `fails`, `open` where the interval has the target inside, or `no result`."""
        if not np.isfinite(self.found).all():
            return "no result"
        _, low, high = self.found
        if self.at_least:
            return "holds" if low >= self.target else "fails" if high < self.target else "open"
        return "holds" if high <= self.target else "fails" if low > self.target else "open"


def weight_distance(learned: pd.DataFrame, optimal: pd.DataFrame) -> Interval:
    """Return the mean over t of |w − w*| from the rows of both weights, of one task, variant and budget."""
    if not (_complete(learned) and _complete(optimal)):
        return NO_RESULT
    wide = [side.pivot(index="replicate", columns="time", values="value") for side in (learned, optimal)]
    times = wide[0].columns.to_numpy(dtype=np.float64)
    distance = (wide[0] - wide[1]).abs().to_numpy(dtype=np.float64)
    average = np.trapezoid(distance, times, axis=1) / (times[-1] - times[0])
    return mean_interval(average.reshape(-1, 1))


def groups(rows: pd.DataFrame) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """Yield variant, budget and rows of each variant and budget."""
    for variant in rows["variant"].unique():
        for budget in sorted(int(b) for b in rows["budget"].unique()):
            group = rows[(rows["variant"] == variant) & (rows["budget"] == budget)]
            if len(group):
                yield str(variant), budget, group


def of(rows: pd.DataFrame, label: str) -> pd.DataFrame:
    """Return the rows of one method."""
    return rows[rows["label"] == label]


def at_times(rows: pd.DataFrame, chosen: "pd.Series[bool]") -> pd.DataFrame:
    """Return the rows at chosen times, and the rows that are not ok, as a failed cell has no times."""
    return rows[chosen | (rows["status"] != "ok")]


def _complete(rows: pd.DataFrame) -> bool:
    return bool((rows["status"] == "ok").all())


def averaged_over_time(rows: pd.DataFrame) -> pd.DataFrame:
    """Average values over the range of their diffusion times, two or more, by the trapezoid rule.

    Return the rows unchanged if one is not ok.
    """
    if not _complete(rows):
        return rows
    keys = ["budget", "replicate", "observation", "status"]
    curves = rows.sort_values("time").groupby(keys, dropna=False)
    areas = curves[["time", "value"]].apply(lambda own: np.trapezoid(own["value"], own["time"]))
    return (areas / curves["time"].agg(np.ptp)).rename("value").reset_index()


def compared(
    claim: str, variant: str, target: float, numerator: pd.DataFrame, denominator: pd.DataFrame
) -> Iterator[Finding]:
    """Yield the paired ratio of two methods' values of one metric and budget; nothing if one did not run."""
    if numerator.empty or denominator.empty:
        return
    complete = _complete(numerator) and _complete(denominator)
    found = ratio_interval(table_of(numerator), table_of(denominator)) if complete else NO_RESULT
    yield Finding(claim, variant, int(numerator["budget"].iloc[0]), target, found)


def largest_ratio(above: pd.DataFrame, below: list[pd.DataFrame]) -> Interval:
    """Return the largest over t of the ratio to the least of others, with its interval at that t.

    There is no result if a row is not ok, or if a side has no rows.
    """
    if not all(len(side) and _complete(side) for side in (above, *below)):
        return NO_RESULT
    found = []
    for time in above["time"].unique():
        sides = [table_of(side[side["time"] == time]) for side in (above, *below)]
        least = min(sides[1:], key=lambda side: float(side.mean()))
        found.append(ratio_interval(sides[0], least))
    return max(found, key=lambda interval: interval.value)
