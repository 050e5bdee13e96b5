"""The curves of growth; times themselves are not asserted."""

from graybench.benchmark.speed import growth as bench_growth
from graybench.benchmark.speed.growth import curves_of, draw
from graybench.benchmark.speed.timing import Timing


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
