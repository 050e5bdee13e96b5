"""What the suite asks of its own gates, held against a result table in the form of `papers.findings`.

* `auto` is safe: on every task and budget its score error is at most 1.05 times that of the better of DSM and
  scalar MIX, whichever that is in the table.
* Where directions differ in scale and are turned from the axes, on `linear_gaussian(rotated=true, ...)`,
  `auto` has at most 1/1.5 of scalar MIX's score error from 1,000 simulations on.
* A learned w(t) that starts at w* stays within 0.02 of it, on average over t, at 10,000 simulations.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ...analysis.comparison import ratios
from ...analysis.statistics import NO_RESULT, Interval
from ...running.rows import with_variants
from ..findings import Finding, weight_distance

AUTO, SCALAR, DSM, LEARNED = "mix(gate=auto)", "mix", "dsm", "mix(gate=learned_from_optimal)"
Ratios = dict[tuple[str, str, int], Interval]
HARMLESS, BETTER, NEAR = 1.05, 1 / 1.5, 0.02


def gate_findings(frame: pd.DataFrame) -> list[Finding]:
    """Look at every claim about gates that a table allows, in every task, variant and budget."""
    against = {
        base: {
            (str(task), str(variant), int(budget)): Interval(value, low, high)
            for task, variant, budget, value, low, high in ratios(frame, "score_error", AUTO, base)[
                ["task", "variant", "budget", "value", "low", "high"]
            ].values
        }
        for base in (SCALAR, DSM)
    }
    return [*_auto_is_safe(against), *_auto_finds_directions(against[SCALAR]), *_learned_weight_stays(frame)]


def _auto_is_safe(against: dict[str, Ratios]) -> Iterator[Finding]:
    for place in [place for place in against[SCALAR] if place in against[DSM]]:
        found = [against[base][place] for base in (SCALAR, DSM)]
        known = not any(np.isnan(interval.value) for interval in found)
        # the better rival makes the larger ratio
        worse = max(found, key=lambda interval: interval.value) if known else NO_RESULT
        task, variant, budget = place
        claim = f"{task}: score_error of auto / of the better of DSM and scalar MIX"
        yield Finding(claim, variant, budget, HARMLESS, worse)


def _auto_finds_directions(ratio: Ratios) -> Iterator[Finding]:
    for (task, variant, budget), found in ratio.items():
        if task.startswith("linear_gaussian") and "rotated=true" in task and budget >= 1000:
            yield Finding(f"{task}: score_error of auto / of scalar MIX", variant, budget, BETTER, found)


def _learned_weight_stays(frame: pd.DataFrame) -> Iterator[Finding]:
    rows = with_variants(frame)
    rows = rows[(rows["label"] == LEARNED) & (rows["budget"] == 10_000) & (rows["status"] != "skipped")]
    for _, own in rows.groupby(["task", "variant", "budget"], sort=False):
        first = own.iloc[0]
        learned, optimal = (own[own["metric"] == f"{which}_weight"] for which in ("learned", "optimal"))
        if len(learned) and len(optimal):
            claim = f"{first['task']}: mean over t of the learned w's distance from w*, started there"
            found = weight_distance(learned, optimal)
            yield Finding(claim, first["variant"], int(first["budget"]), NEAR, found)
