"""The joint posterior of (a, ℓ) and of all ancestors under a diffusion of landmarks on a tree.

Each branch has the transition density in closed form of the base `midpoint`, in the limit of many steps, so
that nothing is simulated inside the branches. With k̄ at the middle x̄ of the straight line from x_p to x_c,

    log p̂(x_c | x_p) = log N(x_c − x_p; 0, t (k(x_p) + 4 k̄ + k(x_c))/6 ⊗ I_m) − ½ (x_c − x_p)·Σ̄⁻¹ div Σ̄

Hamiltonian Monte Carlo samples the parameters and the states of the nodes together, in
coordinates z, made anew for every θ, in which Brownian motion's posterior of the nodes is N(0, I); for a
constant Σ this is the posterior itself, and z and θ are independent.

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
from ....tasks.sde.sde import SDE, TimeGrid, cholesky
from ....tasks.seeding import derive_seed, generator
from ...hamiltonian import hamiltonian
from ..likelihood import BridgeSampler
from .brownian import TreeBrownian, TreeFit
from .coordinates import NodeCoordinates

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


class Place(NamedTuple):
    """What z stands for: θ (..., d), nodes (..., nodes, D), and log |d nodes/dz|, (...)."""

    theta: Tensor
    nodes: Tensor
    log_volume: Tensor


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
        baseline: Brownian motion for the same specimens, with the same parameters θ.
        make: returns the SDE at θ (..., d), whose Σ is proportional to a² and which has no drift.
        centre: θ (d,) near which chains begin; see `near`.
        covariance: a first guess of the covariance of θ, (d, d).

    Raises:
        UserError: the covariance is not positive definite.
    """

    baseline: TreeBrownian
    make: Callable[[Tensor], SDE]
    centre: Tensor
    covariance: Tensor

    def __post_init__(self) -> None:
        if not bool(self.scale.isfinite().all()):
            raise UserError(
                "posterior on a tree: the covariance of the parameters is not positive definite, as where "
                "data do not determine them; pass a guess, such as 0.1 on its diagonal."
            )

    @classmethod
    def near(cls, baseline: TreeBrownian, make: Callable[[Tensor], SDE], fit: TreeFit) -> Self:
        """Return the posterior with chains that begin in the normal law of a fit times the prior.

        Data that do not determine ℓ leave the fit with a huge standard error, far beyond the prior. Chains
        begin at the prior if the fit has not converged.
        """
        guess = baseline.start()
        known = torch.eye(len(guess), dtype=guess.dtype) / SPREAD**2
        if not fit.converged:
            return cls(baseline, make, guess, known.inverse())
        precision = fit.covariance.inverse()
        covariance = (precision + known).inverse()
        return cls(baseline, make, covariance @ (precision @ fit.theta + known @ guess), covariance)

    @cached_property
    def scale(self) -> Tensor:
        """The Cholesky factor of the covariance of θ, (d, d)."""
        return cholesky(self.covariance)

    @cached_property
    def guess(self) -> Tensor:
        """The prior's mean of θ, (d,)."""
        return self.baseline.start()

    def log_density(self, theta: Tensor, nodes: Tensor) -> Tensor:
        """Return log π, (...), for θ (..., d) and the states of all nodes (..., nodes, D)."""
        total = self.log_branches(theta, nodes).sum(-1)
        sample = self.baseline.sample
        if sample.within:
            factor = cholesky(self.baseline.covariances(theta)[-1]).unsqueeze(-3)
            species = nodes[..., list(sample.tips), :].unflatten(-1, self.baseline.mean.shape)
            total = total + log_normal(sample.coordinates - species, factor).sum(-1)
        return total - 0.5 * ((theta - self.guess) / SPREAD).square().sum(-1)

    def log_branches(self, theta: Tensor, nodes: Tensor) -> Tensor:
        """Return log p̂ of each branch, (..., nodes − 1)."""
        sde, x_0, x = self._branches(theta, nodes)
        # The kernel of a node is that of all branches that meet there, up to their times.
        kernels = self.make(theta.unsqueeze(-2)).at(nodes).kernel
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
        sde = self.make(self._scaled(theta).unsqueeze(-2))
        found = sampler.estimate(sde, x_0.unsqueeze(-2), x, TimeGrid(1.0, steps), seed)
        return (found.value - self.log_branches(theta, nodes)).sum(-1)

    @torch.no_grad()
    def sample(self, seed: int, *, chains: int = 4, warmup: int = 300, draws: int = 500) -> TreeDraws:
        """Draw from the posterior, each chain from a start of its own: z ~ N(0, I).

        Args:
            seed: names the noise.
            chains: number C of chains.
            warmup: number of proposals before the draws.
            draws: number S of draws of each chain.
        """
        random = generator(derive_seed(seed, "starts"))
        start = torch.randn(1, chains, self.size, generator=random, dtype=torch.float64)
        found = hamiltonian(
            lambda z, _: self.log_density_at(z), start, warmup=warmup, draws=draws, seeds=[seed]
        )
        return TreeDraws(*self.at(found.draws[0])[:2], float(found.acceptance), float(found.step))

    @property
    def size(self) -> int:
        """The number of coordinates z."""
        return len(self.centre) + self.coordinates.size

    @cached_property
    def coordinates(self) -> NodeCoordinates:
        """The coordinates of the nodes."""
        return NodeCoordinates(self.baseline)

    def at(self, z: Tensor) -> Place:
        """Return θ and the nodes for z (..., size); z ~ N(0, I) gives θ ~ N(centre, covariance)."""
        d = len(self.centre)
        theta = self.centre + z[..., :d] @ self.scale.mT
        return Place(theta, *self.coordinates.nodes(theta, z[..., d:]))

    def log_density_at(self, z: Tensor) -> Tensor:
        """Return the log-density of z up to a constant, (...)."""
        place = self.at(z)
        return self.log_density(place.theta, place.nodes) + place.log_volume

    def _branches(self, theta: Tensor, nodes: Tensor) -> tuple[SDE, Tensor, Tensor]:
        """Return the SDE of each branch in its own time, from 0 to 1, and the states at its ends."""
        return (
            self.make(self._scaled(theta)),
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
        return torch.tensor(self.baseline.sample.tree.lengths[1:], dtype=torch.float64)

    @cached_property
    def _parents(self) -> Tensor:
        return torch.tensor(self.baseline.sample.tree.parents[1:])
