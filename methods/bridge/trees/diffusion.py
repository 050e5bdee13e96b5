"""The landmark diffusion on a tree: guided from the root to the tips by a backward filter.

The backward filter is Gaussian pruning with the kernel at the nodes' means. On each branch it approximates
the density of the data below by h_k(x) = N(x; mean, A_k ⊗ I_m), where A_k falls from the parent to the node.
Particles start from the filter's root and take each Euler step in proportion to h at its end:

    x_{k+1} ~ N(x_{k+1}; x_k + f dt, Σ(x_k) dt) h_{k+1}(x_{k+1}) / p_k,
    p_k = N(mean; x_k + f dt, Σ(x_k) dt + A_{k+1}),    log w = constant of the root + Σ log p_k/h_k(x_k)

The mean of w is the likelihood of the Euler scheme, without bias. For a constant Σ all weights are equal.
Otherwise each branch adds to their variance, and they soon degenerate; `posterior.py` does without them.

Source: F. van der Meulen and S. Sommer, Backward filtering forward guiding, JMLR 26 (2025), arXiv 2505.18239.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ....tasks.landmarks.pruning import Message, log_normal, prune
from ....tasks.landmarks.trees import Tree
from ....tasks.sde.sde import SDE, TimeGrid, cholesky, euler_path
from ....tasks.seeding import derive_seed, generator
from ..likelihood import Estimate, average
from ..proposals import Bridges
from .brownian import TreeBrownian


def branch_grid(tree: Tree, node: int, dt: float) -> TimeGrid:
    """Return the fewest equal steps of at most `dt`, two or more, along the branch above a node."""
    return TimeGrid(tree.lengths[node], max(2, math.ceil(tree.lengths[node] / dt - 1e-9)))


def simulate(tree: Tree, sde: SDE, root: Tensor, dt: float, random: torch.Generator) -> list[Tensor]:
    """Simulate a diffusion from the root to the tips, by Euler steps of at most `dt`.

    Args:
        tree: the tree.
        sde: the model.
        root: the start (..., D).
        dt: the longest step.
        random: draws the noise.

    Returns:
        The state of each node, (..., D).
    """
    found = [root]
    for node in tree.preorder:
        grid = branch_grid(tree, node, dt)
        noise = torch.randn(grid.steps, *root.shape, generator=random, dtype=torch.float64)
        found.append(euler_path(sde, found[tree.parents[node]], grid, noise)[..., -1, :])
    return found


class Filter(NamedTuple):
    """The backward filter of `TreeDiffusion` at θ.

    Attributes:
        messages: the density of the data below each node of the tree of species.
        ahead: A_0, …, A_K along the branch above each node, (K + 1, n, n); none for the root.
    """

    messages: list[Message]
    ahead: list[Tensor]


class Particles(NamedTuple):
    """N particles, each a state of every node.

    Attributes:
        nodes: (N, nodes, D).
        log_weights: (N,).
    """

    nodes: Tensor
    log_weights: Tensor

    @property
    def estimate(self) -> Estimate:
        """The log-likelihood with its accuracy, all fields of shape ()."""
        finite = self.log_weights.isfinite()
        weights = torch.where(finite, self.log_weights, -math.inf)
        none = torch.zeros((), dtype=torch.float64)
        return average(Bridges(weights, torch.arange(len(weights)), None, none, (~finite).sum().double()))


@dataclass(frozen=True, eq=False)
class TreeDiffusion:
    """A diffusion of landmarks on a tree, given the specimens at its tips.

    The root has the flat density 1. Specimens scatter about their species as in Brownian motion.

    Args:
        baseline: Brownian motion for the same specimens, with the same parameters θ.
        make: returns the SDE at θ (d,).
        dt: the longest Euler step.
    """

    baseline: TreeBrownian
    make: Callable[[Tensor], SDE]
    dt: float

    @property
    def tree(self) -> Tree:
        """The tree of species."""
        return self.baseline.sample.tree

    def filter(self, theta: Tensor) -> Filter:
        """Compute the backward filter, with the kernel interpolated between the means of a branch's ends."""
        sample, constant = self.baseline.sample, self.baseline.covariances(theta)
        means = [each.mean for each in self.baseline.nodes(theta)][: len(self.tree)]
        kernels = self.make(theta).at(torch.stack(means).flatten(-2)).kernel
        left = [torch.zeros_like(kernels[:1])]  # of the root, which has no branch
        for node in self.tree.preorder:
            grid = branch_grid(self.tree, node, self.dt)
            share = torch.arange(grid.steps, dtype=torch.float64)[:, None, None] / grid.steps
            steps = grid.dt * torch.lerp(kernels[self.tree.parents[node]], kernels[node], share)
            ahead = steps.flip(0).cumsum(0).flip(0)
            left.append(torch.cat([ahead, torch.zeros_like(ahead[:1])]))
        covariances = [each[0] for each in left] + constant[len(self.tree) :]
        messages = prune(sample.full_tree, covariances, sample.observed)[: len(self.tree)]
        known = [message for message in messages if message is not None]  # all, as each tip has a specimen
        return Filter(known, [own.covariance + ahead for own, ahead in zip(known, left, strict=True)])

    def noise(self, particles: int, seed: int) -> list[Tensor]:
        """Draw standard normal noise for `guided`: for each node (N, draws, D)."""
        random = generator(derive_seed(seed, "tree"))
        steps = [branch_grid(self.tree, node, self.dt).steps for node in self.tree.preorder]
        size = self.baseline.mean.numel()
        return [
            torch.randn(particles, draws, size, generator=random, dtype=torch.float64)
            for draws in (1, *(2 * count for count in steps))
        ]

    def guided(self, theta: Tensor, noise: list[Tensor]) -> Particles:
        """Simulate particles from the root to the tips, differentiable in θ.

        Args:
            theta: log a, log ℓ, and log w if species vary, (d,).
            noise: from `noise`; the same noise gives the same particles.
        """
        sde, backward = self.make(theta), self.filter(theta)
        root = backward.messages[0]
        start = root.mean + cholesky(root.covariance) @ noise[0].squeeze(1).unflatten(-1, root.mean.shape)
        nodes = [start.flatten(-2)]
        log_weights = root.constant.expand(len(start))
        for node in self.tree.preorder:
            grid = branch_grid(self.tree, node, self.dt)
            parent = nodes[self.tree.parents[node]]
            x, added = _along(
                sde, parent, backward.messages[node].mean, backward.ahead[node], grid, noise[node]
            )
            nodes.append(x)
            log_weights = log_weights + added
        return Particles(torch.stack(nodes, 1), log_weights)


