"""Brownian motion on a tree: closed forms on a star, gradients by differences, and a known truth."""

import math

import pytest
import torch

from graybench.methods.bridge.trees.brownian import TreeBrownian, TreeSample
from graybench.tasks.errors import UserError
from graybench.tasks.landmarks.task import ellipse
from graybench.tasks.landmarks.trees import Tree
from graybench.tasks.seeding import generator
from graybench.tests.tasks.landmarks.simulated import descend

MEAN = ellipse(5, 2)
PAIRS = Tree((-1, 0, 0, 1, 1, 2, 2), (0, 0.5, 0.6, 0.5, 0.4, 0.4, 0.3), tuple("rstabcd"), "heights")


def star(tips):
    return Tree((-1,) + (0,) * tips, (0.0,) + (1.0,) * tips, ("", *map(str, range(tips))), "heights")


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def drawn(tree, each, theta, seed, within=True):
    """Specimens simulated from the Gaussian kernel at θ."""
    tips = tuple(tip for tip in tree.tips for _ in range(each))
    empty = TreeSample(tree, tips, torch.zeros(len(tips), *MEAN.shape), within)
    covariances = TreeBrownian(empty, MEAN).covariances(theta)
    nodes = descend(empty.full_tree, covariances, MEAN, generator(seed))
    return TreeSample(tree, tips, torch.stack([nodes[tip] for tip in empty.observed]), within)


def test_independent_landmarks_on_a_star_have_the_pooled_variance():
    x = torch.randn(6, *MEAN.shape, generator=generator(0), dtype=torch.float64)
    fit = TreeBrownian(TreeSample(star(6), tuple(range(1, 7)), x, False), MEAN, "independent").fit()
    freedom = 5 * MEAN.numel()
    variance = (x - x.mean(0)).square().sum() / freedom
    torch.testing.assert_close(fit.theta, 0.5 * variance.log().reshape(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(fit.stderr, numbers(1 / math.sqrt(2 * freedom)), atol=1e-5, rtol=0)
    assert fit.converged


def test_specimens_on_a_star_have_the_variances_of_a_balanced_analysis_of_variance():
    species, each = 6, 3
    x = torch.randn(species, each, *MEAN.shape, generator=generator(1), dtype=torch.float64)
    x = x + 2 * torch.randn(species, 1, *MEAN.shape, generator=generator(2), dtype=torch.float64)
    tips = tuple(tip for tip in range(1, species + 1) for _ in range(each))
    fit = TreeBrownian(TreeSample(star(species), tips, x.flatten(0, 1), True), MEAN, "independent").fit()
    means = x.mean(1)
    inside = (x - means[:, None]).square().sum() / (species * (each - 1) * MEAN.numel())
    between = (means - means.mean(0)).square().sum() / ((species - 1) * MEAN.numel()) - inside / each
    torch.testing.assert_close((2 * fit.theta).exp(), torch.stack([between, inside]), rtol=1e-4, atol=0)


@pytest.mark.parametrize("within", [False, True])
def test_gradient_is_that_of_differences(within):
    theta = numbers(0.2, 0.5, 0.05).log()[: 2 + within]
    model = TreeBrownian(drawn(PAIRS, 1 + within, theta, 3, within), MEAN)
    assert torch.autograd.gradcheck(model.log_likelihood, theta.clone().requires_grad_(), atol=1e-6)


def test_truth_lies_within_four_standard_errors_and_the_gradient_vanishes():
    """Three parameters on each of three samples: false alarms at 6e-4 for a normal law, seeded."""
    theta = numbers(0.2, 0.5, 0.05).log()
    for seed in range(3):
        model = TreeBrownian(drawn(PAIRS, 4, theta, seed), MEAN)
        fit = model.fit()
        assert fit.converged
        assert model.names == ("log_a", "log_length", "log_within")
        assert float(((fit.theta - theta) / fit.stderr).abs().max()) < 4
        slope = torch.autograd.functional.jacobian(model.log_likelihood, fit.theta)
        assert float((slope * fit.stderr).abs().max()) < 1e-2


def test_root_of_a_star_is_the_mean_of_its_tips():
    theta = numbers(0.2, 0.5).log()
    sample = drawn(star(5), 1, theta, 4, within=False)
    model = TreeBrownian(sample, MEAN)
    root = model.nodes(theta)[0]
    torch.testing.assert_close(root.mean, sample.coordinates.mean(0), atol=1e-9, rtol=0)
    torch.testing.assert_close(root.covariance, model.covariances(theta)[1] / 5, atol=1e-10, rtol=0)


def test_two_specimens_need_a_variance_within_species():
    with pytest.raises(UserError, match="species '1' has 2 specimens; estimate the variance within"):
        TreeSample(star(2), (1, 2, 2), torch.zeros(3, *MEAN.shape), False)


def test_an_unknown_kernel():
    sample = TreeSample(star(2), (1, 2), torch.zeros(2, *MEAN.shape), False)
    with pytest.raises(UserError, match="there is no kernel 'gausian': did you mean gaussian"):
        TreeBrownian(sample, MEAN, "gausian")
