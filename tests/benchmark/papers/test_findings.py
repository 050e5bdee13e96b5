"""Verdicts of findings."""

import math

import pandas as pd
import pytest

from graybench.benchmark.analysis.statistics import Interval
from graybench.benchmark.papers.findings import Finding, averaged_over_time


@pytest.mark.parametrize(
    ("found", "at_most", "at_least"),
    [
        ((0.5, 0.4, 0.9), "holds", "fails"),
        ((1.1, 0.9, 1.2), "open", "open"),
        ((2.0, 1.5, 3.0), "fails", "holds"),
        ((1.0, 1.0, 1.0), "holds", "holds"),
        ((1.0, math.nan, 1.0), "no result", "no result"),
    ],
)
def test_verdicts_follow_the_interval(found, at_most, at_least):
    interval = Interval(*found)
    assert Finding("c", "", 100, 1.0, interval).verdict == at_most
    assert Finding("c", "", 100, 1.0, interval, at_least=True).verdict == at_least


def test_values_are_averaged_over_the_range_of_times():
    """By the trapezoid rule: 0.1 · 1.5 + 0.9 · 3 for the first observation, twice that for the second."""
    place = {"budget": 10, "replicate": 0, "status": "ok"}
    rows = pd.DataFrame(
        [
            place | {"observation": o, "time": time, "value": scale * value}
            for o, scale in ((0, 1.0), (pd.NA, 2.0))
            for time, value in ((1.0, 4.0), (0.0, 1.0), (0.1, 2.0))
        ]
    )
    found = averaged_over_time(rows)
    assert found["value"].tolist() == pytest.approx([2.85, 5.7])
    failed = rows.assign(status="failed")
    assert averaged_over_time(failed) is failed