def _along(
    sde: SDE, x: Tensor, mean: Tensor, ahead: Tensor, grid: TimeGrid, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Take guided steps along a branch.

    A step is drawn by conditioning: with ξ ~ N(0, Σ dt) and η ~ N(0, A), x + f dt + ξ + Σ dt S⁻¹ (mean − x −
    f dt − ξ − η), where S = Σ dt + A.

    Args:
        sde: the model.
        x: the parent's state (N, D).
        mean: of the node's message, (n, m).
        ahead: A_0, …, A_K, (K + 1, n, n); A_K = 0 at a tip whose x is known.
        grid: the steps.
        noise: (N, 2 K, D).

    Returns:
        The node's state (N, D), and the sum of log p_k/h_k(x_k), (N,).
    """
    dt, known = grid.dt, not bool(ahead[-1].any())
    factors = cholesky(ahead[:-1] if known else ahead)
    added = torch.zeros(len(x), dtype=x.dtype)
    for k in range(grid.steps):
        here = sde.at(x)
        away = mean - here.as_rows(x)
        left = away - here.as_rows(here.drift * dt)
        total = cholesky(here.kernel * dt + ahead[k + 1])
        added = added + log_normal(left, total) - log_normal(away, factors[k])
        if known and k == grid.steps - 1:
            x = mean.flatten().expand_as(x)
            break
        moved = math.sqrt(dt) * here.colour(noise[:, 2 * k])
        error = factors[k + 1] @ here.as_rows(noise[:, 2 * k + 1])
        pull = torch.cholesky_solve(left - here.as_rows(moved) - error, total)
        x = x + here.drift * dt + moved + dt * here.times(pull.flatten(-2))
    return x, added
