"""The posterior of ancestors: that of pruning for a constant kernel, branches in their own time, small a."""

import math

import pytest
import torch

from graybench.methods.bridge.bases import MidpointBase
from graybench.methods.bridge.likelihood import BridgeSampler
from graybench.methods.bridge.trees.brownian import TreeFit
from graybench.methods.bridge.trees.posterior import SPREAD, TreePosterior
from graybench.tasks.errors import UserError
from graybench.tasks.sde.sde import TimeGrid
from graybench.tasks.seeding import generator

from .examples import MEAN, NUGGET, TREE, baseline, constant, moving, theta


def posterior(make, at, seed, each=1):
    base = baseline(make, at, seed, each)
    return TreePosterior(base, make, at, 0.01 * torch.eye(len(at)).double())


def nodes_of(model, seed, *batch):
    return model.coordinates.nodes(model.centre, normals(seed, *batch, model.coordinates.size)).states


def normals(seed, *size):
    return torch.randn(size, generator=generator(seed), dtype=torch.float64)


@pytest.mark.parametrize("each", [1, 2])
def test_density_in_the_coordinates_is_the_restricted_likelihood_for_a_constant_kernel(each):
    """Jointly in z and θ: z ~ N(0, I), independent of θ, whose density is exact."""
    at = theta(0.2, 0.5, 0.03)[: 2 + (each > 1)]
    model = posterior(constant, at, 1, each)
    z = normals(2, 5, model.size)
    place, of_nodes = model.at(z), z[:, len(at) :]
    assert float(place.theta.std(0).min()) > 0.03
    normal = 0.5 * of_nodes.square().sum(-1) + 0.5 * of_nodes.shape[-1] * math.log(2 * math.pi)
    prior = -0.5 * ((place.theta - model.guess) / SPREAD).square().sum(-1)
    expected = model.baseline.log_likelihood(place.theta) + prior
    torch.testing.assert_close(model.log_density_at(z) + normal, expected, atol=1e-7, rtol=0)


def test_chains_have_the_posterior_of_theta_for_a_constant_kernel():
    """Means and deviations against a grid of 41 × 41; within 0.15 deviations, five Monte Carlo errors."""
    at = theta(0.2, 0.5)
    model = posterior(constant, at, 11)
    model = TreePosterior.near(model.baseline, constant, model.baseline.fit())
    draws = model.sample(0, chains=4, warmup=100, draws=300).theta.flatten(0, 1)
    reach = torch.linspace(-5, 5, 41, dtype=torch.float64)
    grid = model.centre + torch.cartesian_prod(reach, reach) @ model.scale.mT
    prior = -0.5 * ((grid - model.guess) / SPREAD).square().sum(-1)
    weights = torch.softmax(model.baseline.log_likelihood(grid) + prior, 0)
    mean = weights @ grid
    sd = (weights @ (grid - mean).square()).sqrt()
    assert float(((draws.mean(0) - mean) / sd).abs().max()) < 0.15
    torch.testing.assert_close(draws.std(0), sd, rtol=0.15, atol=0)


def test_each_branch_has_the_density_of_its_own_time():
    at = theta(0.2, 0.5)
    model = posterior(moving, at, 3)
    nodes = nodes_of(model, 4)
    found = model.log_branches(at, nodes)
    for node in TREE.preorder:
        fine = TimeGrid(TREE.lengths[node], 10**9)
        base = MidpointBase(moving(at), nodes[TREE.parents[node]], fine)
        expected = base.log_density(fine.steps, nodes[node], moving(at).at(nodes[node]))
        assert float(found[node - 1]) == pytest.approx(float(expected), abs=1e-6)


def test_specimens_and_prior_are_in_the_density():
    at = theta(0.2, 0.5, 0.03)
    model = posterior(moving, at, 5, each=2)
    base = model.baseline
    nodes = nodes_of(model, 6)
    covariance = 0.03**2 * moving(at).at(MEAN.flatten()).kernel / 0.2**2
    normal = torch.distributions.MultivariateNormal(torch.zeros(len(MEAN)).double(), covariance)
    pairs = zip(base.sample.tips, base.sample.coordinates, strict=True)
    expected = sum(normal.log_prob((x - nodes[tip].unflatten(-1, MEAN.shape)).mT).sum() for tip, x in pairs)
    expected = (
        expected + model.log_branches(at, nodes).sum() - 0.5 * ((at - base.start()) / 1.5).square().sum()
    )
    assert base.nugget == NUGGET
    assert float(model.log_density(at, nodes)) == pytest.approx(float(expected), abs=1e-8)


def test_bridges_correct_nothing_for_a_constant_kernel():
    at = theta(0.2, 0.5)
    model = posterior(constant, at, 7)
    nodes = nodes_of(model, 8, 3)
    found = model.log_corrections(at.expand(3, -1), nodes, BridgeSampler("midpoint", particles=8), 5, 0)
    torch.testing.assert_close(found, torch.zeros(3, dtype=torch.float64), atol=1e-2, rtol=0)


def test_root_at_small_a_is_that_of_brownian_motion():
    """At a = 0.01 means differ by less than 0.2 of a standard deviation, five times the Monte Carlo error."""
    at = theta(0.01, 1.0)
    model = posterior(moving, at, 9)
    fit = model.baseline.fit()
    model = TreePosterior.near(model.baseline, moving, fit)
    draws = model.sample(0, chains=4, warmup=100, draws=200)
    root = model.baseline.nodes(fit.theta)[0]
    sd = root.covariance.diagonal().sqrt()[:, None]
    found = draws.nodes[:, :, 0].unflatten(-1, MEAN.shape)
    assert float(((found.mean((0, 1)) - root.mean) / sd).abs().max()) < 0.2
    spread = found.flatten(0, 1).std(0) / sd
    assert 0.85 < float(spread.min()) < float(spread.max()) < 1.35  # wider, as a and ℓ are uncertain
    quality = draws.diagnostics()
    assert quality.root_ess > 200
    assert quality.root_rhat < 1.05
    assert 0.8 < draws.acceptance < 0.99
    # The posterior of θ agrees with the maximum likelihood.
    away = (draws.theta.mean((0, 1)) - fit.theta) / fit.stderr
    assert float(away.abs().max()) < 0.6


def test_chains_begin_within_the_prior_where_data_do_not_determine_a_parameter():
    at = theta(0.2, 0.5)
    base = posterior(moving, at, 10).baseline
    guess, known = base.start(), torch.diag(torch.tensor([1e-4, 1e4])).double()
    model = TreePosterior.near(base, moving, TreeFit(at, known, 0.0, True))
    found = model.scale.diagonal().square()
    torch.testing.assert_close(found, torch.tensor([1e-4, SPREAD**2]).double(), rtol=1e-3, atol=0)
    torch.testing.assert_close(model.centre, torch.stack([at[0], guess[1]]), rtol=0, atol=1e-3)
    model = TreePosterior.near(base, moving, TreeFit(at, torch.full((2, 2), math.nan).double(), 0.0, False))
    torch.testing.assert_close(model.centre, guess)
    torch.testing.assert_close(model.covariance, SPREAD**2 * torch.eye(2).double())


def test_unknown_errors_of_the_parameters_are_refused():
    at = theta(0.2, 0.5)
    base = posterior(moving, at, 10).baseline
    with pytest.raises(UserError, match="the covariance of the parameters is not positive definite"):
        TreePosterior(base, moving, at, torch.full((2, 2), math.nan).double())
