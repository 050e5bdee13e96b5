"""References made of draws against closed forms: the diffused score and its estimated error."""

import pytest
import torch

from graybench.methods.score.schedule import alpha_sigma_at
from graybench.tasks.sampled_reference import SampledReference
from graybench.tasks.seeding import generator
from graybench.tests.tasks.test_importance import gaussian, mixture, sampled

TIMES = (1e-3, 0.01, 0.1, 0.5, 1.0)


@pytest.fixture(scope="module")
def of_gaussian():
    return sampled(gaussian())


@pytest.fixture(scope="module")
def of_mixture():
    return sampled(mixture())


def diffused(exact, t, n=500):
    alpha, sigma = alpha_sigma_at(t)
    noise = torch.randn(n, 3, generator=generator(5), dtype=torch.float64)
    return alpha * exact.sample(n, seed=4) + sigma * noise, alpha, sigma


@pytest.mark.parametrize("t", TIMES)
def test_score_of_a_gaussian_is_as_exact_as_the_moments(t, of_gaussian):
    u_t, alpha, sigma = diffused(gaussian(), t)
    error = of_gaussian.diffused_score(u_t, alpha, sigma) - gaussian().diffused_score(u_t, alpha, sigma)
    # the error of the sample's mean, which no weighting removes, is about 3/5,000 in these units
    assert sigma**2 * error.square().mean() < 1e-3


@pytest.mark.parametrize("t", [t for t in TIMES if t <= 0.1])
def test_the_halves_tell_the_error_of_the_score(t, of_mixture):
    """The estimate is within a factor of six. At larger t the error comes from three means only."""
    u_t, alpha, sigma = diffused(mixture(), t)
    exact = mixture().diffused_score(u_t, alpha, sigma)
    for reference in (of_mixture, SampledReference(of_mixture.draws, None)):
        error = sigma**2 * (reference.diffused_score(u_t, alpha, sigma) - exact).square().mean()
        estimate = reference.diffused_score_error(u_t, alpha, sigma)
        assert error / 6 < estimate < 6 * error


def test_scores_help_at_small_t(of_mixture):
    """Without scores, only the few draws within σ of u_t count: the error is at least ten times larger."""
    u_t, alpha, sigma = diffused(mixture(), 0.01)
    exact = mixture().diffused_score(u_t, alpha, sigma)
    plain = SampledReference(of_mixture.draws, None)
    errors = [(r.diffused_score(u_t, alpha, sigma) - exact).square().mean() for r in (of_mixture, plain)]
    assert errors[0] < errors[1] / 10
