"""Calibration of exact posteriors, and of posteriors that are wrong by a known amount."""

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.stats import chi2, kstest, norm

from graybench.benchmark.metrics import diagnostics
from graybench.benchmark.metrics.diagnostics import DRAWS, LEVEL, PAIRS
from graybench.benchmark.metrics.fitted import DoesNotApplyError
from graybench.tasks.classic.galton import Galton
from graybench.tasks.errors import NotFiniteError, UserError
from graybench.tests.benchmark.metrics.posteriors import Exact, Gaussian, Kept, fitted, values

FLOOR = 91 / 101  # ranks 5 … 95 of 0 … 100, and 10 … 100


def test_ranks_count_the_draws_below_the_parameter():
    """By hand, in numpy; and the p-value is that of scipy's test on them."""
    cell = fitted(Exact(width=1.3))
    u, _, drawn = diagnostics._drawn(cell, 0)
    assert (u.shape, drawn.shape) == ((PAIRS, 3), (PAIRS, DRAWS, 3))
    ranks = (drawn.numpy() < u.numpy()[:, None]).sum(1)
    np.testing.assert_array_equal(diagnostics._ranks(u, drawn).numpy(), ranks)
    expected = min(1.0, 3 * min(kstest(own / DRAWS, "uniform").pvalue for own in ranks.T))
    assert values(diagnostics.sbc, cell)[0] == pytest.approx(expected, rel=1e-12)


def test_ranks_and_p_values_are_those_of_sbi():
    """sbi has them in float32."""
    of_sbi = pytest.importorskip("sbi.diagnostics", reason="sbi is not installed")
    cell = fitted(Exact(width=1.2))
    u, x, drawn = diagnostics._drawn(cell, 0)
    ranks, _ = of_sbi.run_sbc(u, x, Kept(drawn), num_posterior_samples=DRAWS, show_progress_bar=False)
    np.testing.assert_array_equal(diagnostics._ranks(u, drawn).numpy(), ranks.numpy())
    p_values = of_sbi.sbc.check_uniformity_frequentist(ranks, DRAWS)
    assert values(diagnostics.sbc, cell)[0] == pytest.approx(3 * float(p_values.min()), rel=1e-4)


def test_exact_posteriors_are_calibrated():
    """p > 1e-3 and |z| < 4 twice: exact posteriors fail in about 1 of 900 seeds."""
    cell = fitted(Exact())
    assert values(diagnostics.sbc, cell)[0] > 1e-3
    (row,) = diagnostics.coverage(cell)
    assert row["floor"] == pytest.approx(FLOOR)
    assert abs(row["value"] - FLOOR) < 4 * row["stderr"]
    (row,) = diagnostics.tarp(cell)
    assert row["floor"] == pytest.approx(-0.125 / 101)  # ranks 0 … 100 of 100 draws
    assert abs(row["value"] - row["floor"]) < 4 * row["stderr"]


@pytest.mark.parametrize("width", [0.6, 2.0])
def test_coverage_is_what_the_width_makes_it(width):
    """u − m is N(0, s²), draws N(m, (width s)²): 90 % intervals cover P(|Z| < 1.645 width), up to |z| < 4.5,
    which a correct metric fails in 1 of 150,000 seeds; SBC misses such widths far more rarely.
    """
    cell = fitted(Exact(width))
    (row,) = diagnostics.coverage(cell)
    expected = 2 * norm.cdf(norm.ppf(0.5 + LEVEL / 2) * width) - 1
    assert abs(row["value"] - expected) < 4.5 * row["stderr"] + 0.01
    assert values(diagnostics.sbc, cell)[0] < 1e-3
    (area,) = values(diagnostics.tarp, cell)
    assert area < -0.01 if width < 1 else area > 0.01


def test_a_shifted_posterior_is_found_by_every_diagnostic():
    """By 1.5 standard deviations, with which 90 % intervals cover 0.56. The standard error is 0.02, four of
    which are allowed: 1 of 30,000 seeds fails.
    """
    cell = fitted(Exact(shift=1.5))
    assert values(diagnostics.sbc, cell)[0] < 1e-6
    assert values(diagnostics.coverage, cell)[0] < 0.65
    assert values(diagnostics.tarp_gap, cell)[0] > 0.15
    distance = [row["value"] - row["floor"] for row in diagnostics.predictive_distance(cell)]
    assert min(distance) > 0


