"""The joint posterior of (a, ℓ) and of all ancestors under a diffusion of landmarks on a tree.

Each branch has the transition density in closed form of the base `midpoint`, in the limit of many steps, so
that nothing is simulated inside the branches. With k̄ at the middle x̄ of the straight line from x_p to x_c,

    log p̂(x_c | x_p) = log N(x_c − x_p; 0, t (k(x_p) + 4 k̄ + k(x_c))/6 ⊗ I_m) − ½ (x_c − x_p)·Σ̄⁻¹ div Σ̄

Hamiltonian Monte Carlo samples the parameters and the states of the nodes together, in
coordinates z in which the backward filter's posterior of the nodes is N(0, I); for a constant Σ this is the
posterior itself.

Source: R. M. Neal, MCMC using Hamiltonian dynamics, in Handbook of Markov Chain Monte Carlo, 2011.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from types import ModuleType
from typing import NamedTuple, Self

import torch
from torch import Tensor

from ....tasks.errors import UserError
from ....tasks.landmarks.pruning import log_normal
from ....tasks.landmarks.trees import Tree
from ....tasks.sde.sde import SDE, TimeGrid, cholesky
from ....tasks.seeding import derive_seed, generator
from ..likelihood import BridgeSampler
from .brownian import TreeFit
from .diffusion import Filter, TreeDiffusion
from .hamiltonian import hamiltonian

SPREAD = 1.5  # of the prior of each logarithm


class Diagnostics(NamedTuple):
    """The quality of a sample, over the coordinates of the root and over the parameters.

    Attributes:
        root_ess: the least effective sample size of a coordinate of the root.
        root_rhat: its largest R̂.
        theta_ess: the least effective sample size of a parameter.
        theta_rhat: its largest R̂.
    """

    root_ess: float
    root_rhat: float
    theta_ess: float
    theta_rhat: float


class TreeDraws(NamedTuple):
    """Draws from the posterior by C chains of S draws each.

    Attributes:
        theta: (C, S, d).
        nodes: the states of the nodes of the tree of species, (C, S, nodes, D).
        acceptance: the share of accepted proposals.
        step: the longest step after warming up.
    """

    theta: Tensor
    nodes: Tensor
    acceptance: float
    step: float

    def diagnostics(self) -> Diagnostics:
        """Compute effective sample sizes and R̂ with ArviZ.

        Raises:
            UserError: ArviZ is not installed.
        """
        arviz = require_arviz()
        data = arviz.convert_to_dataset({"root": self.nodes[:, :, 0].numpy(), "theta": self.theta.numpy()})
        ess, rhat = arviz.ess(data), arviz.rhat(data)
        return Diagnostics(
            *(float(value) for name in ("root", "theta") for value in (ess[name].min(), rhat[name].max()))
        )


def require_arviz() -> ModuleType:
    """Return ArviZ, for diagnostics.

    Raises:
        UserError: ArviZ is not installed.
    """
    try:
        return import_module("arviz")
    except ImportError as error:
        raise UserError(f"diagnostics need ArviZ: run `pip install 'graybench[arviz]'` ({error}).") from error


@dataclass(frozen=True, eq=False)
class TreePosterior:
    """The posterior of θ and the nodes, given the specimens at the tips.

        log π(θ, x) = Σ_branches log p̂(x_c | x_p, θ) + Σ_specimens log N(y; x_tip, w² k/a²) + log prior(θ)

    The root has the flat density 1. Each parameter is a logarithm with the prior N(guess, 1.5²), where the
    guess is that of `TreeBrownian.start`. Without it the posterior is improper, as no data exclude ℓ = 0.

    Args:
        diffusion: the model, whose Σ is proportional to a² and which has no drift.
        centre: θ (d,) at which the coordinates z are made, and near which chains begin; see `near`.
        covariance: a first guess of the covariance of θ, (d, d).

    Raises:
        UserError: the covariance is not positive definite.
    """

    diffusion: TreeDiffusion
    centre: Tensor
    covariance: Tensor

    def __post_init__(self) -> None:
        if not bool(self.scale.isfinite().all()):
            raise UserError(
                "posterior on a tree: the covariance of the parameters is not positive definite, as where "
                "data do not determine them; pass a guess, such as 0.1 on its diagonal."
            )

    @classmethod
    def near(cls, diffusion: TreeDiffusion, fit: TreeFit) -> Self:
        """Return the posterior with chains that begin in the normal law of a fit times the prior.

        Data that do not determine ℓ leave the fit with a huge standard error, far beyond the prior. Chains
        begin at the prior if the fit has not converged.
        """
        guess = diffusion.baseline.start()
        known = torch.eye(len(guess), dtype=guess.dtype) / SPREAD**2
        if not fit.converged:
            return cls(diffusion, guess, known.inverse())
        precision = fit.covariance.inverse()
        covariance = (precision + known).inverse()
        return cls(diffusion, covariance @ (precision @ fit.theta + known @ guess), covariance)

    @cached_property
    def scale(self) -> Tensor:
        """The Cholesky factor of the covariance of θ, (d, d)."""
        return cholesky(self.covariance)

    @cached_property
    def guess(self) -> Tensor:
        """The prior's mean of θ, (d,)."""
        return self.diffusion.baseline.start()

    def log_density(self, theta: Tensor, nodes: Tensor) -> Tensor:
        """Return log π, (...), for θ (..., d) and the states of all nodes (..., nodes, D)."""
        total = self.log_branches(theta, nodes).sum(-1)
        sample = self.diffusion.baseline.sample
        if sample.within:
            factor = cholesky(self.diffusion.baseline.covariances(theta)[-1]).unsqueeze(-3)
            species = nodes[..., list(sample.tips), :].unflatten(-1, self.diffusion.baseline.mean.shape)
            total = total + log_normal(sample.coordinates - species, factor).sum(-1)
        return total - 0.5 * ((theta - self.guess) / SPREAD).square().sum(-1)

    def log_branches(self, theta: Tensor, nodes: Tensor) -> Tensor:
        """Return log p̂ of each branch, (..., nodes − 1)."""
        sde, x_0, x = self._branches(theta, nodes)
        # The kernel of a node is that of all branches that meet there, up to their times.
        kernels = self.diffusion.make(theta.unsqueeze(-2)).at(nodes).kernel
        ends = kernels.index_select(-3, self._parents) + kernels[..., 1:, :, :]
        middle, moved = sde.at(0.5 * (x_0 + x)), x - x_0
        factor = cholesky((self._times[:, None, None] * ends + 4 * middle.kernel) / 6)
        spread = 0.5 * (moved * middle.solve(middle.divergence)).sum(-1)
        return log_normal(middle.as_rows(moved), factor) - spread

    def log_corrections(
        self, theta: Tensor, nodes: Tensor, sampler: BridgeSampler, steps: int, seed: int
    ) -> Tensor:
        """Estimate the log of p/p̂, summed over the branches (...), by bridges along each branch.

        The states of the nodes have the exact posterior if they are weighted with these ratios.

        Args:
            theta: (..., d).
            nodes: (..., nodes, D).
            sampler: draws the bridges.
            steps: number of steps of each bridge.
            seed: names the noise.
        """
        _, x_0, x = self._branches(theta, nodes)
        sde = self.diffusion.make(self._scaled(theta).unsqueeze(-2))
        found = sampler.estimate(sde, x_0.unsqueeze(-2), x, TimeGrid(1.0, steps), seed)
        return (found.value - self.log_branches(theta, nodes)).sum(-1)

    @torch.no_grad()
    def sample(self, seed: int, *, chains: int = 4, warmup: int = 300, draws: int = 500) -> TreeDraws:
        """Draw from the posterior, each chain from a start of its own in the backward filter's posterior.

        Args:
            seed: names the noise.
            chains: number C of chains.
            warmup: number of proposals before the draws.
            draws: number S of draws of each chain.
        """
        at, size = self.coordinates()
        random = generator(derive_seed(seed, "starts"))
        start = torch.randn(chains, size, generator=random, dtype=torch.float64)
        found = hamiltonian(lambda z: self.log_density(*at(z)), start, warmup=warmup, draws=draws, seed=seed)
        return TreeDraws(*at(found.draws), found.acceptance, found.step)

    def coordinates(self) -> tuple[Callable[[Tensor], tuple[Tensor, Tensor]], int]:
        """Return the map from z (..., size) to θ (..., d) and the nodes (..., nodes, D), and the size."""
        placement, d = self.placement(), len(self.centre)

        def at(z: Tensor) -> tuple[Tensor, Tensor]:
            return self.centre + z[..., :d] @ self.scale.mT, placement.nodes(z[..., d:])

        return at, d + placement.size

    def placement(self) -> "Placement":
        """Return the coordinates of the nodes at the centre."""
        with torch.no_grad():
            return Placement(self.diffusion.tree, self.diffusion.filter(self.centre))

    def _branches(self, theta: Tensor, nodes: Tensor) -> tuple[SDE, Tensor, Tensor]:
        """Return the SDE of each branch in its own time, from 0 to 1, and the states at its ends."""
        return (
            self.diffusion.make(self._scaled(theta)),
            nodes.index_select(-2, self._parents),
            nodes[..., 1:, :],
        )

    def _scaled(self, theta: Tensor) -> Tensor:
        """Return θ for each branch (..., nodes − 1, d): time t with a is time 1 with a √t."""
        longer = torch.zeros(len(self._times), theta.shape[-1], dtype=torch.float64)
        longer[:, 0] = 0.5 * self._times.log()
        return theta.unsqueeze(-2) + longer

    @cached_property
    def _times(self) -> Tensor:
        return torch.tensor(self.diffusion.tree.lengths[1:], dtype=torch.float64)

    @cached_property
    def _parents(self) -> Tensor:
        return torch.tensor(self.diffusion.tree.parents[1:])


