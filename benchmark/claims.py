"""The paper's claims about the Galton board, each held against a result table as a number with its interval.

A claim says that a number is at most a target. With the 95 % interval of the number it *holds* if the whole
interval is below the target, *fails* if the whole interval is above it, and is *open* between. Ratios are
paired: both sides were given the same simulations.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark.rows import with_variants
from benchmark.statistics import Interval, mean_interval, ratio_interval, table_of

LARGE_T = 0.5
PLAIN = "recipe=plain"
METHODS = ("dsm", "tsm", "ltsm", "mix", "mix(gate=learned)")


@dataclass(frozen=True)
class Finding:
    """A claim with its target, where it was looked at, and what was found."""

    claim: str
    variant: str
    budget: int
    target: float
    found: Interval

    @property
    def verdict(self) -> str:
        """`holds`, `fails`, or `open` where the interval has the target inside."""
        if self.found.high <= self.target:
            return "holds"
        return "fails" if self.found.low > self.target else "open"


def findings(frame: pd.DataFrame) -> list[Finding]:
    """Look at every claim that the Galton rows of a table allow, in every variant and budget it is about.

    Sources: Ko & Geffner, Figures 1, 2 and 5, for the mixture's gain, LTSM's loss at large t and the learned
    weight; the last two claims are the suite's own.
    """
    rows = with_variants(frame[(frame["task"] == "galton") & (frame["status"] == "ok")])
    found = [finding for claim in CLAIMS for finding in claim(rows)]
    return [finding for finding in found if np.isfinite(finding.found.value)]


def _mix_against_dsm(rows: pd.DataFrame) -> Iterator[Finding]:
    for metric, of_budget, target in (
        ("score_error", 100, 1 / 3),
        ("mmd", 100, 0.65),
        ("score_error", 10_000, 1),
    ):
        for variant, budget, group in _groups(rows[rows["budget"] == of_budget]):
            ratio = _ratio(group, group, metric, "mix", "dsm")
            yield Finding(f"{metric} of MIX / of DSM", variant, budget, target, ratio)


def _learned_weight_is_optimal(rows: pd.DataFrame) -> Iterator[Finding]:
    for variant, budget, group in _groups(rows[rows["label"] == "mix(gate=learned)"]):
        learned, optimal = (
            group[group["metric"] == metric].pivot(index="replicate", columns="time", values="value")
            for metric in ("learned_weight", "optimal_weight")
        )
        if learned.empty or optimal.empty:
            continue
        times = learned.columns.to_numpy(dtype=np.float64)
        distance = (learned - optimal).abs().to_numpy(dtype=np.float64)
        average = np.trapezoid(distance, times, axis=1) / (times[-1] - times[0])
        found = mean_interval(average.reshape(-1, 1))
        yield Finding("mean over t of the learned w's distance from w*", variant, budget, 0.05, found)


def _ltsm_loses_at_large_t(rows: pd.DataFrame) -> Iterator[Finding]:
    late = rows[(rows["metric"] == "score_error") & (rows["time"] >= LARGE_T)]
    place = ["label", "variant", "budget", "replicate", "observation", "metric"]
    averages = late.groupby(place, as_index=False)[["value"]].mean().assign(time=np.nan)
    for variant, budget, group in _groups(averages):
        ratio = _ratio(group, group, "score_error", "mix", "ltsm")
        yield Finding(f"score_error at t ≥ {LARGE_T} of MIX / of LTSM", variant, budget, 1.0, ratio)


def _tsm_has_less_variance(rows: pd.DataFrame) -> Iterator[Finding]:
    for variant, budget, group in _groups(rows[rows["metric"] == "target_variance"]):
        above, below = (group[group["label"] == label] for label in ("tsm", "ltsm"))
        if above.empty or below.empty:
            continue
        ratios = [
            ratio_interval(*(table_of(side[side["time"] == time]) for side in (above, below)))
            for time in above["time"].unique()
        ]
        worst = max(ratios, key=lambda ratio: ratio.value)
        yield Finding("largest over t of target variance of TSM / of LTSM", variant, budget, 1.0, worst)


def _preconditioned_is_no_worse(rows: pd.DataFrame) -> Iterator[Finding]:
    of_variant = {
        (variant, budget): group for variant, budget, group in _groups(rows[rows["budget"] <= 1000])
    }
    for (variant, budget), plain in of_variant.items():
        settings = variant.split()
        default = " ".join(setting for setting in settings if setting != PLAIN)
        if PLAIN in settings and (default, budget) in of_variant:
            for label in METHODS:
                ratio = _ratio(of_variant[default, budget], plain, "score_error", label, label)
                yield Finding(f"score_error of {label}, preconditioned / plain", default, budget, 1.0, ratio)


CLAIMS: tuple[Callable[[pd.DataFrame], Iterator[Finding]], ...] = (
    _mix_against_dsm,
    _learned_weight_is_optimal,
    _ltsm_loses_at_large_t,
    _tsm_has_less_variance,
    _preconditioned_is_no_worse,
)


def _groups(rows: pd.DataFrame) -> Iterator[tuple[str, int, pd.DataFrame]]:
    for variant in rows["variant"].unique():
        for budget in sorted(int(b) for b in rows["budget"].unique()):
            group = rows[(rows["variant"] == variant) & (rows["budget"] == budget)]
            if len(group):
                yield str(variant), budget, group


def _ratio(
    above: pd.DataFrame, below: pd.DataFrame, metric: str, numerator: str, denominator: str
) -> Interval:
    """Give the paired ratio of a metric averaged over t; NaN if one side has no rows."""
    sides = []
    for rows, label in ((above, numerator), (below, denominator)):
        own = rows[(rows["metric"] == metric) & (rows["label"] == label) & rows["time"].isna()]
        if own.empty:
            return Interval(np.nan, np.nan, np.nan)
        sides.append(table_of(own))
    return ratio_interval(*sides)


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
