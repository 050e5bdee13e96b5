"""References made of draws, and the importance sampling that makes them, against closed forms."""

import math

import pytest
import torch

from methods.schedule import alpha_sigma_at
from tasks.importance import DRAWS, importance_reference
from tasks.likelihood import LikelihoodTask
from tasks.linear_gaussian import LinearGaussian
from tasks.reference import GaussianReference, MixtureReference
from tasks.sampled_reference import SampledReference
from tasks.seeding import generator

TIMES = (1e-3, 0.01, 0.1, 0.5, 1.0)
LOG_CONSTANT = 2.5


def gaussian(shift=0.0, scale=1.0):
    factor = torch.tensor([[0.3, 0.0, 0.0], [0.2, 0.1, 0.0], [-0.1, 0.05, 0.4]], dtype=torch.float64)
    mean = torch.tensor([0.3, -0.5, 1.0], dtype=torch.float64) + shift
    return GaussianReference(mean, scale * factor @ factor.T)


def mixture():
    return MixtureReference(torch.tensor([0.6, 0.4]), [gaussian(), gaussian(shift=0.2, scale=0.25)])


def sampled(exact, seed=1):
    return importance_reference(lambda u: exact.log_prob(u) + LOG_CONSTANT, 3, seed)


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


def test_draws_have_the_moments_of_the_posterior(of_gaussian, of_mixture):
    """Means and squares of 5,000 resampled draws: |z| < 4.5 at 12 places fails in 1 of 12,000 seeds."""
    for reference, exact in ((of_gaussian, gaussian()), (of_mixture, mixture())):
        large = exact.sample(400_000, seed=9)
        for power in (1, 2):
            difference = (reference.draws**power).mean(0) - (large**power).mean(0)
            stderr = (large**power).std(0) / math.sqrt(reference.effective_size)
            assert (difference.abs() < 4.5 * stderr).all()


def test_evidence_and_density_are_known(of_gaussian, of_mixture):
    for reference, exact in ((of_gaussian, gaussian()), (of_mixture, mixture())):
        # log Z has a standard error of √((1/ρ − 1)/n) for ESS/n = ρ; 4.5 of them fail in 1 of 150,000 seeds
        stderr = math.sqrt((1 / reference.ess_fraction - 1) / DRAWS)
        assert abs(reference.log_evidence - LOG_CONSTANT) < 4.5 * stderr
        u = exact.sample(12, seed=2).reshape(3, 4, 3)
        torch.testing.assert_close(reference.log_prob(u), exact.log_prob(u), rtol=0, atol=4.5 * stderr)


@pytest.mark.parametrize("t", TIMES)
def test_score_of_a_gaussian_is_as_exact_as_the_moments(t, of_gaussian):
    u_t, alpha, sigma = diffused(gaussian(), t)
    error = of_gaussian.diffused_score(u_t, alpha, sigma) - gaussian().diffused_score(u_t, alpha, sigma)
    # the error of the sample's mean, which no weighting removes, is about 3/5,000 in these units
    assert sigma**2 * error.square().mean() < 1e-3


@pytest.mark.parametrize("t", [t for t in TIMES if t <= 0.1])
def test_the_halves_tell_the_error_of_the_score(t, of_mixture):
    """Within a factor of six; at larger t the error is that of three means alone, and too small to matter."""
    u_t, alpha, sigma = diffused(mixture(), t)
    exact = mixture().diffused_score(u_t, alpha, sigma)
    for reference in (of_mixture, SampledReference(of_mixture.draws, None)):
        error = sigma**2 * (reference.diffused_score(u_t, alpha, sigma) - exact).square().mean()
        estimate = reference.diffused_score_error(u_t, alpha, sigma)
        assert error / 6 < estimate < 6 * error


def test_scores_help_most_at_small_t(of_mixture):
    u_t, alpha, sigma = diffused(mixture(), 0.01)
    exact = mixture().diffused_score(u_t, alpha, sigma)
    plain = SampledReference(of_mixture.draws, None)
    errors = [(r.diffused_score(u_t, alpha, sigma) - exact).square().mean() for r in (of_mixture, plain)]
    assert errors[0] < errors[1] / 30


def test_a_posterior_that_is_missed_is_refused():
    """A thin crescent, of which a Student-t at its tip covers little."""

    def crescent(u):
        return -0.5 * u.square().sum(1) - 0.5 * ((u[:, 1] - 2 * u[:, 0].square()) / 0.01) ** 2

    with pytest.raises(ArithmeticError, match="ESS/n is 0"):
        importance_reference(crescent, 2, seed=1)


def test_a_second_mode_is_refused():
    """x = θ² + noise: at x = 1 one mode has all the draws that a proposal at the other can miss."""

    def two_modes(u):
        return -0.5 * u.square().sum(1) - 0.5 * ((1 - u[:, 0].square()) / 0.02) ** 2

    with pytest.raises(ArithmeticError, match="the posterior has modes at"):
        importance_reference(two_modes, 1, seed=1)


class ByLikelihood(LikelihoodTask, LinearGaussian):
    """The linear Gaussian task as if nothing but its likelihood were known."""

    name = "by_likelihood"

    def log_likelihood(self, theta, x):
        from tasks.linear_gaussian import NOISE, _model

        mean = theta @ _model(self).mean_of_x.T
        into_x = _model(self).into_x
        covariance = NOISE**2 * (into_x @ into_x.T + torch.eye(self.dim, dtype=torch.float64))
        return torch.distributions.MultivariateNormal(mean, covariance).log_prob(x)


def test_a_task_needs_only_its_likelihood():
    task, exact = ByLikelihood(dim=3), LinearGaussian(dim=3)
    simulations = exact.simulate(50, seed=1)
    torch.testing.assert_close(
        task.marginal_score(simulations.theta, simulations.x),
        exact.marginal_score(simulations.theta, simulations.x),
    )
    x_o = exact.observations().x[0]
    truth, reference = exact.reference(x_o), task.reference(x_o)
    assert task.reference(x_o) is reference
    assert reference.ess_fraction > 0.8
    stderr = truth.covariance.diagonal().sqrt() * math.sqrt(1 / reference.effective_size)
    # fails in 1 of 50,000 seeds
    assert ((reference.draws.mean(0) - truth.mean).abs() < 4.5 * stderr).all()
    u = truth.sample(20, seed=3)
    torch.testing.assert_close(reference.log_prob(u), truth.log_prob(u), rtol=0, atol=0.02)