@pytest.mark.parametrize("width", [0.7, 1.0, 1.4])
def test_expected_coverage_is_that_of_the_region_of_highest_density(width):
    """The posterior is the prior times a width; u² is chi-square with 3 degrees. |z| < 4.5: of correct ones
    1 of 150,000 seeds fails.
    """
    (row,) = diagnostics.expected_coverage(fitted(Gaussian(width)))
    expected = chi2(3).cdf(chi2(3).ppf(LEVEL) * width**2)
    assert abs(row["value"] - expected) < 4.5 * row["stderr"] + 0.01
    assert row["floor"] == pytest.approx(FLOOR)


@pytest.mark.parametrize(
    ("density", "error", "message"),
    [
        (lambda u: torch.where(u[..., 0] > 1, torch.nan, u[..., 0]), NotFiniteError, "not finite"),
        (lambda u: torch.full(u.shape[:2], torch.inf), NotFiniteError, "not finite"),
        (lambda u: u[..., 0].T, UserError, r"must return shape \(200, 101\), but returned \(101, 200\)"),
    ],
)
def test_what_is_no_density_is_refused(density, error, message):
    class Broken(Gaussian):
        def log_prob(self, u, x_o):
            return density(u)

    with pytest.raises(error, match=message):
        list(diagnostics.expected_coverage(fitted(Broken(1.0))))


def test_a_density_may_be_zero():
    """|z| < 4.5: of correct ones 1 of 150,000 seeds fails."""

    class Half(Gaussian):
        def log_prob(self, u, x_o):
            return torch.where(u[..., 0] > 3, -torch.inf, super().log_prob(u, x_o))

    (row,) = diagnostics.expected_coverage(fitted(Half(1.0)))
    assert abs(row["value"] - row["floor"]) < 4.5 * row["stderr"]


def test_a_posterior_may_be_a_dataclass():
    """Which has no hash; its draws are shared by the diagnostics of a cell."""

    @dataclass
    class Plain(Gaussian):
        width: float
        calls: int = 0

        def sample(self, n, x_o, seed):
            self.calls += 1
            return super().sample(n, x_o, seed)

    cell = fitted(Plain(1.0))
    before = cell.posteriors[0].calls
    for metric in (diagnostics.sbc, diagnostics.coverage, diagnostics.tarp, diagnostics.tarp_gap):
        assert np.isfinite(values(metric, cell)).all()
    assert cell.posteriors[0].calls == before + 1


def test_expected_coverage_needs_a_density():
    with pytest.raises(DoesNotApplyError, match="no density"):
        list(diagnostics.expected_coverage(fitted(Exact())))


def test_draws_that_are_not_finite_are_refused():
    class Broken(Exact):
        def sample(self, n, x_o, seed):
            return torch.full((len(x_o), n, 3), torch.nan, dtype=torch.float64)

    with pytest.raises(ArithmeticError, match="not finite"):
        list(diagnostics.coverage(fitted(Broken())))


def test_bounded_and_discrete_tasks_are_diagnosed_in_u():
    """The exact posterior of the Galton board, whose data are counts: 1 of 1,000 seeds fails."""
    cell = fitted(Exact(task=Galton()), task=Galton())
    assert values(diagnostics.sbc, cell)[0] > 1e-3
    assert all(np.isfinite(values(diagnostics.predictive_distance, cell)))


WITHOUT_SBI = """
import sys
sys.modules["sbi"] = None  # importing it, or a part of it, raises ModuleNotFoundError
from graybench.benchmark.running.cell import Cell
from graybench.benchmark.running.measure import run_cell
from graybench.tasks import get_task
from graybench.methods import get_method
metrics = ("sbc", "coverage", "expected_coverage", "tarp")
method = get_method("dsm", steps=2, width=4, sampling_steps=2)
rows = run_cell(Cell(get_task("linear_gaussian"), method, 50, 1, metrics, 10, 1, 0, None)).rows
print(*rows["metric"], *rows["status"])
"""


def test_calibration_needs_no_sbi():
    done = subprocess.run([sys.executable, "-c", WITHOUT_SBI], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["sbc", "coverage", "expected_coverage", "tarp", *["ok"] * 4]
