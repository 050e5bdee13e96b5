"""The joint posterior of (a, ℓ) and of all ancestors under a diffusion of landmarks on a tree.

Each branch has the transition density in closed form of the base `midpoint`, so that nothing is simulated
inside the branches. Hamiltonian Monte Carlo samples the parameters and the states of the nodes together, in
coordinates z in which the backward filter's posterior of the nodes is N(0, I); for a constant Σ this is the
posterior itself.

Source: R. M. Neal, MCMC using Hamiltonian dynamics, in Handbook of Markov Chain Monte Carlo, 2011.
"""

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from ....tasks.errors import UserError
from ....tasks.landmarks.pruning import log_normal
from ....tasks.landmarks.trees import Tree
from ....tasks.sde.sde import SDE, TimeGrid, cholesky
from ....tasks.seeding import derive_seed, generator
from ..bases import MidpointBase
from ..likelihood import BridgeSampler
from .diffusion import Filter, TreeDiffusion
from .hamiltonian import hamiltonian

FINE = 1000  # steps of the base, whose density depends on them only through the last one
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
        step: the step size of the leapfrog scheme, after warming up.
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
        centre: θ (d,) at which the coordinates z are made, best the maximum for Brownian motion.
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
        return MidpointBase(sde, x_0, TimeGrid(1.0, FINE)).log_density(FINE, x, sde.at(x))

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
        placement, d = self.placement(), len(self.centre)

        def at(z: Tensor) -> tuple[Tensor, Tensor]:
            return self.centre + z[..., :d] @ self.scale.mT, placement.nodes(z[..., d:])

        random = generator(derive_seed(seed, "starts"))
        start = torch.randn(chains, d + placement.size, generator=random, dtype=torch.float64)
        found = hamiltonian(lambda z: self.log_density(*at(z)), start, warmup=warmup, draws=draws, seed=seed)
        return TreeDraws(*at(found.draws), found.acceptance, found.step)

    def placement(self) -> "Placement":
        """Return the coordinates of the nodes at the centre."""
        with torch.no_grad():
            return Placement(self.diffusion.tree, self.diffusion.filter(self.centre))

    def _branches(self, theta: Tensor, nodes: Tensor) -> tuple[SDE, Tensor, Tensor]:
        """Return the SDE of each branch in its own time, from 0 to 1, and the states at its ends."""
        parents = list(self.diffusion.tree.parents[1:])
        return self.diffusion.make(self._scaled(theta)), nodes[..., parents, :], nodes[..., 1:, :]

    def _scaled(self, theta: Tensor) -> Tensor:
        """Return θ for each branch (..., nodes − 1, d): time t with a is time 1 with a √t."""
        times = torch.tensor(self.diffusion.tree.lengths[1:], dtype=torch.float64)
        longer = torch.zeros(len(times), theta.shape[-1], dtype=torch.float64)
        longer[:, 0] = 0.5 * times.log()
        return theta.unsqueeze(-2) + longer


class Placement:
    """The nodes' states as an affine function of z, so that z ~ N(0, I) has the backward filter's posterior.

        x_root = mean + chol(C) z,    x_c = mean + G (x_p − mean) + chol(R) z,    G = C A_0⁻¹,    R = C − G C

    with mean and C of the node's message and A_0 = C + V. Tips whose state is known have no z.

    Args:
        tree: the tree of species.
        backward: the filter.

    Attributes:
        size: the number of z.
    """

    def __init__(self, tree: Tree, backward: Filter) -> None:
        self.parents, self.messages = tree.parents, backward.messages
        root = backward.messages[0]
        self.gains, self.factors = [torch.zeros_like(root.covariance)], [cholesky(root.covariance)]
        for node in tree.preorder:
            covariance, first = backward.messages[node].covariance, backward.ahead[node][0]
            gain = torch.cholesky_solve(covariance, cholesky(first)).mT
            known = not bool(covariance.any())
            self.gains.append(gain)
            self.factors.append(covariance if known else cholesky(gain @ (first - covariance)))
        self.free = [bool(factor.any()) for factor in self.factors]
        self.size = sum(self.free) * root.mean.numel()

    def nodes(self, z: Tensor) -> Tensor:
        """Return the states of all nodes (..., nodes, D) for z (..., size)."""
        shape = self.messages[0].mean.shape
        noise = iter(z.unflatten(-1, (-1, *shape)).unbind(-3))
        found: list[Tensor] = []
        for parent, message, gain, factor, free in zip(
            self.parents, self.messages, self.gains, self.factors, self.free, strict=True
        ):
            x = message.mean.expand(*z.shape[:-1], *shape)
            if found:
                x = x + gain @ (found[parent] - message.mean)
            found.append(x + factor @ next(noise) if free else x)
        return torch.stack(found, -3).flatten(-2)
