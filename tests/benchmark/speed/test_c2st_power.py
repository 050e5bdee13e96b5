"""The table of the power of C2ST: Bayes accuracies against closed forms and against the document."""

import math
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import chi2, norm

from graybench.benchmark.speed import bench, c2st_power
from graybench.benchmark.speed.c2st_power import bayes_accuracy, laws

README = Path(__file__).parents[3] / "benchmark/README.md"


@pytest.mark.parametrize("d", [2, 10])
def test_bayes_accuracies_are_closed_forms(d: int) -> None:
    """Φ(δ/2) for a shift δ. A normal law of width w is told by ‖u‖² > 2d w² log w/(w² − 1).

    400,000 draws: six standard errors of 0.0008.
    """
    found = laws(d)
    standard = found["the same"]
    assert bayes_accuracy(standard, standard) == 0.5
    for shift in (0.3, 0.95):
        assert bayes_accuracy(found[f"shift by {shift}"], standard) == pytest.approx(
            norm.cdf(shift / 2), abs=0.005
        )
    w2 = 1.44
    edge = d * w2 * math.log(w2) / (w2 - 1)
    wide = (chi2(d).sf(edge / w2) + chi2(d).cdf(edge)) / 2
    assert bayes_accuracy(found["1.2 times as wide"], standard) == pytest.approx(wide, abs=0.005)


def test_two_modes_have_the_moments_of_the_standard_normal() -> None:
    """To six standard errors; the covariance has 55 entries."""
    for name in ("two modes on an axis", "two modes on the diagonal"):
        u = laws(10)[name].sample(100_000, 1)
        assert float(u.mean(0).abs().max()) < 6 / 100_000**0.5
        assert float((u.T.cov() - laws(10)["the same"].covariance).abs().max()) < 6 * 1.5 / 100_000**0.5


def test_the_table_is_stored_with_the_part_of_the_bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c2st_power, "QUICK_SIZE", 30)
    monkeypatch.setattr(c2st_power, "BAYES_DRAWS", 1000)
    bench.FIGURES["metrics"]([], True, tmp_path)
    stored = pd.read_csv(tmp_path / "c2st_power.csv")
    assert stored[["d", "law"]].to_numpy().tolist() == [[d, law] for d in (2, 10) for law in laws(d)]
    assert stored[["c2st_mlp", "c2st_ensemble"]].to_numpy().min() > 0.2
    assert len((tmp_path / "c2st_power.md").read_text().splitlines()) == 2 + len(stored)


def test_the_document_has_every_law_with_its_bayes_accuracy() -> None:
    """The numbers are rounded to 0.001, and no accuracy is above the Bayes accuracy by more than noise.

    Accuracies are means of five with n = 1000: 4.5 of their standard errors of 0.005.
    """
    lines = [line.strip("| ").split(" | ") for line in README.read_text(encoding="utf-8").splitlines()]
    start = lines.index(["d", "law", "Bayes", "`c2st_mlp`", "`c2st_ensemble`"]) + 2
    expected = [(d, name, law) for d in (2, 10) for name, law in laws(d).items()]
    for (d, name, law), line in zip(expected, lines[start:], strict=False):
        assert line[:2] == [str(d), name]
        bayes, *accuracies = map(float, line[2:])
        assert bayes == pytest.approx(bayes_accuracy(law, laws(d)["the same"]), abs=0.0011)
        assert max(accuracies) < bayes + 4.5 * 0.005
