"""The regressed likelihood score against closed forms: gradients, sampling without training, short fits."""

import random

import numpy as np
import pytest
import torch

from graybench.methods import get_method
from graybench.methods.rivals.joint_scores import likelihood_score
from graybench.methods.rivals.likelihood_score import Gaussian, Potential, PotentialPosterior
from graybench.tasks.classic.gaussian_mixture import GaussianMixture
from graybench.tasks.classic.hierarchical_normal import HierarchicalNormal
from graybench.tasks.classic.linear_gaussian import LinearGaussian, _model
from graybench.tasks.errors import UserError
from graybench.tasks.seeding import generator

TASK = LinearGaussian(3, spread=8.0, rotated=True)  # posterior correlations up to 0.75
QUICK = {"steps": 500, "width": 32}


def potential_of(simulations, dtype=torch.float64):
    score = (simulations.joint_score + simulations.u).to(dtype)
    u, x = simulations.u.to(dtype), simulations.x.to(dtype)
    return Potential(u, x, score, 8, 2, generator(1)).to(dtype)


def untrained_score_error(sign):
    simulations = TASK.simulate(2000, 1, marginal_score=True)
    own = simulations.u, simulations.x, sign * (simulations.joint_score + simulations.u)
    potential = Potential(*own, 8, 2, generator(1)).double()
    exact = simulations.marginal_score + simulations.u
    found = potential.score(*own[:2]).detach()
    return float((found - exact).square().sum() / exact.square().sum())


def test_the_ridge_part_is_the_score_of_a_linear_gaussian_likelihood():
    """Before training the network is 0; with the sign of the scores changed it is the opposite score."""
    assert untrained_score_error(1.0) < 0.02
    assert untrained_score_error(-1.0) > 0.5


def test_the_score_is_the_derivative_of_the_potential_row_by_row():
    simulations = TASK.simulate(50, 2)
    potential = potential_of(simulations)
    with torch.no_grad():
        for p in potential.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=generator(3), dtype=p.dtype))
    u, x = simulations.u[:20], simulations.x[:20]
    score = potential.score(u, x)
    for i in range(3):
        step = 1e-5 * torch.eye(3, dtype=torch.float64)[i]
        difference = (potential(u + step, x) - potential(u - step, x)) / 2e-5
        torch.testing.assert_close(score[:, i], difference, rtol=1e-5, atol=1e-5)
    assert potential.score(u[:3], x[:3]).allclose(score[:3])
    loss = potential.loss(u, x, torch.zeros_like(u))
    scale = potential.residual / potential.of_u.std[0, 0]
    torch.testing.assert_close(loss, (score / scale).square().mean())


def test_the_curvature_is_symmetric_and_never_positive():
    """Scores of the wrong sign ask for a positive one, with which the posterior would have no finite mass."""
    simulations = TASK.simulate(500, 4)
    u, x, score = simulations.u, simulations.x, simulations.joint_score + simulations.u
    for sign in (1, -1):
        curvature = Potential(u, x, sign * score, 8, 1, generator(1)).curvature
        torch.testing.assert_close(curvature, curvature.T)
        assert torch.linalg.eigvalsh(curvature).max() < 1e-6


def exact_posterior(task, rough=None, sign=1.0):
    """The posterior of the exact potential log p(x | u), without training."""
    model, reference = _model(task), task.reference(task.observations().x[0])
    precision = torch.linalg.inv(reference.covariance) - torch.eye(task.dim, dtype=torch.float64)

    def potential(u, x):
        u, x = u.double(), x.double()
        likelihood = (u * (x @ model.gain.T)).sum(1) - 0.5 * ((u @ precision) * u).sum(1)
        return sign * likelihood.to(torch.float32)

    simulations = task.simulate(500, 5)
    rough = rough or Gaussian(simulations.u.float(), simulations.x.float())
    return PotentialPosterior(potential, torch.Tensor.float, rough)


def assert_moments(samples, reference):
    """Means to 0.18 standard deviations, and whitened covariances to 0.25: 4.5 standard errors of 800
    samples that count as 600 or more; nine such numbers of a correct sampler fail in 1 of 16,000 seeds."""
    mean, root = reference.mean, torch.linalg.cholesky(reference.covariance)
    white = torch.linalg.solve_triangular(root, (samples.double() - mean).T, upper=False).T
    assert white.mean(0).abs().max() < 0.18
    assert (white.T.cov() - torch.eye(len(root))).abs().max() < 0.25


@pytest.mark.parametrize("rough", ["regression", "prior"])
def test_samples_of_an_exact_potential_have_the_moments_of_the_posterior(rough):
    prior = Gaussian(torch.zeros(2, 3), torch.randn(2, TASK.dim_x))
    posterior = exact_posterior(TASK, prior if rough == "prior" else None)
    x_o = TASK.observations().x[:2]
    samples = posterior.sample(800, x_o, 6)
    assert samples.shape == (2, 800, 3)
    for o in range(2):
        assert_moments(samples[o], TASK.reference(x_o[o]))
    assert len(samples[0].unique(dim=0)) > 790  # thinned: hardly a rejected proposal is seen twice
    assert posterior.sample(0, x_o, 6).shape == (2, 0, 3)


