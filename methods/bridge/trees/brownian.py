"""Brownian motion of landmarks on a tree: the exact baseline of the landmark diffusion on a tree.

The covariance per unit of time is constant, Σ = k ⊗ I_m:

    gaussian       k_ij = a² (exp(−|μ_i − μ_j|²/(2 ℓ²)) + nugget δ_ij) at a fixed mean shape μ
    independent    k = a² I

The specimens of a species scatter about it with the covariance w² k/a². Specimens are not averaged: each is a
tip of its own. The root's x_0 has the flat density 1, so that the likelihood is the restricted one (REML).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from ....tasks.errors import UserError
from ....tasks.landmarks.diffusion import squared_distances
from ....tasks.landmarks.pruning import Message, posterior, prune
from ....tasks.landmarks.trees import Tree
from ....tasks.plugin import require_choice

KERNELS = ("gaussian", "independent")
FARTHEST = math.log(1e4)  # of a parameter from its start


@dataclass(frozen=True, eq=False)
class TreeSample:
    """Specimens at the tips of a tree, one or more of each species.

    Args:
        tree: the tree of species.
        tips: the tip of each of S specimens, see `Tree.matched`.
        coordinates: their landmarks, (S, n, m).
        within: True if the specimens of a species differ from it; False if its one specimen is the species.

    Raises:
        UserError: `within` is False and a tip has several specimens.
    """

    tree: Tree
    tips: tuple[int, ...]
    coordinates: Tensor
    within: bool

    def __post_init__(self) -> None:
        twice = [tip for tip in self.tips if self.tips.count(tip) > 1]
        if twice and not self.within:
            raise UserError(
                f"species {self.tree.names[twice[0]]!r} has {self.tips.count(twice[0])} specimens; "
                "estimate the variance within species, or keep one of them."
            )

    @property
    def full_tree(self) -> Tree:
        """The tree with a tip for each specimen."""
        if not self.within:
            return self.tree
        return self.tree.with_specimens(self.tips, tuple(f"specimen {s}" for s in range(len(self.tips))))

    @property
    def observed(self) -> dict[int, Tensor]:
        """The landmarks of each tip of the full tree."""
        first = len(self.tree)
        tips = range(first, first + len(self.tips)) if self.within else self.tips
        return dict(zip(tips, self.coordinates, strict=True))


class TreeFit(NamedTuple):
    """A maximum of the restricted likelihood.

    Attributes:
        theta: log a, then log ℓ for the Gaussian kernel, then log w if species vary, (d,).
        covariance: the inverse of the observed information (d, d); NaN if that is not positive definite.
        log_likelihood: the restricted log-likelihood at the maximum.
        converged: whether L-BFGS reports convergence away from its bounds, and the covariance is known.
    """

    theta: Tensor
    covariance: Tensor
    log_likelihood: float
    converged: bool

    @property
    def stderr(self) -> Tensor:
        """The standard errors of θ, (d,)."""
        return self.covariance.diagonal().sqrt()


@dataclass(frozen=True, eq=False)
class TreeBrownian:
    """Brownian motion on a tree, given the specimens at its tips.

    Args:
        sample: the specimens.
        mean: the mean shape μ, (n, m), where the kernel is evaluated.
        kernel: "gaussian" or "independent".
        nugget: the addition to the diagonal, in units of a².

    Raises:
        UserError: there is no such kernel.
    """

    sample: TreeSample
    mean: Tensor
    kernel: str = "gaussian"
    nugget: float = 1e-3

    def __post_init__(self) -> None:
        require_choice("Brownian motion on a tree", "kernel", self.kernel, KERNELS)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters θ."""
        names = ("log_a", "log_length") if self.kernel == "gaussian" else ("log_a",)
        return (*names, "log_within") if self.sample.within else names

    def shape(self, theta: Tensor) -> Tensor:
        """Return k/a², (..., n, n), for θ (..., d)."""
        identity = torch.eye(len(self.mean), dtype=self.mean.dtype)
        if self.kernel == "independent":
            return identity.expand(*theta.shape[:-1], -1, -1)
        scaled = squared_distances(self.mean) / (2 * theta[..., 1]).exp()[..., None, None]
        return torch.exp(-0.5 * scaled) + self.nugget * identity

    def variances(self, theta: Tensor) -> Tensor:
        """Return the variance along the branch above each node of the full tree, in units of k/a².

        These are a² t for a branch of length t, 0 for the root, and w² for a specimen; (..., nodes).
        """
        times = torch.tensor(self.sample.tree.lengths, dtype=theta.dtype)
        along = (2 * theta[..., :1]).exp() * times
        if not self.sample.within:
            return along
        inside = (2 * theta[..., -1:]).exp().expand(*theta.shape[:-1], len(self.sample.tips))
        return torch.cat([along, inside], -1)

    def covariances(self, theta: Tensor) -> list[Tensor]:
        """Return the covariance (..., n, n) above each node of the full tree, for θ (..., d)."""
        shape, variances = self.shape(theta), self.variances(theta)[..., None, None]
        return [variance * shape for variance in variances.unbind(-3)]

    def messages(self, theta: Tensor) -> list[Message | None]:
        """Return the density of the specimens below each node, see `prune`."""
        return prune(self.sample.full_tree, self.covariances(theta), self.sample.observed)

    def log_likelihood(self, theta: Tensor) -> Tensor:
        """Return the restricted log-likelihood, differentiable in θ."""
        return root_of(self.messages(theta)).constant

    def nodes(self, theta: Tensor) -> list[Message]:
        """Return mean and covariance of each node of the full tree at θ, under a flat prior at the root."""
        messages = self.messages(theta)
        return posterior(self.sample.full_tree, self.covariances(theta), messages, root_of(messages))

    def start(self) -> Tensor:
        """Return a first guess of θ from the variances between and within species and the size of μ."""
        x, tips = self.sample.coordinates, self.sample.tips
        species = [x[[other == tip for other in tips]] for tip in dict.fromkeys(tips)]
        means = torch.stack([these.mean(0) for these in species])
        age = sum(self.sample.tree.ages[tip] for tip in dict.fromkeys(tips)) / len(species)
        rate = (means - means.mean(0)).square().mean() / age
        size = (self.mean - self.mean.mean(0)).square().sum(-1).mean()
        guesses = [rate, 0.25 * size] if self.kernel == "gaussian" else [rate]
        if self.sample.within:
            inside = torch.cat([these - these.mean(0) for these in species]).square().mean()
            guesses.append(torch.maximum(inside, 1e-4 * rate * age))
        return 0.5 * torch.stack(guesses).log()

    @torch.enable_grad()
    def fit(self) -> TreeFit:
        """Maximise the restricted likelihood by L-BFGS, with its exact Hessian."""

        def negative(point: np.ndarray) -> tuple[float, np.ndarray]:
            theta = torch.from_numpy(point).requires_grad_()
            value = -self.log_likelihood(theta)
            return float(value.detach()), torch.autograd.grad(value, theta)[0].numpy()

        start = self.start().numpy()
        bounds = [(guess - FARTHEST, guess + FARTHEST) for guess in start]
        found = minimize(negative, start, jac=True, method="L-BFGS-B", bounds=bounds)
        theta = torch.from_numpy(found.x)
        hessian = -torch.autograd.functional.hessian(self.log_likelihood, theta)
        known = bool(torch.linalg.eigvalsh(hessian)[0] > 0)
        covariance = hessian.inverse() if known else torch.full_like(hessian, math.nan)
        inside = bool((np.abs(found.x - start) < 0.999 * FARTHEST).all())
        return TreeFit(theta, covariance, -float(found.fun), bool(found.success) and known and inside)


def root_of(messages: list[Message | None]) -> Message:
    """Return the message of the root."""
    root = messages[0]
    assert root is not None  # a sample has specimens
    return root
