"""Verdicts of findings."""

import math

import pytest

from graybench.benchmark.analysis.statistics import Interval
from graybench.benchmark.papers.findings import Finding


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
