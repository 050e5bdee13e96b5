"""Samplers with exact scores, so that no training is in the way."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from graybench.methods.score.samplers import log_prob_ode, sample_ode, sample_sde
from graybench.methods.score.schedule import alpha_sigma_at
from graybench.tasks.classic.galton import Galton
from graybench.tasks.reference import GaussianReference
from graybench.tasks.seeding import generator
from graybench.tests.methods.exact_flows import COVARIANCE, GAUSSIAN, exact_map, linear_flow, score_of


def drawn(sampler, reference, n, d, steps):
    random = generator(21)
    noise = torch.randn(n, d, generator=random, dtype=torch.float64)
    if sampler == "ode":
        return sample_ode(score_of(reference), noise, steps)
    return sample_sde(
        score_of(reference),
        noise,
        steps,
        lambda: torch.randn(n, d, generator=random, dtype=torch.float64),
    )


@pytest.mark.parametrize(("sampler", "steps"), [("ode", 20), ("sde", 300)])
@pytest.mark.parametrize("observation", [0, 4])
def test_galton_posterior_is_sampled_exactly(sampler, steps, observation):
    """Kolmogorov-Smirnov at 1e-4 for each of four cases: a correct sampler fails in 1 of 2,500 seeds."""
    task = Galton()
    reference = task.reference(task.observations().x[observation])
    sample = drawn(sampler, reference, 1500, 1, steps)[:, 0].numpy()
    grid = reference.grid.numpy()
    law = integrate.cumulative_trapezoid(reference.log_density.exp().numpy(), grid, initial=0)
    assert stats.kstest(sample, lambda u: np.interp(u, grid, law)).pvalue > 1e-4


@pytest.mark.parametrize(("sampler", "steps"), [("ode", 40), ("sde", 400)])
def test_correlated_gaussian_is_sampled_exactly(sampler, steps):
    """Three marginals by Kolmogorov-Smirnov at 1e-4: a correct sampler fails in 1 of 3,000 seeds."""
    sample = drawn(sampler, GAUSSIAN, 20_000, 2, steps)
    for direction in ([1.0, 0.0], [0.0, 1.0], [1.0, -1.0]):
        direction = torch.tensor(direction, dtype=torch.float64)
        mean = float(direction @ GAUSSIAN.mean)
        std = math.sqrt(direction @ COVARIANCE @ direction)
        assert stats.kstest((sample @ direction).numpy(), stats.norm(mean, std).cdf).pvalue > 1e-4


def test_the_corrected_flow_converges_at_third_order_or_faster():
    """Leading errors cancel along this flow, as for the exponential integrator of order 3."""
    noise = torch.randn(200, 2, generator=generator(2), dtype=torch.float64)
    exact = exact_map(GAUSSIAN, noise)
    errors = [
        float((sample_ode(score_of(GAUSSIAN), noise, steps) - exact).abs().max()) for steps in (40, 80, 160)
    ]
    assert errors[0] < 3e-4
    for coarse, fine in pairwise(errors):
        assert 2.7 < math.log2(coarse / fine) < 4.5


def test_log_prob_is_the_density_that_the_flow_makes_of_a_standard_normal():
    u = GAUSSIAN.sample(50, seed=1)
    flow, alpha = linear_flow()
    made = GaussianReference(GAUSSIAN.mean - flow @ GAUSSIAN.mean, flow @ flow.T / alpha**2)
    got = log_prob_ode(score_of(GAUSSIAN), u, 60)
    torch.testing.assert_close(got, made.log_prob(u), rtol=0, atol=1e-3)
    # α(1) is 0.0066 and not 0, so the standard normal is off by α m at the start: 0.02 nats here
    torch.testing.assert_close(got, GAUSSIAN.log_prob(u), rtol=0, atol=0.04)


def test_the_gradient_of_log_prob_is_that_of_the_density_that_the_flow_makes():
    """−Σ⁻¹(u − m) with the mean and covariance of that density, for points of a batch, and none unasked."""
    u = GAUSSIAN.sample(20, seed=2).requires_grad_(True)
    flow, alpha = linear_flow()
    mean, precision = GAUSSIAN.mean - flow @ GAUSSIAN.mean, torch.linalg.inv(flow @ flow.T / alpha**2)
    (got,) = torch.autograd.grad(log_prob_ode(score_of(GAUSSIAN), u, 60).sum(), u)
    torch.testing.assert_close(got, -(u.detach() - mean) @ precision, rtol=0, atol=0.01)
    assert not log_prob_ode(score_of(GAUSSIAN), u.detach(), 2).requires_grad


def test_log_prob_is_the_density_of_the_galton_posterior():
    task = Galton()
    reference = task.reference(task.observations().x[2])
    u = torch.linspace(-2, 1.5, 15, dtype=torch.float64).unsqueeze(1)

    def score(u_t, t):  # differentiable, unlike the reference's own
        alpha, sigma = alpha_sigma_at(t)
        weights = torch.softmax(
            reference.log_density - (u_t - alpha * reference.grid) ** 2 / (2 * sigma**2), 1
        )
        return (alpha * (weights @ reference.grid).unsqueeze(1) - u_t) / sigma**2

    torch.testing.assert_close(log_prob_ode(score, u, 60), reference.log_prob(u), rtol=0, atol=0.02)
