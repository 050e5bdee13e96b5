"""Importance sampling against posteriors in closed form, and its parts against scipy."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from graybench.tasks.classic.linear_gaussian import LinearGaussian
from graybench.tasks.importance import DRAWS, draw_student_t, importance_reference, resample_halves
from graybench.tasks.likelihood import LikelihoodTask
from graybench.tasks.reference import GaussianReference, MixtureReference

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


def test_student_t_draws_have_the_density_that_is_given():
    """Kolmogorov-Smirnov for each margin: a correct sampler fails in 1 of 3,000 seeds."""
    centre = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    scale = gaussian().covariance
    draws, log_density = draw_student_t(centre, scale, 5_000, seed=3)
    law = stats.multivariate_t(centre, scale, df=5)
    torch.testing.assert_close(log_density, torch.from_numpy(law.logpdf(draws.numpy())))
    for i in range(3):
        margin = stats.t(5, centre[i].item(), scale[i, i].sqrt().item())
        assert stats.kstest(draws[:, i].numpy(), margin.cdf).pvalue > 1e-4


def test_resampling_keeps_halves_apart_and_rounds_expected_counts():
    log_weights = torch.randn(1_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    kept = resample_halves(log_weights, 600, seed=2)
    assert (kept[:300] < 500).all()
    assert (kept[300:] >= 500).all()
    counts = torch.bincount(kept, minlength=1_000)
    expected = 300 * torch.cat([torch.softmax(half, 0) for half in log_weights.chunk(2)])
    assert ((counts - expected).abs() < 1).all()
    average = np.mean(
        [np.bincount(resample_halves(log_weights, 600, k), minlength=1_000) for k in range(400)], 0
    )
    # a count is its expectation rounded up or down, so its standard deviation is at most ½; of 1,000 places
    # correct code has one beyond 4.5 standard errors in 1 of 150 seeds
    assert np.abs(average - expected.numpy()).max() < 4.5 * 0.5 / 20


def test_a_posterior_that_is_missed_is_refused():
    """A thin crescent; a Student-t at its tip covers little of it."""

    def crescent(u):
        return -0.5 * u.square().sum(1) - 0.5 * ((u[:, 1] - 2 * u[:, 0].square()) / 0.01) ** 2

    with pytest.raises(ArithmeticError, match="ESS/n is 0"):
        importance_reference(crescent, 2, seed=1)


def test_a_second_mode_is_refused():
    """x = θ² + noise: at x = 1 a proposal at one mode can miss the other."""

    def two_modes(u):
        return -0.5 * u.square().sum(1) - 0.5 * ((1 - u[:, 0].square()) / 0.02) ** 2

    with pytest.raises(ArithmeticError, match="the posterior has modes at"):
        importance_reference(two_modes, 1, seed=1)


class ByLikelihood(LikelihoodTask, LinearGaussian):
    """The linear Gaussian task, reduced to its likelihood."""

    name = "by_likelihood"

    def log_likelihood(self, theta, x):
        from graybench.tasks.classic.linear_gaussian import NOISE, _model

        mean = theta @ _model(self).mean_of_x.T
        into_x = _model(self).into_x
        covariance = NOISE**2 * (into_x @ into_x.T + torch.eye(self.dim, dtype=torch.float64))
        return torch.distributions.MultivariateNormal(mean, covariance).log_prob(x)


class Folded(ByLikelihood):
    """The data are θ² with little noise: θ and −θ have one likelihood."""

    name = "folded"

    def log_likelihood(self, theta, x):
        return -0.5 * ((x[:, :1] - theta[:, :1].square()) / 0.02).square().sum(1)


def test_a_failure_names_the_task_and_the_observation_and_says_what_to_do():
    sentence = (
        r"^task folded\(dim=1\): importance sampling of the reference failed: the posterior has modes at .*, "
        r"for the observation \[1\.0\]: define `reference` with draws from elsewhere, as a SampledReference$"
    )
    with pytest.raises(ArithmeticError, match=sentence):
        Folded(dim=1).reference(torch.ones(1))


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
