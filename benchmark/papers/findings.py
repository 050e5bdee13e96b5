"""The paper's claims about the Galton board, each held against a result table as a number with its interval.

A claim says that a number is at most a target. With the 95 % interval of the number it *holds* if the whole
interval is below the target, *fails* if the whole interval is above it, and is *open* between; if a row that
it needs is not ok, there is *no result*. Ratios are paired: both sides were given the same simulations.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..analysis.statistics import NO_RESULT, Interval, mean_interval, ratio_interval, table_of
from ..running.rows import with_variants

LARGE_T = 0.5
PLAIN = "recipe=plain"
METHODS = ("dsm", "tsm", "ltsm", "mix", "mix(gate=learned)")


@dataclass(frozen=True)
class Finding:
    """A claim with its target, where it was looked at, and what was found."""

    claim: str
    variant: str
    budget: int | None  # None where there is no such thing
    target: float
    found: Interval
    at_least: bool = False  # the target is a lower bound

    @property
    def verdict(self) -> str:
        """`holds`, `fails`, `open` where the interval has the target inside, or `no result`."""
        if not np.isfinite(self.found).all():
            return "no result"
        _, low, high = self.found
        if self.at_least:
            return "holds" if low >= self.target else "fails" if high < self.target else "open"
        return "holds" if high <= self.target else "fails" if low > self.target else "open"


def findings(frame: pd.DataFrame) -> list[Finding]:
    """Look at every claim that the Galton rows of a table allow, in every variant and budget it is about.

    Sources: Ko & Geffner, Figures 1, 2 and 5, for the mixture's gain, LTSM's loss at large t and the learned
    weight; the last two claims are the suite's own.
    """
    rows = with_variants(frame[(frame["task"] == "galton") & (frame["status"] != "skipped")])
    return [finding for claim in CLAIMS for finding in claim(rows)]


def _mix_against_dsm(rows: pd.DataFrame) -> Iterator[Finding]:
    for metric, of_budget, target in (
        ("score_error", 100, 1 / 3),
        ("mmd", 100, 0.65),
        ("score_error", 10_000, 1),
    ):
        averaged = rows[(rows["metric"] == metric) & (rows["budget"] == of_budget) & rows["time"].isna()]
        for variant, _, group in groups(averaged):
            yield from compared(
                f"{metric} of MIX / of DSM", variant, target, of(group, "mix"), of(group, "dsm")
            )


def _learned_weight_is_optimal(rows: pd.DataFrame) -> Iterator[Finding]:
    for variant, budget, group in groups(of(rows, "mix(gate=learned)")):
        learned, optimal = (group[group["metric"] == f"{which}_weight"] for which in ("learned", "optimal"))
        if learned.empty or optimal.empty:
            continue
        found = weight_distance(learned, optimal)
        yield Finding("mean over t of the learned w's distance from w*", variant, budget, 0.05, found)


def weight_distance(learned: pd.DataFrame, optimal: pd.DataFrame) -> Interval:
    """Give the mean over t of |w − w*| from the rows of both, of one task, variant and budget."""
    if not (_complete(learned) and _complete(optimal)):
        return NO_RESULT
    wide = [side.pivot(index="replicate", columns="time", values="value") for side in (learned, optimal)]
    times = wide[0].columns.to_numpy(dtype=np.float64)
    distance = (wide[0] - wide[1]).abs().to_numpy(dtype=np.float64)
    average = np.trapezoid(distance, times, axis=1) / (times[-1] - times[0])
    return mean_interval(average.reshape(-1, 1))


def _ltsm_loses_at_large_t(rows: pd.DataFrame) -> Iterator[Finding]:
    errors = rows[rows["metric"] == "score_error"]
    for variant, _, group in groups(at_times(errors, errors["time"] >= LARGE_T)):
        sides = [averaged_over_time(of(group, label)) for label in ("mix", "ltsm")]
        yield from compared(f"score_error at t ≥ {LARGE_T} of MIX / of LTSM", variant, 1.0, *sides)


def _tsm_has_less_variance(rows: pd.DataFrame) -> Iterator[Finding]:
    for variant, budget, group in groups(rows[rows["metric"] == "target_variance"]):
        tsm, ltsm = of(group, "tsm"), of(group, "ltsm")
        if len(tsm) and len(ltsm):
            claim = "largest over t of target variance of TSM / of LTSM"
            yield Finding(claim, variant, budget, 1.0, largest_ratio(tsm, [ltsm]))


def _preconditioned_is_no_worse(rows: pd.DataFrame) -> Iterator[Finding]:
    averaged = rows[(rows["metric"] == "score_error") & (rows["budget"] <= 1000) & rows["time"].isna()]
    known = {(variant, budget): group for variant, budget, group in groups(averaged)}
    for (variant, budget), plain in known.items():
        settings = variant.split()
        default = " ".join(setting for setting in settings if setting != PLAIN)
        if PLAIN in settings and (default, budget) in known:
            for label in METHODS:
                claim = f"score_error of {label}, preconditioned / plain"
                sides = of(known[default, budget], label), of(plain, label)
                yield from compared(claim, default, 1.0, *sides)


CLAIMS: tuple[Callable[[pd.DataFrame], Iterator[Finding]], ...] = (
    _mix_against_dsm,
    _learned_weight_is_optimal,
    _ltsm_loses_at_large_t,
    _tsm_has_less_variance,
    _preconditioned_is_no_worse,
)


def groups(rows: pd.DataFrame) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """Yield variant, budget and rows of each variant and budget."""
    for variant in rows["variant"].unique():
        for budget in sorted(int(b) for b in rows["budget"].unique()):
            group = rows[(rows["variant"] == variant) & (rows["budget"] == budget)]
            if len(group):
                yield str(variant), budget, group


def of(rows: pd.DataFrame, label: str) -> pd.DataFrame:
    """Give the rows of one method."""
    return rows[rows["label"] == label]


def at_times(rows: pd.DataFrame, chosen: "pd.Series[bool]") -> pd.DataFrame:
    """Keep the rows at chosen times, and those that are not ok: a cell that failed has no times."""
    return rows[chosen | (rows["status"] != "ok")]


def _complete(rows: pd.DataFrame) -> bool:
    return bool((rows["status"] == "ok").all())


def averaged_over_time(rows: pd.DataFrame) -> pd.DataFrame:
    """Average values over the diffusion times of rows; the rows as they are if one is not ok."""
    if not _complete(rows):
        return rows
    return rows.groupby(["budget", "replicate", "observation", "status"], as_index=False)[["value"]].mean()


def compared(
    claim: str, variant: str, target: float, numerator: pd.DataFrame, denominator: pd.DataFrame
) -> Iterator[Finding]:
    """Yield the paired ratio of two methods' values of one metric and budget; nothing if one was not run."""
    if numerator.empty or denominator.empty:
        return
    complete = _complete(numerator) and _complete(denominator)
    found = ratio_interval(table_of(numerator), table_of(denominator)) if complete else NO_RESULT
    yield Finding(claim, variant, int(numerator["budget"].iloc[0]), target, found)


def largest_ratio(above: pd.DataFrame, below: list[pd.DataFrame]) -> Interval:
    """Give the largest over t of the ratio to the least of others, with the interval it has there.

    There is no result if a row is not ok, or if one side has none.
    """
    if not all(len(side) and _complete(side) for side in (above, *below)):
        return NO_RESULT
    found = []
    for time in above["time"].unique():
        sides = [table_of(side[side["time"] == time]) for side in (above, *below)]
        least = min(sides[1:], key=lambda side: float(side.mean()))
        found.append(ratio_interval(sides[0], least))
    return max(found, key=lambda interval: interval.value)


def as_markdown(found: list[Finding]) -> str:
    """Write findings as a Markdown table."""
    lines = [
        "| claim | variant | budget | at most | found [95 % interval] | verdict |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {f.claim} | {f.variant or 'default'} | {f.budget:,} | {f.target:.3g} "
        f"| {f.found.value:.3g} [{f.found.low:.3g}, {f.found.high:.3g}] | {f.verdict} |"
        for f in found
    ]
    return "\n".join(lines)
