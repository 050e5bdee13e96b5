"""Claims against a hand-made table, where every finding is known."""

import numpy as np
import pandas as pd
import pytest

from graybench.benchmark.analysis.statistics import Interval
from graybench.benchmark.papers.findings import Finding, as_markdown, findings
from graybench.benchmark.running.rows import DTYPES

TIMES = (0.1, 0.5, 1.0)
LEVEL = {"dsm": 4.0, "tsm": 6.0, "ltsm": 8.0, "mix": 1.0, "mix(gate=learned)": 1.0}


def row(label, budget, variant, **values):
    name, _, gate = label.partition("(")
    settings = " ".join(filter(None, [gate.rstrip(")"), variant]))
    base = {"task": "galton", "method": name, "method_settings": settings, "budget": budget, "status": "ok"}
    return {**base, **values}


def hand_made():
    """Errors in the proportions of LEVEL, the same for all replicates but for a common factor."""
    rows = []
    for label, level in LEVEL.items():
        for variant, factor in (("", 0.5), ("recipe=plain", 1.0)):
            for replicate in range(3):
                at = {"label": label, "budget": 100, "variant": variant, "replicate": replicate}
                value = level * factor * (1 + replicate)
                for o in range(2):
                    rows.append(row(**at, metric="score_error", observation=o, value=value))
                    rows.append(row(**at, metric="mmd", observation=o, value=value**0.5))
                    rows += [
                        row(**at, metric="score_error", observation=o, time=t, value=value) for t in TIMES
                    ]
                rows += [row(**at, metric="target_variance", time=t, value=level) for t in TIMES]
                if label == "mix(gate=learned)":
                    rows += [row(**at, metric="optimal_weight", time=t, value=t) for t in TIMES]
                    rows += [row(**at, metric="learned_weight", time=t, value=t + 0.1 * t) for t in TIMES]
    return pd.DataFrame(rows).reindex(columns=list(DTYPES)).astype(DTYPES)


@pytest.fixture(scope="module")
def found():
    return {(f.claim, f.variant): f for f in findings(hand_made())}


@pytest.mark.parametrize(
    ("claim", "variant", "value", "verdict"),
    [
        ("score_error of MIX / of DSM", "recipe=plain", 0.25, "holds"),
        ("mmd of MIX / of DSM", "", 0.5, "holds"),
        ("mean over t of the learned w's distance from w*", "", 0.055, "fails"),
        ("score_error at t ≥ 0.5 of MIX / of LTSM", "", 0.125, "holds"),
        ("largest over t of target variance of TSM / of LTSM", "recipe=plain", 0.75, "holds"),
        ("score_error of tsm, preconditioned / plain", "", 0.5, "holds"),
    ],
)
def test_findings_are_paired_ratios(claim, variant, value, verdict, found):
    """All replicates share a factor, so a paired ratio has no spread at all."""
    finding = found[claim, variant]
    assert finding.found == pytest.approx((value, value, value), rel=1e-9)
    assert finding.verdict == verdict


def test_claims_without_rows_are_left_out(found):
    assert not any("10,000" in f.claim or f.budget != 100 for f in found.values())
    frame = hand_made()
    assert findings(frame[frame["task"] == "other"]) == []


def test_one_row_that_failed_leaves_its_claims_without_result_and_in_sight():
    frame = hand_made()
    default = (frame["method"] == "ltsm") & (frame["method_settings"] == "")
    row_of = frame.index[default & (frame["metric"] == "score_error") & (frame["time"] == 0.5)][2]
    frame.loc[row_of, ["status", "value"]] = ["not_finite", np.nan]
    verdicts = {(f.claim, f.variant): f.verdict for f in findings(frame)}
    assert verdicts["score_error at t ≥ 0.5 of MIX / of LTSM", ""] == "no result"
    assert verdicts["score_error at t ≥ 0.5 of MIX / of LTSM", "recipe=plain"] == "holds"
    assert verdicts["score_error of MIX / of DSM", ""] == "holds"


@pytest.mark.parametrize("method", ["tsm", "ltsm"])
def test_a_cell_that_failed_as_a_whole_has_no_times_but_stays_in_sight(method):
    frame = hand_made()
    lost = (frame["method"] == method) & (frame["method_settings"] == "")
    rows = [row(method, 100, "", metric=m, status="timeout") for m in ("score_error", "target_variance")]
    failed = pd.DataFrame(rows).reindex(columns=list(DTYPES)).astype(DTYPES)
    verdicts = {(f.claim, f.variant): f.verdict for f in findings(pd.concat([frame[~lost], failed]))}
    claim = "largest over t of target variance of TSM / of LTSM"
    assert verdicts[claim, ""] == "no result"
    assert verdicts[claim, "recipe=plain"] == "holds"
    assert claim not in {f.claim for f in findings(frame[frame["method"] != method])}  # was not run at all


def test_verdicts_follow_the_interval_and_markdown_shows_it():
    made = [Finding("c", "", 100, 1.0, Interval(v, low, high)) for v, low, high in
            ((0.5, 0.4, 0.9), (1.1, 0.9, 1.2), (2.0, 1.5, 3.0))]  # fmt: skip
    assert [finding.verdict for finding in made] == ["holds", "open", "fails"]
    lines = as_markdown(made).splitlines()
    assert lines[2] == "| c | default | 100 | 1 | 0.5 [0.4, 0.9] | holds |"
    assert len({line.count("|") for line in lines}) == 1
    assert np.isfinite(made[0].found.value)
