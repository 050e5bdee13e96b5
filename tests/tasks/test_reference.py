"""References: densities, samples and diffused scores against closed forms and quadrature."""

import math

import pytest
import torch
from scipy import stats

from graybench.methods.score.schedule import alpha_sigma_at
from graybench.tasks.reference import GaussianReference, GridReference

GRID = torch.linspace(-7, 7, 2801, dtype=torch.float64)
TIMES = (1e-3, 0.01, 0.1, 0.5, 1.0)


def two_humps(u):
    """A lopsided mixture, normalised: 0.7 N(−1, 0.3²) + 0.3 N(1.5, 0.1²)."""
    first = math.log(0.7) - 0.5 * ((u + 1) / 0.3) ** 2 - math.log(0.3)
    second = math.log(0.3) - 0.5 * ((u - 1.5) / 0.1) ** 2 - math.log(0.1)
    return torch.logaddexp(first, second) - 0.5 * math.log(2 * math.pi)


@pytest.mark.parametrize("t", TIMES)
def test_grid_score_is_exact_for_a_mixture(t):
    alpha, sigma = alpha_sigma_at(t)
    reference = GridReference(GRID, two_humps(GRID) + 3.0)  # the constant must not matter
    u_t = torch.linspace(-3, 3, 101, dtype=torch.float64).requires_grad_(True)
    spreads = [math.sqrt((alpha * s) ** 2 + sigma**2) for s in (0.3, 0.1)]
    parts = [
        math.log(w / spread) - 0.5 * ((u_t - alpha * mean) / spread) ** 2
        for w, mean, spread in zip((0.7, 0.3), (-1.0, 1.5), spreads, strict=True)
    ]
    (expected,) = torch.autograd.grad(torch.logaddexp(*parts).sum(), u_t)
    got = reference.diffused_score(u_t.detach().unsqueeze(1), alpha, sigma)[:, 0]
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("t", TIMES)
def test_grid_score_equals_autograd_of_the_quadrature(t):
    alpha, sigma = alpha_sigma_at(t)
    log_density = -torch.cosh(GRID) - 0.3 * GRID  # no closed form
    reference = GridReference(GRID, log_density)
    u_t = torch.linspace(-2, 2, 41, dtype=torch.float64).unsqueeze(1).requires_grad_(True)
    log_p_t = torch.logsumexp(log_density - (u_t - alpha * GRID) ** 2 / (2 * sigma**2), 1)
    (expected,) = torch.autograd.grad(log_p_t.sum(), u_t)
    got = reference.diffused_score(u_t.detach(), alpha, sigma)
    torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-8)


def test_grid_log_prob_is_normalised_and_interpolates():
    reference = GridReference(GRID, two_humps(GRID) - 40.0)
    u = torch.linspace(-2.001, 2.003, 77, dtype=torch.float64)
    got = reference.log_prob(u.unsqueeze(1))
    torch.testing.assert_close(got, two_humps(u), rtol=0, atol=2e-3)  # linear between points 0.005 apart
    on_grid = GRID[1000:1800:37]
    torch.testing.assert_close(reference.log_prob(on_grid.unsqueeze(1)), two_humps(on_grid))
    assert reference.log_prob(torch.tensor([[7.5]], dtype=torch.float64)).item() == -math.inf
    torch.testing.assert_close(reference.log_prob(on_grid[:1]), two_humps(on_grid[0]))  # u (d,): one number


def test_grid_samples_have_the_law_of_the_density():
    sample = GridReference(GRID, two_humps(GRID)).sample(20_000, seed=3)[:, 0].numpy()

    def law(u):
        return 0.7 * stats.norm.cdf(u, -1, 0.3) + 0.3 * stats.norm.cdf(u, 1.5, 0.1)

    assert stats.kstest(sample, law).pvalue > 1e-4  # fails a correct sampler once in 10,000 seeds


def test_gaussian_against_torch_and_finite_differences():
    mean = torch.tensor([1.0, -0.5], dtype=torch.float64)
    covariance = torch.tensor([[0.5, 0.3], [0.3, 0.4]], dtype=torch.float64)
    reference = GaussianReference(mean, covariance)
    alpha, sigma = alpha_sigma_at(0.2)
    u_t = torch.randn(50, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    diffused = torch.distributions.MultivariateNormal(
        alpha * mean, alpha**2 * covariance + sigma**2 * torch.eye(2, dtype=torch.float64)
    )
    points = u_t.clone().requires_grad_(True)
    (expected,) = torch.autograd.grad(diffused.log_prob(points).sum(), points)
    torch.testing.assert_close(reference.diffused_score(u_t, alpha, sigma), expected)
    whitened = (reference.sample(20_000, seed=1) - mean) @ torch.linalg.inv(
        torch.linalg.cholesky(covariance)
    ).T
    for column in whitened.T:  # each fails a correct sampler once in 10,000 seeds
        assert stats.kstest(column.numpy(), stats.norm.cdf).pvalue > 1e-4
    assert abs(stats.pearsonr(*whitened.T.numpy()).statistic) < 4.5 / math.sqrt(20_000)


def test_the_grid_and_the_gaussian_agree():
    gaussian = GaussianReference(
        torch.tensor([0.4], dtype=torch.float64), torch.tensor([[0.09]], dtype=torch.float64)
    )
    grid = GridReference(GRID, gaussian.log_prob(GRID.unsqueeze(1)))
    u = torch.linspace(-1, 2, 31, dtype=torch.float64).unsqueeze(1)
    torch.testing.assert_close(grid.diffused_score(u, 0.8, 0.6), gaussian.diffused_score(u, 0.8, 0.6))
    torch.testing.assert_close(grid.log_prob(u), gaussian.log_prob(u), rtol=0, atol=1e-4)
