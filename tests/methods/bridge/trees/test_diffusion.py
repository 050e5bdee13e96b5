"""Forward guiding on a tree: equal weights for a constant kernel, quadrature, gradients by differences."""

import math

import pytest
import torch
from scipy import stats

from graybench.methods.bridge.trees.brownian import TreeBrownian, TreeSample
from graybench.methods.bridge.trees.diffusion import TreeDiffusion, branch_grid, simulate
from graybench.tasks.landmarks.pruning import prune
from graybench.tasks.landmarks.trees import Tree
from graybench.tasks.sde.geometric_brownian import GeometricBrownianMotion
from graybench.tasks.seeding import generator

from .examples import MEAN, TREE, baseline, constant, moving, theta


def test_steps_are_the_fewest_of_at_most_dt():
    assert [branch_grid(TREE, node, 0.1).steps for node in TREE.preorder] == [5, 6, 5, 4, 3, 4, 3]
    assert branch_grid(TREE, 1, 10.0).steps == 2


def test_simulated_tips_have_the_density_of_pruning():
    """For a constant kernel −2 log p of each draw is χ² up to a constant; Kolmogorov-Smirnov at 1e-4."""
    at, draws = theta(0.2, 0.5), 500
    model = baseline(constant, at, 0)
    nodes = simulate(TREE, constant(at), MEAN.flatten().expand(draws, -1), 0.1, generator(1))
    tips = {tip: nodes[tip].unflatten(-1, MEAN.shape) for tip in TREE.tips}
    covariances = model.covariances(at)
    top = prune(TREE, covariances, dict.fromkeys(TREE.tips, MEAN))[0].log_density(MEAN)
    squares = 2 * (top - prune(TREE, covariances, tips)[0].log_density(MEAN))
    freedom = len(TREE.tips) * MEAN.numel()
    assert stats.kstest(squares.numpy(), stats.chi2(freedom).cdf).pvalue > 1e-4


@pytest.mark.parametrize("each", [1, 2])
def test_weights_of_brownian_motion_are_equal_to_its_likelihood(each):
    at = theta(0.2, 0.5, 0.03)[: 2 + (each > 1)]
    model = TreeDiffusion(baseline(constant, at, 2, each), constant, 0.1)
    found = model.guided(at, model.noise(5, 3))
    exact = model.baseline.log_likelihood(at).expand(5)
    torch.testing.assert_close(found.log_weights, exact, atol=1e-8, rtol=0)
    assert float(found.estimate.ess_fraction) == pytest.approx(1)


def test_particles_of_brownian_motion_have_its_posterior():
    """Means of 4,000 draws of each coordinate of each ancestor; false alarms at 1e-4 by Bonferroni."""
    at = theta(0.2, 0.5)
    model = TreeDiffusion(baseline(constant, at, 4), constant, 0.1)
    nodes = model.guided(at, model.noise(4000, 5)).nodes.unflatten(-1, MEAN.shape)
    count = len(TREE.inner) * MEAN.numel()
    for node in TREE.inner:
        exact = model.baseline.nodes(at)[node]
        error = nodes[:, node].mean(0) - exact.mean
        sd = exact.covariance.diagonal().sqrt()[:, None]
        limit = stats.norm.isf(0.5e-4 / count) / math.sqrt(len(nodes))
        assert float((error / sd).abs().max()) < limit
        torch.testing.assert_close(nodes[:, node].std(0), sd.expand_as(error), rtol=0.06, atol=0)


def test_likelihood_of_a_varying_covariance_is_that_of_quadrature():
    """Two tips of a geometric Brownian motion, in two Euler steps each; within four standard errors."""
    tree = Tree((-1, 0, 0), (0.0, 1.0, 0.5), ("", "a", "b"), "years")
    y, sigma = torch.tensor([1.3, 0.9], dtype=torch.float64), 0.1
    sample = TreeSample(tree, (1, 2), y[:, None, None], False)
    base = TreeBrownian(sample, torch.ones(1, 1, dtype=torch.float64), "independent")

    def make(at):
        return GeometricBrownianMotion(torch.zeros((), dtype=torch.float64), at[0].exp())

    model, at = TreeDiffusion(base, make, 0.5), theta(sigma)
    found = model.guided(at, model.noise(20_000, 0)).estimate
    grid = torch.linspace(0.2, 4.0, 2001, dtype=torch.float64)
    width = float(grid[1] - grid[0])

    def step(x, z, dt):
        sd = sigma * x * math.sqrt(dt)
        return torch.exp(-0.5 * ((z - x) / sd).square()) / (sd * math.sqrt(2 * math.pi))

    def two_steps(end, dt):
        return step(grid[:, None], grid, dt) @ step(grid, end, dt) * width

    # The first branch has two steps of 0.5, the second two of 0.25.
    exact = math.log(float((two_steps(y[0], 0.5) * two_steps(y[1], 0.25)).sum()) * width)
    assert float(found.stderr) < 0.01
    assert abs(float(found.value) - exact) < 4 * float(found.stderr)
    assert abs(float(base.log_likelihood(at)) - exact) > 0.5  # the covariance of the mean does not pass


@pytest.mark.parametrize("each", [1, 2])
def test_gradient_is_that_of_differences_with_the_same_noise(each):
    at = theta(0.1, 0.5, 0.03)[: 2 + (each > 1)]
    model = TreeDiffusion(baseline(moving, at, 6, each), moving, 0.3)
    noise = model.noise(3, 7)
    assert torch.autograd.gradcheck(
        lambda point: model.guided(point, noise).log_weights,
        at.clone().requires_grad_(),
        atol=1e-5,
        rtol=1e-4,
    )
