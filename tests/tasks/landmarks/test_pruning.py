"""Gaussian pruning against the dense normal distribution of all nodes, on random trees with polytomies."""

import math

import pytest
import torch
from scipy import stats

from graybench.tasks.landmarks.pruning import Message, posterior, product, prune
from graybench.tasks.landmarks.trees import Tree
from graybench.tasks.seeding import generator
from graybench.tests.tasks.landmarks.simulated import descend

N, M = 4, 2


def normals(random, *size):
    return torch.randn(size, generator=random, dtype=torch.float64)


def random_tree(random, nodes):
    """A random recursive tree, in which nodes have one, two, three or more children."""
    parents = (-1, *(int(torch.randint(node, (), generator=random)) for node in range(1, nodes)))
    return Tree(parents, (0.0,) + (1.0,) * (nodes - 1), tuple(map(str, range(nodes))), "years")


def random_covariances(random, nodes):
    roots = normals(random, nodes, N, N + 2)
    return list(roots @ roots.mT * torch.rand(nodes, 1, 1, generator=random, dtype=torch.float64))


def dense(tree, covariances):
    """The covariance of all nodes' landmarks given the root, (nodes, N, nodes, N), for one coordinate."""
    above = torch.zeros(len(tree), len(tree), dtype=torch.float64)
    for node in tree.preorder:
        above[node] = above[tree.parents[node]]
        above[node, node] = 1.0
    return torch.einsum("ie,je,eab->iajb", above, above, torch.stack(covariances))


def flat(covariance, rows, columns):
    return covariance[rows][:, :, columns].reshape(len(rows) * N, len(columns) * N)


def log_normal(deviation, covariance):
    """The log-density of columns (D, M) that are independent N(0, C)."""
    normal = torch.distributions.MultivariateNormal(torch.zeros(len(covariance)).double(), covariance)
    return normal.log_prob(deviation.mT).sum()


@pytest.fixture(params=range(6))
def case(request):
    random = generator(request.param)
    tree = random_tree(random, 6 + 3 * request.param)
    return tree, random_covariances(random, len(tree)), random


def data(tree, random, known=None):
    tips = list(tree.tips if known is None else known)
    x = normals(random, len(tips), N, M)
    return tips, x, dict(zip(tips, x, strict=True))


def test_density_given_the_root_is_that_of_the_dense_normal(case):
    tree, covariances, random = case
    tips, x, observed = data(tree, random)
    x_0 = normals(random, N, M)
    found = prune(tree, covariances, observed)[0].log_density(x_0)
    expected = log_normal((x - x_0).flatten(0, 1), flat(dense(tree, covariances), tips, tips))
    assert float(found) == pytest.approx(float(expected), abs=1e-8)


def test_density_with_a_normal_root_is_that_of_the_dense_normal(case):
    tree, covariances, random = case
    tips, x, observed = data(tree, random)
    mean, spread = normals(random, N, M), random_covariances(random, 1)[0]
    prior = Message(mean, spread, torch.zeros(()).double())
    found = product([prune(tree, covariances, observed)[0], prior]).constant
    joint = dense(tree, covariances) + spread[None, :, None]
    assert float(found) == pytest.approx(
        float(log_normal((x - mean).flatten(0, 1), flat(joint, tips, tips))), abs=1e-8
    )


def test_restricted_density_is_that_of_the_dense_normal(case):
    tree, covariances, random = case
    tips, x, observed = data(tree, random)
    found = prune(tree, covariances, observed)[0].constant
    # ∫ N(x; 1 x_0, C) dx_0 = N(x; 1 x̂, C) (2π)^{N/2} |1ᵀ C⁻¹ 1|^{−1/2} for each coordinate.
    covariance = flat(dense(tree, covariances), tips, tips)
    ones = torch.eye(N, dtype=torch.float64).repeat(len(tips), 1)
    precision = ones.mT @ covariance.inverse() @ ones
    best = torch.linalg.solve(precision, ones.mT @ torch.linalg.solve(covariance, x.flatten(0, 1)))
    expected = log_normal(x.flatten(0, 1) - ones @ best, covariance)
    expected = expected + M * (N / 2 * math.log(2 * math.pi) - 0.5 * torch.logdet(precision))
    assert float(found) == pytest.approx(float(expected), abs=1e-8)


def test_posterior_of_each_node_is_that_of_the_dense_normal_also_with_unknown_tips(case):
    tree, covariances, random = case
    tips, x, observed = data(tree, random, tree.tips[:-1])
    mean, spread = normals(random, N, M), random_covariances(random, 1)[0]
    messages = prune(tree, covariances, observed)
    root = product([messages[0], Message(mean, spread, torch.zeros(()).double())])
    found = posterior(tree, covariances, messages, root)
    joint = dense(tree, covariances) + spread[None, :, None]
    covariance = flat(joint, tips, tips)
    for node, got in enumerate(found):
        across = flat(joint, [node], tips)
        gain = torch.linalg.solve(covariance, across.mT).mT
        expected = mean + gain @ (x - mean).flatten(0, 1)
        torch.testing.assert_close(got.mean, expected, atol=1e-8, rtol=0)
        left = flat(joint, [node], [node]) - gain @ across.mT
        torch.testing.assert_close(got.covariance, left, atol=1e-8, rtol=0)


def test_batches_of_data_are_pruned_one_by_one(case):
    tree, covariances, random = case
    many = {tip: normals(random, 3, N, M) for tip in tree.tips}
    batch = prune(tree, covariances, many)[0]
    for row in range(3):
        one = prune(tree, covariances, {tip: x[row] for tip, x in many.items()})[0]
        torch.testing.assert_close(batch.mean[row], one.mean, atol=1e-10, rtol=0)
        torch.testing.assert_close(batch.constant[row], one.constant, atol=1e-8, rtol=0)


def test_simulated_tips_have_the_dense_covariance(case):
    """The squared Mahalanobis lengths of 500 draws add up to χ²; the false-alarm rate is 1e-4 a tree."""
    tree, covariances, random = case
    x_0, draws = normals(random, N, M), 500
    nodes = descend(tree, covariances, x_0.expand(draws, N, M), random)
    tips = list(tree.tips)
    x = torch.stack([nodes[tip] - x_0 for tip in tips], 1).flatten(1, 2)
    factor = torch.linalg.cholesky(flat(dense(tree, covariances), tips, tips))
    white = torch.linalg.solve_triangular(factor, x, upper=False)
    share = stats.chi2(white.numel()).cdf(float(white.square().sum()))
    assert 5e-5 < share < 1 - 5e-5
    # Whitened coordinates are uncorrelated: the largest of their correlations, Bonferroni at 1e-4.
    columns = white.transpose(1, 2).flatten(0, 1)
    entries = (columns.mT @ columns / len(columns))[*torch.triu_indices(*white.shape[1:2] * 2, 1)]
    limit = stats.norm.isf(5e-5 / max(len(entries), 1)) / len(columns) ** 0.5
    assert float(entries.abs().max()) < 1.1 * limit
