"""Coordinates of ancestors: moments of pruning at every θ, and the volume by automatic differentiation."""

import pytest
import torch

from graybench.methods.bridge.trees.brownian import TreeBrownian, TreeSample
from graybench.methods.bridge.trees.coordinates import NodeCoordinates
from graybench.tasks.landmarks.trees import Tree
from graybench.tasks.seeding import generator

from .examples import MEAN, TREE, baseline, moving, theta

THETAS = (theta(0.2, 0.5, 0.03), theta(0.05, 0.3, 0.1))


@pytest.mark.parametrize("each", [1, 2])
@pytest.mark.parametrize("kernel", ["gaussian", "independent"])
def test_nodes_have_the_posterior_of_pruning_at_every_theta(each, kernel):
    sample = baseline(moving, THETAS[0], 0, each).sample
    model = TreeBrownian(sample, MEAN, kernel)
    coordinates = NodeCoordinates(model)
    zero = torch.zeros(coordinates.size, dtype=torch.float64)
    kept = [name in model.names for name in ("log_a", "log_length", "log_within")]
    for at in THETAS:
        own = at[kept]
        exact = model.nodes(own)[: len(TREE)]
        means = coordinates.nodes(own, zero).states.unflatten(-1, MEAN.shape)
        torch.testing.assert_close(means, torch.stack([node.mean for node in exact]), atol=1e-9, rtol=0)
        slope = torch.autograd.functional.jacobian(lambda z, own=own: coordinates.nodes(own, z).states, zero)
        for x, node in zip(slope.unflatten(1, MEAN.shape), exact, strict=True):
            covariance = torch.einsum("aiz,bjz->aibj", x, x)
            expected = torch.einsum("ab,ij->aibj", node.covariance, torch.eye(2, dtype=torch.float64))
            torch.testing.assert_close(covariance, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("each", [1, 2])
def test_the_volume_is_the_determinant_of_the_derivative(each):
    model = baseline(moving, THETAS[0], 1, each)
    coordinates = NodeCoordinates(model)
    z = torch.randn(coordinates.size, generator=generator(2), dtype=torch.float64)
    unknown = list(TREE.inner) if each == 1 else list(range(len(TREE)))
    for at in THETAS:
        own = at[: 2 + (each > 1)]
        slope = torch.autograd.functional.jacobian(
            lambda z, own=own: coordinates.nodes(own, z).states[unknown].flatten(), z
        )
        expected = torch.linalg.slogdet(slope).logabsdet
        assert float(coordinates.nodes(own, z).log_volume) == pytest.approx(float(expected), abs=1e-8)


def test_chains_have_coordinates_of_their_own():
    model = baseline(moving, THETAS[0], 3, 2)
    coordinates = NodeCoordinates(model)
    z = torch.randn(2, 4, coordinates.size, generator=generator(4), dtype=torch.float64)
    at = torch.stack(THETAS)[:, None].expand(2, 4, 3)
    found = coordinates.nodes(at, z)
    for place in ((0, 1), (1, 3)):
        alone = coordinates.nodes(at[place], z[place])
        torch.testing.assert_close(found.states[place], alone.states, atol=1e-12, rtol=0)
        torch.testing.assert_close(found.log_volume[place], alone.log_volume, atol=1e-10, rtol=0)


def test_tips_in_any_order_and_ancestors_with_one_child():
    tree = Tree((-1, 0, 1, 0, 3, 3), (0, 1, 0.5, 0.7, 0.4, 0.3), ("", "", "a", "", "b", "c"), "years")
    x = MEAN + 0.1 * torch.randn(3, *MEAN.shape, generator=generator(5), dtype=torch.float64)
    model = TreeBrownian(TreeSample(tree, (5, 2, 4), x, False), MEAN)
    coordinates, at = NodeCoordinates(model), THETAS[0][:2]
    found = coordinates.nodes(at, torch.zeros(coordinates.size, dtype=torch.float64)).states
    exact = torch.stack([node.mean for node in model.nodes(at)])
    torch.testing.assert_close(found.unflatten(-1, MEAN.shape), exact, atol=1e-9, rtol=0)
