"""The log-normal field: its law by explicit matrices, both readings of its joint score, its references."""

import math
from pathlib import Path

import pytest
import torch

from graybench.benchmark.checks.conformance import check_task
from graybench.tasks import get_task
from graybench.tasks.errors import UserError
from graybench.tasks.fields.freeze_lensing import chain, joint_scores
from graybench.tasks.fields.lensing_lognormal import LensingLognormal, hartley
from graybench.tasks.fields.lensing_readings import GRIDS, NOISES, combined, row
from graybench.tasks.frozen import load
from graybench.tasks.importance import importance_reference
from graybench.tasks.seeding import generator
from graybench.tasks.structure import Field
from graybench.tests.numbers import double, normal

READINGS = pytest.mark.parametrize("reading", ["field", "whitened"])


def wave(k, grid):
    """Return cos(2π k·r/N) and sin(2π k·r/N) at the points r of the grid, (N²,) each."""
    axis = torch.arange(grid, dtype=torch.float64)
    angle = 2 * math.pi * (k[0] * axis[:, None] + k[1] * axis).flatten() / grid
    return angle.cos(), angle.sin()


def spectrum(sigma, slope, grid):
    """Return P as a dictionary over the frequencies −N/2 < k ≤ N/2 without 0, by loops."""
    axis = [k - grid if k > grid // 2 else k for k in range(grid)]
    lengths = {(a, b): math.hypot(a, b) for a in axis for b in axis if (a, b) != (0, 0)}
    total = sum(length**-slope for length in lengths.values())
    return {k: grid**2 * sigma**2 * length**-slope / total for k, length in lengths.items()}


def covariance(sigma, slope, grid):
    """Return the covariance of z, Σ_k P_k cos(2π k·(r − r')/N)/N², (N², N²), by sums of outer products."""
    matrix = torch.zeros(grid**2, grid**2, dtype=torch.float64)
    for k, power in spectrum(sigma, slope, grid).items():
        matrix += power / grid**2 * sum(torch.outer(part, part) for part in wave(k, grid))
    return matrix


@pytest.mark.parametrize("grid", [4, 5])
def test_the_hartley_transform_is_its_sum_and_its_own_inverse(grid):
    a = normal(3, grid, grid)
    expected = torch.zeros_like(a)
    for i in range(grid):
        for j in range(grid):
            expected[:, i, j] = a.flatten(1) @ sum(wave((i, j), grid)) / grid
    torch.testing.assert_close(hartley(a), expected)
    torch.testing.assert_close(hartley(hartley(a)), a)


@pytest.mark.parametrize("grid", [4, 5])
def test_the_field_has_the_spectrum_of_the_parameters(grid):
    """The map from white noise to z, as a matrix A, has A Aᵀ = C, whose diagonal is σ²."""
    task, theta = LensingLognormal(grid=grid), double([[math.log(0.7), 1.2]])
    units = torch.eye(grid**2, dtype=torch.float64).view(-1, grid, grid)
    matrix = task.field(theta.expand(grid**2, 2), units).flatten(1).T
    expected = covariance(0.7, 1.2, grid)
    torch.testing.assert_close(matrix @ matrix.T, expected)
    torch.testing.assert_close(expected.diagonal(), torch.full_like(expected.diagonal(), 0.49))


def test_the_density_of_the_field_is_that_of_a_gaussian_vector():
    """In the directions across the constant one, in which z has no spread."""
    grid, theta = 4, double([[math.log(0.7), 1.2], [math.log(0.4), 1.9]])
    task, z = LensingLognormal(grid=grid), LensingLognormal(grid=grid).field(theta, normal(2, grid, grid))
    constant = torch.full((grid**2, 1), 1 / grid, dtype=torch.float64)
    across = torch.linalg.qr(torch.cat([constant, normal(grid**2, grid**2 - 1)], 1)).Q[:, 1:]
    expected = []
    for rows in (theta, theta.flip(0)):
        laws = [across.T @ covariance(math.exp(row[0]), float(row[1]), grid) @ across for row in rows]
        law = torch.distributions.MultivariateNormal(torch.zeros(15).double(), torch.stack(laws))
        expected.append(law.log_prob(z.flatten(1) @ across))
    found = task.log_field(theta, z) - task.log_field(theta.flip(0), z)
    torch.testing.assert_close(found, expected[0] - expected[1])


def test_the_map_is_log_normal_with_mean_zero():
    """σ = ½: skewness (e^v + 2) √(e^v − 1) with v = σ²/λ².

    |z| < 4.5 for means over 2,000 maps: three values fail correct code in 1 of 50,000 seeds.
    """
    task, n = LensingLognormal(shift=0.8, noise=0.1), 2_000
    theta = task.prior.to_theta(torch.zeros(n, 2, dtype=torch.float64))
    x = task.simulator(theta, generator(2)).x
    spread = math.exp(0.25 / 0.64) - 1
    third = 0.8**3 * (spread**3 + 3 * spread**2)  # E[κ³]
    for terms, expected in ((x, 0.0), (x**2, 0.64 * spread + 0.01), (x**3, third)):
        means = terms.mean(1)
        assert abs(means.mean() - expected) < 4.5 * means.std() / math.sqrt(n)
    finer = LensingLognormal(grid=32)
    assert (finer.noise_std, finer.dim_x, finer.structure) == (0.8, 1_024, Field((32, 32)))


@READINGS
@pytest.mark.parametrize("options", [{}, {"grid": 5, "shift": 0.4, "noise": 0.9}])
def test_the_joint_score_is_the_derivative_of_the_joint_density(reading, options):
    task = LensingLognormal(reading=reading, **options)
    theta = task.prior.to_theta(normal(6, 2))
    made = task.simulator(theta, generator(3))
    point = theta.clone().requires_grad_()
    (slope,) = torch.autograd.grad(task.log_joint(point, made.x, made.latents).sum(), point)
    torch.testing.assert_close(made.joint_score, slope)


def test_the_whitened_density_is_that_of_the_data_and_has_the_known_information():
    """For λ → ∞ and known w, x is Gaussian around z: E[g²] of log σ is Σ z²/s² on average, N² σ²/s².

    2,000 maps; |z| < 4.5 fails correct code in 1 of 100,000 seeds.
    """
    task = LensingLognormal(reading="whitened", shift=1e6)
    theta = task.prior.to_theta(torch.zeros(2_000, 2, dtype=torch.float64))
    squares = task.simulator(theta, generator(4)).joint_score[:, 0].square()
    error = squares.std() / math.sqrt(2_000)
    assert abs(squares.mean() - 256 * 0.25 / 0.16) < 4.5 * error


def test_both_readings_have_the_same_data_and_the_same_score_on_average():
    """The difference of the scores has mean 0 given u and x: |z| < 4.5 for 2 · 5 means over 20,000 maps.

    That fails correct code in 1 of 15,000 seeds.
    """
    field, whitened = (LensingLognormal(reading=r, grid=8).simulate(20_000, 5) for r in ("field", "whitened"))
    assert torch.equal(field.x, whitened.x)
    difference = field.joint_score - whitened.joint_score
    assert (difference.std(0) > 1).all()
    functions = [torch.ones(20_000), *field.u.T, field.x.square().mean(1), field.x[:, 0] * field.x[:, 1]]
    for h in functions:
        terms = difference * (h - h.mean() if h.std() > 0 else h).unsqueeze(1)
        assert (terms.mean(0) / terms.std(0)).abs().max() * math.sqrt(20_000) < 4.5


@READINGS
def test_both_readings_pass_the_checks(reading):
    """The rate of false alarms is in `test_conformance`; the seed is fixed."""
    found = {f.check: f.verdict for f in check_task(get_task("lensing_lognormal", reading=reading), 4_000, 1)}
    assert "failed" not in found.values()
    for check in ("differences", "information equality", "T2, prior predictive", "reference, diffused"):
        assert found[check] == "passed"


def test_both_readings_have_the_references_and_other_options_have_none():
    task, whitened = LensingLognormal(), LensingLognormal(reading="whitened")
    assert torch.equal(task.observations().x, whitened.observations().x)
    x_o = task.observations().x[3]
    assert torch.equal(task.reference(x_o).draws, whitened.reference(x_o).draws)
    assert whitened.data_digest() == task.data_digest() != ""
    other = LensingLognormal(grid=8)
    assert other.capabilities == task.capabilities - {"reference"}
    assert (other.data_digest(), other.observations().x.shape) == ("", (10, 64))
    with pytest.raises(UserError, match=r"task lensing_lognormal\(grid=8\) has references for the default"):
        other.reference(other.observations().x[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reading": "white"}, "there is no reading 'white': did you mean whitened"),
        ({"grid": 3}, "grid must be a whole number from 4 up, but is 3"),
        ({"noise": 0.0}, "noise must be a finite number above 0, but is 0.0"),
        ({"shift": math.inf}, "shift must be a finite number above 0, but is inf"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=f"task lensing_lognormal: {message}"):
        LensingLognormal(**options)


def test_the_stored_chains_have_converged_and_the_data_inform_on_both_parameters():
    stored = load("lensing_lognormal")
    assert stored["r_hat"].max() <= 1.01
    assert stored["ess"].min() >= 1_000
    spread = stored["draws"].std(1)
    assert spread.min() > 0.1
    assert spread.max() < 0.8


def gaussian_posterior(task, x_o):
    """Return mean, (2,), and covariance, (2, 2), of u given x for λ → ∞, by quadrature.

    The Hartley coefficients of x are independent, N(0, P_k + s²).
    """
    axis = torch.linspace(-6, 6, 241, dtype=torch.float64)
    u = torch.cartesian_prod(axis, axis)
    variance = task.log_spectrum(task.prior.to_theta(u))[0].exp() + task.noise_std**2
    terms = hartley(x_o.view(task.grid, -1)).square() / variance + variance.log()
    weights = torch.softmax(-u.square().sum(1) / 2 - terms.flatten(1)[:, 1:].sum(1) / 2, 0)
    mean = weights @ u
    return mean, (weights.unsqueeze(1) * (u - mean)).T @ (u - mean)


def test_the_sampler_meets_the_closed_form_of_a_gaussian_map():
    """Means and variances of u, 20 values: with 400 draws, worth 200 or more, |z| < 4.5 in standard errors.

    That fails a correct sampler in 1 of 7,000 seeds.
    """
    task = LensingLognormal(grid=4, shift=1e6, noise=1.0)
    x = task.observations().x[:5]
    u, _ = chain(task, x, 150, 400, 6)
    for draws, x_o in zip(u, x, strict=True):
        mean, spread = gaussian_posterior(task, x_o)
        std = spread.diagonal().sqrt()
        assert ((draws.mean(0) - mean) / std).abs().max() < 4.5 / math.sqrt(200)
        assert (draws.var(0) / std**2 - 1).abs().max() < 4.5 * math.sqrt(2 / 200)


def test_the_sampler_meets_importance_sampling_of_parameters_and_latents():
    """A log-normal map of 4 × 4 points, 18 dimensions: 4 values, with 600 draws worth 300 or more.

    |z| < 4.5 fails a correct sampler in 1 of 35,000 seeds.
    """
    task = LensingLognormal("whitened", grid=4, noise=1.5)
    x_o = task.observations().x[8]

    def log_density(point):
        theta, white = task.prior.to_theta(point[:, :2]), point[:, 2:].view(-1, 4, 4)
        return task.log_joint(theta, x_o.expand(len(point), -1), white) - point.square().sum(1) / 2

    exact = importance_reference(log_density, 18, 7).draws[:, :2]
    (draws,), _ = chain(task, x_o.unsqueeze(0), 150, 600, 8)
    assert exact.mean(0).norm() > 0.4
    assert ((draws.mean(0) - exact.mean(0)) / exact.std(0)).abs().max() < 4.5 / math.sqrt(300)
    assert (draws.var(0) / exact.var(0) - 1).abs().max() < 4.5 * math.sqrt(2 / 300)


def test_the_combined_score_has_the_least_second_moment():
    task = LensingLognormal(grid=8)
    u, white = normal(500, 2), normal(500, 8, 8, seed=2)
    x = task.observations().x[0]
    field, whitened = joint_scores(task, x, u, white)
    found = combined(field, whitened).square().sum()
    for weight in (torch.zeros(2, 2), torch.eye(2), normal(2, 2)):
        other = whitened + (field - whitened) @ weight.double()
        assert found <= other.square().sum() * (1 + 1e-12)


@pytest.mark.parametrize("noise", NOISES)
def test_the_sizes_of_the_scores_are_those_on_the_page(noise):
    """On the grid that takes less time."""
    page = (Path(__file__).parents[3] / "results/lensing/README.md").read_text("utf-8").replace("*", "")
    assert row(min(GRIDS), noise) in page