class Level(NamedTuple):
    """The nodes of one depth whose states are unknown, for `Placement`.

    Attributes:
        nodes: their numbers, (L,).
        parents: the place of each parent in the level above, (L,).
        gains: G, (L, n, n).
        shifts: G (mean of the parent − mean), (L, n, m).
        factors: chol(R), (L, n, n).
    """

    nodes: Tensor
    parents: Tensor
    gains: Tensor
    shifts: Tensor
    factors: Tensor


class Placement:
    """The nodes' states as an affine function of z, so that z ~ N(0, I) has the backward filter's posterior.

        x_root = mean + chol(C) z,    x_c = mean + G (x_p − mean) + chol(R) z,    G = C A_0⁻¹,    R = C − G C

    with mean and C of the node's message and A_0 = C + V. Tips whose state is known have no z. All nodes of
    one depth are computed at once.

    Args:
        tree: the tree of species.
        backward: the filter.

    Attributes:
        size: the number of z.
    """

    def __init__(self, tree: Tree, backward: Filter) -> None:
        messages = backward.messages
        self.means = torch.stack([message.mean for message in messages])
        free = [bool(message.covariance.any()) for message in messages]
        self.levels: list[Level] = []
        places, depth = {-1: 0}, [0]
        for node in tree.preorder:
            depth.append(depth[tree.parents[node]] + 1)
        for at in range(max(depth) + 1):
            nodes = [node for node in range(len(tree)) if depth[node] == at and free[node]]
            if nodes:
                self.levels.append(self._level(tree, backward, nodes, places))
                places = {node: place for place, node in enumerate(nodes)}
        order = torch.cat([level.nodes for level in self.levels])
        self.known = torch.tensor(free).logical_not().nonzero().flatten()
        self.order = torch.cat([order, self.known]).argsort()
        # The z of a node stand at its place among the unknown ones, in the order of the tree.
        self.noise = torch.tensor(free).cumsum(0).sub(1)
        self.size = sum(free) * self.means[0].numel()

    def _level(self, tree: Tree, backward: Filter, nodes: list[int], places: dict[int, int]) -> Level:
        parents = [tree.parents[node] for node in nodes]
        covariances = torch.stack([backward.messages[node].covariance for node in nodes])
        if parents == [-1]:
            none = torch.zeros_like(covariances)
            gains, shifts, rest = none, torch.zeros_like(self.means[:1]), covariances
        else:
            first = torch.stack([backward.ahead[node][0] for node in nodes])
            gains = torch.cholesky_solve(covariances, cholesky(first)).mT
            shifts, rest = gains @ (self.means[parents] - self.means[nodes]), gains @ (first - covariances)
        above = torch.tensor([places[parent] for parent in parents])
        return Level(torch.tensor(nodes), above, gains, shifts, cholesky(rest))

    def nodes(self, z: Tensor) -> Tensor:
        """Return the states of all nodes (..., nodes, D) for z (..., size)."""
        shape = self.means.shape[1:]
        noise = z.unflatten(-1, (-1, *shape))
        found: list[Tensor] = []  # deviations from the means
        for level in self.levels:
            x = level.factors @ noise.index_select(-3, self.noise[level.nodes])
            if found:
                x = x + level.shifts + level.gains @ found[-1].index_select(-3, level.parents)
            found.append(x)
        found.append(torch.zeros(*z.shape[:-1], len(self.known), *shape, dtype=z.dtype))
        return (self.means + torch.cat(found, -3).index_select(-3, self.order)).flatten(-2)
