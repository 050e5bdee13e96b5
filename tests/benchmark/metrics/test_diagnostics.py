"""Diagnostics of exact posteriors, and of posteriors that are wrong by a known amount."""

import math
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.stats import chi2, kstest, kstwo, ncx2, norm

from graybench.benchmark.metrics import diagnostics
from graybench.benchmark.metrics.diagnostics import DRAWS, LEVEL, PAIRS
from graybench.benchmark.metrics.fitted import DoesNotApplyError, Fitted
from graybench.benchmark.metrics.truth import truth_of
from graybench.methods.method import Posterior
from graybench.tasks import get_task
from graybench.tasks.classic.galton import Galton
from graybench.tasks.classic.linear_gaussian import LinearGaussian
from graybench.tasks.errors import NotFiniteError, UserError
from graybench.tasks.seeding import derive_seed, generator
from graybench.tests.benchmark.toys import Line

TASK = LinearGaussian(3)
FLOOR = 91 / 101  # ranks 5 … 95 of 0 … 100, and 10 … 100


class Exact(Posterior):
    """The posterior of `TASK`, its standard deviations times `width`, its means moved by `shift` of them."""

    def __init__(self, width=1.0, shift=0.0, task=TASK):
        self.width, self.shift, self.task = width, shift, task

    def _law(self, x):
        drawn = self.task.reference(x).sample(20_000, 5)
        return drawn.mean(0), drawn.std(0)

    def sample(self, n, x_o, seed):
        drawn = []
        for o, x in enumerate(x_o):
            mean, std = self._law(x)
            own = self.task.reference(x).sample(n, derive_seed(seed, o))
            drawn.append(mean + self.width * (own - mean) + self.shift * std)
        return torch.stack(drawn)


class Gaussian(Posterior):
    """N(0, width²) for every x, with its density."""

    def __init__(self, width):
        self.width = width

    def sample(self, n, x_o, seed):
        return self.width * torch.randn(len(x_o), n, 3, generator=generator(seed), dtype=torch.float64)

    def log_prob(self, u, x_o):
        return -0.5 * (u / self.width).square().sum(-1)


def fitted(*posteriors, task=TASK):
    truth = truth_of(task, 2, 300)
    x_o = truth.observations.x
    samples = torch.stack([task.prior.to_theta(p.sample(300, x_o, 3)) for p in posteriors])
    return Fitted(truth, [], list(posteriors), samples)


def values(metric, cell):
    return [row["value"] for row in metric(cell)]


def test_ranks_count_the_draws_below_the_parameter():
    """By hand, in numpy; and the p-value is that of scipy's test on them."""
    cell = fitted(Exact(width=1.3))
    u, _, drawn = diagnostics._drawn(cell, 0)
    assert (u.shape, drawn.shape) == ((PAIRS, 3), (PAIRS, DRAWS, 3))
    ranks = (drawn.numpy() < u.numpy()[:, None]).sum(1)
    np.testing.assert_array_equal(diagnostics._ranks(u, drawn).numpy(), ranks)
    expected = min(1.0, 3 * min(kstest(own / DRAWS, "uniform").pvalue for own in ranks.T))
    assert values(diagnostics.sbc, cell)[0] == pytest.approx(expected, rel=1e-12)


class Kept:
    """Draws (pairs, n, d) in the form in which sbi's diagnostics ask a posterior for them."""

    def __init__(self, drawn):
        self.drawn = drawn

    def sample_batched(self, *_, **__):
        return self.drawn.transpose(0, 1)


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


def by_hand(cell):
    """f of every pair, from numpy alone, to the random points that `tarp` takes."""
    u, _, drawn = (part.numpy() for part in diagnostics._drawn(cell, 0))
    random = generator(diagnostics._seed(cell.truth, "tarp", 0))
    points = torch.randn(u.shape, generator=random, dtype=torch.float64).numpy()
    shares = [
        np.mean(np.linalg.norm(d - p, axis=1) < np.linalg.norm(v - p))
        for v, d, p in zip(u, drawn, points, strict=True)
    ]
    return np.array(shares), points


@pytest.mark.parametrize("width", [0.6, 1.0, 2.0])
def test_tarp_is_the_area_between_the_curve_and_the_diagonal(width):
    """Against the midpoint rule over α; and where no share is missing between 0 and 1, against sbi's sum,
    which has one end point too many: half a bin of 0.05 times the gap at α = ½, a quarter at most.
    """
    cell = fitted(Gaussian(width))
    (row,) = diagnostics.tarp(cell)
    shares, points = by_hand(cell)
    alpha = 0.5 + (np.arange(20_000) + 0.5) / 40_000
    area = ((shares[:, None] <= alpha).mean(0) - alpha).mean() / 2
    assert row["value"] == pytest.approx(area, abs=1e-4)
    if width <= 1:
        of_sbi = pytest.importorskip("sbi.diagnostics", reason="sbi is not installed")
        u, x, drawn = diagnostics._drawn(cell, 0)
        at = torch.from_numpy(points)
        curve = of_sbi.run_tarp(u, x, Kept(drawn), at, DRAWS, show_progress_bar=False, z_score_theta=False)
        assert row["value"] == pytest.approx(of_sbi.check_tarp(*curve)[0], abs=0.0065)


