"""Claims about gates against a hand-made table, where every finding is known."""

import pandas as pd
import pytest

from graybench.benchmark.papers.suite import SUITE
from graybench.benchmark.running.rows import DTYPES

ROTATED = "linear_gaussian(rotated=true, spread=100.0)"
# score errors of DSM, scalar MIX and auto; replicates share a factor, so that ratios have no spread
LEVEL = {"galton": (4.0, 2.0, 2.0), "ar1_noise": (1.0, 2.0, 1.2), ROTATED: (3.0, 2.0, 0.5)}
SETTINGS = {"dsm": ("dsm", ""), "mix": ("mix", ""), "auto": ("mix", "gate=auto")}
LEARNED = ("mix", "gate=learned_from_optimal")


def row(task, method, budget, replicate, metric, value, **place):
    name, settings = method
    same = {"task": task, "method": name, "method_settings": settings, "budget": budget, "status": "ok"}
    return {**same, "replicate": replicate, "metric": metric, "value": value, **place}


def hand_made():
    rows = []
    for task, levels in LEVEL.items():
        for budget in (100, 1000):
            for replicate in range(3):
                for method, level in zip(SETTINGS.values(), levels, strict=True):
                    value = level * (1 + replicate)
                    rows.append(row(task, method, budget, replicate, "score_error", value, observation=0))
    for replicate in range(3):
        for t in (0.0, 0.5, 1.0):
            at = ("galton", LEARNED, 10_000, replicate)
            rows.append(row(*at, "optimal_weight", t, time=t))
            rows.append(row(*at, "learned_weight", t + 0.01, time=t))
    return pd.DataFrame(rows).reindex(columns=list(DTYPES)).astype(DTYPES)


def findings_of(frame):
    found = [f for claim in SUITE.figures[0].claims for f in claim.find(frame)]
    return {(f.claim, f.budget): f for f in found}


@pytest.mark.parametrize(
    ("claim", "budget", "value", "verdict"),
    [
        ("galton: score_error of auto / of the better of DSM and scalar MIX", 100, 1.0, "holds"),
        ("ar1_noise: score_error of auto / of the better of DSM and scalar MIX", 100, 1.2, "fails"),
        (f"{ROTATED}: score_error of auto / of the better of DSM and scalar MIX", 1000, 0.25, "holds"),
        (f"{ROTATED}: score_error of auto / of scalar MIX", 1000, 0.25, "holds"),
        ("galton: mean over t of the learned w's distance from w*, started there", 10_000, 0.01, "holds"),
    ],
)
def test_findings_are_what_the_table_says(claim, budget, value, verdict):
    finding = findings_of(hand_made())[claim, budget]
    assert finding.found == pytest.approx((value, value, value), rel=1e-9)
    assert finding.verdict == verdict


def test_directions_are_asked_for_on_rotated_tasks_from_1000_simulations_on():
    asked = [key for key in findings_of(hand_made()) if key[0].endswith("of auto / of scalar MIX")]
    assert asked == [(f"{ROTATED}: score_error of auto / of scalar MIX", 1000)]


@pytest.mark.parametrize("side", SETTINGS)
def test_a_side_that_failed_leaves_no_result_and_stays_in_sight(side):
    """The better of two rivals is not known where one of them, whichever it is, has no result."""
    frame = hand_made()
    method, settings = SETTINGS[side]
    failed = (frame["task"] == "galton") & (frame["budget"] == 100)
    failed &= (frame["method"] == method) & (frame["method_settings"] == settings)
    frame.loc[failed.idxmax(), ["status", "value"]] = ["not_finite", float("nan")]
    found = findings_of(frame)
    claim = "galton: score_error of auto / of the better of DSM and scalar MIX"
    assert found[claim, 100].verdict == "no result"
    assert found[claim, 1000].verdict == "holds"


def test_a_table_without_these_methods_has_no_such_claims():
    frame = hand_made()
    assert findings_of(frame[frame["method"] == "dsm"]) == {}