def test_a_potential_of_the_wrong_sign_is_not_the_posterior():
    x_o = TASK.observations().x[:1]
    bounded = exact_posterior(TASK, sign=-0.05).sample(800, x_o, 6)  # -1 would have no finite mass
    with pytest.raises(AssertionError):
        assert_moments(bounded[0], TASK.reference(x_o[0]))


def test_both_modes_of_a_posterior_are_found_in_their_proportions():
    """Two modes at ±2 of width 0.2, with masses 0.75 and 0.25: the share of 1,000 samples of 100 chains that
    never cross has a standard error of 0.043, and allowed is 4.5 times that."""
    centres, masses = torch.tensor([2.0, -2.0]), torch.tensor([0.75, 0.25])

    def potential(u, x):
        log_terms = masses.log() - 0.5 * ((u - centres) / 0.2) ** 2
        return torch.logsumexp(log_terms, 1) + 0.5 * u[:, 0] ** 2

    rough = Gaussian(torch.zeros(2, 1), torch.randn(2, 1))  # the prior
    rough.root = 2 * rough.root
    samples = PotentialPosterior(potential, torch.Tensor.float, rough).sample(1000, torch.zeros(1, 1), 7)[
        0, :, 0
    ]
    assert abs(float((samples > 0).double().mean()) - 0.75) < 0.195
    right = samples[samples > 0]
    assert abs(float(right.mean()) - 2) < 0.05
    assert 0.17 < float(right.std()) < 0.23


def test_short_fit_recovers_the_posterior_and_leaves_the_global_generators_alone():
    """Allowed for the fit: 0.35 standard deviations of a mean, and a third of a whitened covariance."""
    method = get_method("likelihood_score", **QUICK)
    kept = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    posterior = method.fit(TASK.simulate(2000, 8).only(method.requires), 9)
    x_o = TASK.observations().x[:2]
    samples = posterior.sample(800, x_o, 10)
    for o in range(2):
        reference = TASK.reference(x_o[o])
        root = torch.linalg.cholesky(reference.covariance)
        white = torch.linalg.solve_triangular(root, (samples[o].double() - reference.mean).T, upper=False).T
        assert white.mean(0).abs().max() < 0.35
        assert (white.T.cov() - torch.eye(3)).abs().max() < 0.35
    assert torch.equal(samples, posterior.sample(800, x_o, 10))
    assert not torch.equal(samples, posterior.sample(800, x_o, 11))
    assert torch.equal(kept[0], torch.get_rng_state())
    assert kept[1:] == (np.random.get_state()[1].tolist(), random.getstate())


def test_training_brings_the_score_closer_where_it_is_not_linear():
    """Mean squares of ŝ − ∇_u log p(x | u), relative, on fresh simulations: 0.96 for the ridge regression
    alone, 0.03 after training, when measured."""
    task = GaussianMixture()
    simulations, fresh = task.simulate(1000, 11), task.simulate(2000, 12, marginal_score=True)
    exact = (fresh.marginal_score + fresh.u).float()

    def error(potential):
        found = potential.score(fresh.u.float(), fresh.x.float()).detach()
        return float((found - exact).square().sum() / exact.square().sum())

    u, x = simulations.u.float(), simulations.x.float()
    linear = Potential(u, x, likelihood_score("", simulations), 32, 3, generator(1))
    trained = get_method("likelihood_score", steps=1500, width=32).fit(simulations, 13).potential
    assert error(trained) < 0.2 * error(linear)


def test_data_with_structure_are_summarised():
    task = HierarchicalNormal()
    simulations = task.simulate(200, 14)
    posterior = get_method("likelihood_score", steps=5, width=8).fit(simulations, 15)
    assert posterior.summarise.trained.shape == (200, 3)
    assert posterior.sample(7, task.observations().x[:2], 16).shape == (2, 7, 3)
    raw = get_method("likelihood_score", steps=5, width=8, summaries="none").fit(simulations, 15)
    assert torch.equal(raw.summarise.trained, simulations.x.float())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": float("inf")}, "rate must be a finite number above 0, but is inf"),
        ({"depth": 0}, "depth must"),
        ({"summaries": "auro"}, "no summaries 'auro': did you mean auto"),
    ],
)
def test_mistakes_are_answered_with_what_to_do(options, message):
    with pytest.raises(UserError, match=message):
        get_method("likelihood_score", **options)


def test_a_missing_score_is_named():
    with pytest.raises(UserError, match="method likelihood_score needs simulations with a joint_score: use"):
        get_method("likelihood_score").fit(TASK.simulate(10, 1).only(frozenset()), 1)