def test_tarp_grows_with_the_width_to_an_eighth():
    """A posterior that is hopelessly wide has hardly a draw nearer than u, and the area ∫ 1 − α from ½ to 1.
    That is the most there can be; the first three steps are four standard errors and more: 1 of 10,000 fails.
    """
    areas = [values(diagnostics.tarp, fitted(Gaussian(width)))[0] for width in (0.3, 0.6, 1, 2, 10)]
    assert areas == sorted(areas)
    assert areas[0] < -0.05
    assert areas[-1] == pytest.approx(0.125, abs=0.001)


class Space(Line):
    """`Line` in three dimensions: the exact posterior is N(x/2, I/2)."""

    name = "space"
    dim_theta = dim_x = 3


@dataclass(frozen=True)
class Halved(Posterior):
    """N(x/2, I/2), its standard deviations times `width`, its means moved by `shift` of them."""

    width: float = 1.0
    shift: float = 0.0

    def sample(self, n, x_o, seed):
        noise = torch.randn(len(x_o), n, x_o.shape[1], generator=generator(seed), dtype=x_o.dtype)
        return x_o.unsqueeze(1) / 2 + 0.5**0.5 * (self.width * noise + self.shift)


def simulated(law, d, pairs):
    """The area and the gap of TARP for `Halved`, from pairs of its own.

    Given m, u and the point p, the squared distance of a draw from p is a noncentral chi-square variable. The
    number of nearer draws among `DRAWS` is therefore binomial.
    """
    random = np.random.default_rng(3)
    z, m, p = random.standard_normal((3, pairs, d)) * np.array([1, 0.5**0.5, 1]).reshape(3, 1, 1)
    q = (p - m) / 0.5**0.5
    squared, centre = ((z - q) ** 2).sum(1) / law.width**2, ((q - law.shift) ** 2).sum(1) / law.width**2
    k = random.binomial(DRAWS, ncx2.cdf(squared, d, centre))
    covered = np.bincount(k, minlength=DRAWS + 1).cumsum() / pairs
    levels = np.arange(1, DRAWS + 2) / (DRAWS + 1)
    return 5 / 8 - np.maximum(k / DRAWS, 0.5).mean(), np.abs(covered - levels).max()


LAWS = [Halved(shift=1.0), Halved(shift=2.0), Halved(0.7), Halved(1.4), Halved(1.4, 1.0), Halved(10.0)]


@pytest.mark.parametrize("task", [Line(), Space()], ids=lambda task: task.name)
@pytest.mark.parametrize("law", LAWS, ids=str)
def test_tarp_and_its_gap_are_those_of_a_simulation(law, task, monkeypatch):
    """4,000 pairs against 100,000: |z| < 4.5 twice, which 1 of 70,000 seeds fails. A largest gap is above the
    gap at the right level by 0.003 at most.
    """
    monkeypatch.setattr(diagnostics, "PAIRS", 4000)
    expected_area, expected_gap = simulated(law, task.dim_theta, 100_000)
    cell = fitted(law, task=task)
    (area,), (gap,) = diagnostics.tarp(cell), diagnostics.tarp_gap(cell)
    assert abs(area["value"] - expected_area) <= 4.5 * 1.02 * area["stderr"]
    assert -4.5 * 1.02 * gap["stderr"] < gap["value"] - expected_gap < 4.5 * 1.02 * gap["stderr"] + 0.003
    if law.shift and law.width == 1:
        assert abs(expected_area) < 0.08
        assert gap["value"] > 0.1


def test_the_gap_of_exact_posteriors_is_kolmogorovs_statistic():
    """200 replicates twice: p > 1e-4, a mean within 4.5 standard errors, and as many as the definition names
    above 0.095: 1 of 5,000 seeds fails. A posterior that equals the prior is not seen.
    """
    for law, task in ((Halved(), Line()), (Gaussian(1.0), Space())):
        rows = list(diagnostics.tarp_gap(fitted(*[law] * 200, task=task)))
        gaps = np.array([row["value"] for row in rows])
        assert kstest(gaps, kstwo(PAIRS).cdf).pvalue > 1e-4
        assert rows[0]["floor"] == pytest.approx(0.8687 / PAIRS**0.5, rel=0.02)  # of infinitely many pairs
        assert abs(gaps.mean() - rows[0]["floor"]) < 4.5 * gaps.std() / 200**0.5
        assert abs((gaps > 0.095).mean() - 0.05) < 4.5 * 0.0154


