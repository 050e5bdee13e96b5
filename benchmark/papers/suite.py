"""The claims of the suite about its own gates, targets and networks, in the form of a paper's.

* `auto` is safe: on every task and budget its score error is at most 1.05 times the lower of DSM's and scalar
  MIX's, whichever that is in the table.
* On `linear_gaussian(rotated=true, ...)`, whose directions differ in scale and are not those of the axes,
  `auto` has at most 1/1.5 of scalar MIX's score error from 1,000 simulations on.
* A learned w(t) that starts at w* stays within 0.02 of it, on average over t, at 10,000 simulations.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ..analysis.comparison import ratios
from ..analysis.statistics import NO_RESULT, Interval
from ..running.rows import with_variants
from .findings import Finding, weight_distance
from .ltsm import claims
from .paper import Claim, Paper, PaperFigure, Source

AUTO, SCALAR, DSM, LEARNED = "mix(gate=auto)", "mix", "dsm", "mix(gate=learned_from_optimal)"
HARMLESS, BETTER, NEAR = 1.05, 1 / 1.5, 0.02


def auto_is_safe(table: pd.DataFrame) -> Iterator[Finding]:
    """Compare the score error of `auto` with the lower of DSM's and scalar MIX's."""
    scalar, dsm = (_ratios(table, base) for base in (SCALAR, DSM))
    for place in [place for place in scalar if place in dsm]:
        found = [scalar[place], dsm[place]]
        known = not any(np.isnan(interval.value) for interval in found)
        # the better rival makes the larger ratio
        worse = max(found, key=lambda interval: interval.value) if known else NO_RESULT
        task, variant, budget = place
        claim = f"{task}: score_error of auto / of the better of DSM and scalar MIX"
        yield Finding(claim, variant, budget, HARMLESS, worse)


def auto_finds_directions(table: pd.DataFrame) -> Iterator[Finding]:
    """Compare the score error of `auto` with scalar MIX's on rotated tasks, from 1,000 simulations on."""
    for (task, variant, budget), found in _ratios(table, SCALAR).items():
        if task.startswith("linear_gaussian") and "rotated=true" in task and budget >= 1000:
            yield Finding(f"{task}: score_error of auto / of scalar MIX", variant, budget, BETTER, found)


def _ratios(table: pd.DataFrame, base: str) -> dict[tuple[str, str, int], Interval]:
    """Return the ratios of the score error of `auto` to a base's, by task, variant and budget."""
    found = ratios(table, "score_error", AUTO, base)
    columns = ["task", "variant", "budget", "value", "low", "high"]
    return {
        (str(task), str(variant), int(budget)): Interval(value, low, high)
        for task, variant, budget, value, low, high in found[columns].values
    }


def learned_weight_stays(table: pd.DataFrame) -> Iterator[Finding]:
    """Compute the distance of a learned w that starts at w* from w*, at 10,000 simulations."""
    rows = with_variants(table)
    rows = rows[(rows["label"] == LEARNED) & (rows["budget"] == 10_000) & (rows["status"] != "skipped")]
    for _, own in rows.groupby(["task", "variant", "budget"], sort=False):
        first = own.iloc[0]
        learned, optimal = (own[own["metric"] == f"{which}_weight"] for which in ("learned", "optimal"))
        if len(learned) and len(optimal):
            claim = f"{first['task']}: mean over t of the learned w's distance from w*, started there"
            found = weight_distance(learned, optimal)
            yield Finding(claim, first["variant"], int(first["budget"]), NEAR, found)


SUITE = Paper(
    "suite",
    "Claims of the suite",
    "No paper makes these claims; they are the suite's own",
    "The thresholds are the suite's.",
    (
        Source("galton", ("run", "galton.yaml"), "table.parquet", "cells"),
        Source("suite", ("run", "suite.yaml"), "table.parquet", "cells"),
        Source("gates", ("run", "gates.yaml"), "table.parquet", "cells"),
    ),
    (
        PaperFigure(
            "Gates",
            "",
            claims=(
                Claim("`auto` is no worse than the better of DSM and scalar MIX", ("suite",), auto_is_safe),
                Claim("… where other gates were run", ("gates",), auto_is_safe),
                Claim("`auto` finds directions that differ in scale", ("gates",), auto_finds_directions),
                Claim("A learned w that starts at w* stays near it", ("gates",), learned_weight_stays),
            ),
            reason="`graybench figures` draws the gates of a result folder.",
        ),
        PaperFigure(
            "Targets",
            "",
            claims=(
                Claim("TSM's target varies less than LTSM's", ("galton",), claims.tsm_has_less_variance),
            ),
            reason="`graybench figures` draws it in the result folder of the Galton board.",
        ),
    ),
)
