"""Exponents of growth against exact power laws; times themselves are not asserted."""

import math

import numpy as np
import pytest

from graybench.benchmark.speed import growth as bench_growth
from graybench.benchmark.speed.growth import curves_of, draw, exponent
from graybench.benchmark.speed.timing import Timing


def test_a_power_law_has_its_exponent():
    found = exponent({x: 3.0 * x**1.7 for x in (1, 10, 100, 1000)})
    assert found == pytest.approx((1.7, 1.7, 1.7), abs=1e-6)


def test_the_interval_holds_the_exponent_as_often_as_it_says():
    """Of 1,000 noisy power laws, 950, within 4.5 standard errors of 6.9: fails for 1 seed in 150,000."""
    random, points, inside = np.random.default_rng(1), (1, 10, 100, 1000, 10_000), 0
    for _ in range(1000):
        found = exponent({x: x**0.5 * math.exp(0.3 * random.standard_normal()) for x in points})
        inside += found.low < 0.5 < found.high
    assert abs(inside - 950) < 4.5 * 6.9


def test_curves_are_read_back_from_rows_and_drawn(tmp_path):
    seconds = {100: 1.5, 1000: 2.0, 1_000_000: 9.0}
    table = [
        Timing("something else", 1, 1),
        *bench_growth._as_rows("fit over budget", seconds),
        *bench_growth._as_rows("sampling over evaluations", {10: 0.1, 20: 0.2, 40: 0.4}),
    ]
    assert table[-1].what == "sampling over evaluations = 40; exponent 1.00 [1.00, 1.00]"
    assert table[3].ratio == 6
    curves = curves_of(table)
    assert curves == {("fit", "budget"): seconds, ("sampling", "evaluations"): {10: 0.1, 20: 0.2, 40: 0.4}}
    assert [path.name for path in draw(table, tmp_path)] == ["growth.pdf", "growth.png"]


def test_every_curve_is_measured(monkeypatch):
    monkeypatch.setattr(bench_growth, "QUICK_STEPS", 2)
    monkeypatch.setattr(bench_growth, "DRAWS", 5)
    monkeypatch.setattr(bench_growth, "POINTS", dict.fromkeys(bench_growth.POINTS, (1, 2, 3)))
    curves = curves_of(bench_growth.rows(quick=True))
    expected = {(stage, name) for stage in ("fit", "sampling") for name in bench_growth.POINTS}
    assert set(curves) == expected - {("fit", "evaluations")}
    assert all(list(seconds) == [1, 2, 3] for seconds in curves.values())
