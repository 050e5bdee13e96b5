"""The two-scale mixture against torch.distributions, autograd and the law of its own simulations."""

import math

import pytest
import torch
from scipy import stats
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from graybench.methods.score.schedule import alpha_sigma_at
from graybench.tasks import get_task
from graybench.tasks.classic.gaussian_mixture import GaussianMixture
from graybench.tasks.errors import UserError
from graybench.tasks.seeding import generator

TASKS = [GaussianMixture(), GaussianMixture(dim=5)]


@pytest.fixture(params=TASKS, ids=lambda task: task.label)
def task(request):
    return request.param


def law_of_x(theta):
    """p(x | θ) by torch.distributions."""
    n, d = theta.shape
    scales = torch.tensor([1.0, 0.1], dtype=torch.float64).view(1, 2, 1).expand(n, 2, d)
    parts = Independent(Normal(theta.unsqueeze(1).expand(n, 2, d), scales), 1)
    return MixtureSameFamily(Categorical(torch.full((n, 2), 0.5, dtype=torch.float64)), parts)


def test_likelihood_and_marginal_score(task):
    simulations = task.simulate(100, seed=1)
    theta = simulations.theta.clone().requires_grad_(True)
    log_prob = law_of_x(theta).log_prob(simulations.x)
    torch.testing.assert_close(task.log_likelihood(simulations.theta, simulations.x), log_prob.detach())
    (expected,) = torch.autograd.grad(log_prob.sum(), theta)
    torch.testing.assert_close(task.marginal_score(simulations.theta, simulations.x), expected)


def test_simulated_distances_have_the_law_of_the_mixture(task):
    """‖x − θ‖² is s² χ²_d with s = 1 or 0.1: Kolmogorov-Smirnov fails 1 of 10,000 seeds."""
    simulations = task.simulate(20_000, seed=2)
    squared = (simulations.x - simulations.theta).square().sum(1).numpy()

    def law(v):
        return 0.5 * stats.chi2.cdf(v, task.dim) + 0.5 * stats.chi2.cdf(v / 0.01, task.dim)

    assert stats.kstest(squared, law).pvalue > 1e-4


def test_joint_scores_average_to_the_marginal_score(task):
    """E[(S − M) h(x)] = 0 for three h and each component: |z| < 4.5 fails in 1 of 7,000 seeds."""
    simulations = task.simulate(50_000, seed=4, marginal_score=True)
    difference = simulations.joint_score - simulations.marginal_score
    for h in (torch.ones_like(simulations.x), torch.tanh(simulations.x), torch.cos(2 * simulations.x)):
        terms = difference * h
        z = terms.mean(0) / (terms.std(0) / math.sqrt(len(terms)))
        assert z.abs().max() < 4.5


def test_reference_is_likelihood_times_prior_and_normalised(task):
    x_o = task.observations().x[0]
    reference = task.reference(x_o)
    u = x_o + 0.3 * torch.randn(200, task.dim, generator=generator(2), dtype=torch.float64)
    unnormalised = task.log_likelihood(u, x_o.expand_as(u)) - u.square().sum(1) / 2
    difference = reference.log_prob(u) - unnormalised
    torch.testing.assert_close(difference, difference[:1].expand(200), rtol=0, atol=1e-9)
    # importance sampling with the reference's own law has weights of 1 only if that is normalised
    wide = torch.distributions.MultivariateNormal(x_o, 2 * torch.eye(task.dim, dtype=torch.float64))
    draws = x_o + math.sqrt(2) * torch.randn(200_000, task.dim, generator=generator(3), dtype=torch.float64)
    weights = (reference.log_prob(draws) - wide.log_prob(draws)).exp()
    assert abs(weights.mean() - 1) < 4.5 * weights.std() / math.sqrt(len(weights))  # 1 of 150,000 seeds


def test_diffused_score_is_the_gradient_of_the_diffused_density(task):
    reference = task.reference(task.observations().x[1])
    for t in (0.01, 0.3):
        alpha, sigma = alpha_sigma_at(t)
        u_t = torch.randn(50, task.dim, generator=generator(5), dtype=torch.float64).requires_grad_(True)
        noise = sigma**2 * torch.eye(task.dim, dtype=torch.float64)
        parts = [
            torch.distributions.MultivariateNormal(alpha * c.mean, alpha**2 * c.covariance + noise)
            for c in reference.components
        ]
        terms = [w + part.log_prob(u_t) for w, part in zip(reference.log_weights, parts, strict=True)]
        (expected,) = torch.autograd.grad(torch.logaddexp(*terms).sum(), u_t)
        got = reference.diffused_score(u_t.detach(), alpha, sigma)
        torch.testing.assert_close(got, expected, rtol=1e-7, atol=1e-7)


def test_samples_have_the_law_of_the_reference(task):
    """First marginal by Kolmogorov-Smirnov: a correct sampler fails in 1 of 10,000 seeds."""
    reference = task.reference(task.observations().x[2])
    weights = reference.log_weights.exp()

    def law(v):
        return sum(
            float(w) * stats.norm.cdf(v, float(c.mean[0]), math.sqrt(c.covariance[0, 0]))
            for w, c in zip(weights, reference.components, strict=True)
        )

    assert stats.kstest(reference.sample(20_000, seed=6)[:, 0].numpy(), law).pvalue > 1e-4


def test_mistakes_are_answered():
    with pytest.raises(UserError, match="dim must be a whole number"):
        get_task("gaussian_mixture", dim=0)