@pytest.mark.parametrize(
    ("law", "gaps", "areas"),
    [(Halved(), 0.05, 0.04), (Halved(shift=1.0), 0.93, 0.07), (Halved(1.4), 0.85, 0.97)],
    ids=str,
)
def test_what_tarp_and_its_gap_find(law, gaps, areas):
    """The shares that benchmark/README.md names, of 1,000 simulations, against 100 replicates.

    4.5 standard errors of both: 1 of 20,000 seeds fails.
    """
    cell = fitted(*[law] * 100, task=Line())
    found = np.mean([row["value"] > 0.095 for row in diagnostics.tarp_gap(cell)])
    z = [(row["value"] - row["floor"]) / row["stderr"] for row in diagnostics.tarp(cell)]
    for share, expected in ((found, gaps), (np.mean(np.abs(z) > 1.96), areas)):
        assert abs(share - expected) < 4.5 * math.sqrt(expected * (1 - expected) * (1 / 100 + 1 / 1000))


def test_the_standard_error_of_the_gap_is_its_spread_where_there_is_one():
    """The spread of 200 replicates is known to 5 %: four of its errors, 1 of 15,000 seeds."""
    rows = list(diagnostics.tarp_gap(fitted(*[Halved(shift=2.0)] * 200, task=Line())))
    value, stderr = (np.array([row[of] for row in rows]) for of in ("value", "stderr"))
    assert value.std() == pytest.approx(stderr.mean(), rel=0.2)


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


def lower_median(a):
    """The median as torch takes it: of two values in the middle the lower one."""
    return np.sort(a, axis=0)[(len(a) - 1) // 2]


def test_predictive_distance_is_the_median_of_distances_in_deviations():
    """Against numpy on the same simulations; the reference gives its own floor within 4.5 standard errors."""
    cell = fitted(Exact())
    rows = list(diagnostics.predictive_distance(cell))
    assert [row["observation"] for row in rows] == [0, 1]
    scale = TASK.simulate(diagnostics.PREDICTIVE_SCALE, diagnostics._seed(cell.truth, "predictive scale")).x
    deviation = lower_median(np.abs(scale.numpy() - lower_median(scale.numpy())))
    for row in rows:
        o = row["observation"]
        theta = cell.samples[0, o][: diagnostics.PREDICTIVE_DRAWS]
        x = TASK.simulate_at(theta, diagnostics._seed(cell.truth, "predictive", 0, o)).x.numpy()
        distance = np.sqrt((((x - cell.truth.observations.x[o].numpy()) / deviation) ** 2).mean(1))
        assert row["value"] == pytest.approx(float(lower_median(distance)), rel=1e-5)
        assert abs(row["value"] - row["floor"]) < 4.5 * math.sqrt(2) * row["stderr"]


def test_draws_on_the_edge_of_the_prior_have_a_distance_too():
    """Where u = 20, θ is rounded to the edge of (−1, 1): the simulator is run there."""
    task, r = get_task("sbibm_two_moons"), 0
    truth = truth_of(task, 1, 300)
    theta = task.prior.to_theta(torch.full((50, 2), 20.0, dtype=torch.float64))
    x = task.simulator(theta, generator(diagnostics._seed(truth, "predictive", r, 0))).x
    distance = ((x - truth.observations.x[0]) / diagnostics._predictive_scale(truth)).square().mean(1).sqrt()
    assert diagnostics._distance(truth, 0, theta, r)[0] == float(distance.median())


def test_draws_far_from_the_prior_are_simulated_at_its_edge():
    """Rates of e^30 births would not end; those at the edge do, and are far from the observation."""
    task = get_task("immigration_death")
    truth = truth_of(task, 1, 300)
    far, edge = (task.prior.to_theta(torch.full((20, 2), u, dtype=torch.float64)) for u in (70.0, 10.0))
    found = diagnostics._distance(truth, 0, far, 0)
    assert found == diagnostics._distance(truth, 0, edge, 0)
    assert found[0] > 1


def test_the_standard_error_of_the_predictive_distance_is_its_spread_over_draws():
    """Over 60 sets of draws: the ratio of spread to mean standard error is 1 within a third."""
    truth, found = truth_of(TASK, 1, 300), []
    for r in range(60):
        theta = TASK.prior.to_theta(TASK.reference(truth.observations.x[0]).sample(200, r))
        found.append(diagnostics._distance(truth, 0, theta, r))
    value, stderr = np.array(found).T
    assert 0.67 < value.std() / stderr.mean() < 1.5


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
