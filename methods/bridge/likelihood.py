"""Likelihoods p(y | x_0) of a diffusion, by importance sampling over bridges.

    log p(y | x_0) ≈ log-mean-exp of log w over N bridges

with an effective sample size that counts *origins*, and a standard error:

    ESS = 1/Σ_o (Σ_{i from o} W_i)²,   stderr² = 1/ESS − 1/N,   W the normalised weights

Without resampling each bridge is its own origin, and this is the usual ESS, the delta method's error. With
it, bridges that descend from the same particle share their luck, and count as one [Chan & Lai 2013; Lee &
Whiteley 2018]; `final_ess` counts them as different. Where the weights have collapsed the estimate is too low
by an amount that neither the error nor repeated runs show: a final ESS below 3 or 0.05 N, or one of origins
below 3, is warned of. Below N = 10 it is 0.3 N in place of 3, but no less than 1.2: there one weight has nine
tenths of all.

[BRIDGE] Boserup et al., arXiv 2411.08993.
"""

import math
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...tasks.errors import UserError
from ...tasks.plugin import nearest, require_whole
from ...tasks.sde.sde import SDE, TimeGrid
from ...tasks.seeding import derive_seed, generator
from .bases import BASES, Base, base_of
from .proposals import KERNELS, Bridges, Resampling, guided_bridges, reverse_bridges

PROPOSALS = ("reverse", "guided")
LEAST_ESS, LEAST_FRACTION, GOOD_FRACTION, ONE_WEIGHT = 3.0, 0.05, 0.3, 1.2


class LowEffectiveSizeWarning(UserWarning):
    """Importance weights have collapsed: the likelihood is estimated too low."""


class Estimate(NamedTuple):
    """Estimates of log p(y | x_0) with what they are worth; all of shape (...).

    Attributes:
        value: log p(y | x_0).
        stderr: of the value, in nats.
        ess_fraction: the effective number of independent bridges, over N.
        final_ess_fraction: the same where bridges of one origin count as different.
    """

    value: Tensor
    stderr: Tensor
    ess_fraction: Tensor
    final_ess_fraction: Tensor


def average(bridges: Bridges) -> Estimate:
    """Average the weights of bridges, (..., N), with log-sum-exp."""
    n = bridges.log_weights.shape[-1]
    value = torch.logsumexp(bridges.log_weights, -1) - math.log(n)
    weights = torch.softmax(bridges.log_weights.detach(), -1)
    shared = torch.zeros_like(weights).scatter_add_(-1, bridges.origins, weights)
    inverse = shared.square().sum(-1)
    stderr = (inverse - 1 / n).clamp_min(0).sqrt()
    return Estimate(value, stderr, 1 / (n * inverse), 1 / (n * weights.square().sum(-1)))


def naive_log_mean(log_weights: Tensor) -> Tensor:
    """Give log of the mean of exp(log w), as it is: an ablation, which under- or overflows."""
    return log_weights.exp().mean(-1).log()


@dataclass(frozen=True)
class BridgeSampler:
    """How likelihoods are estimated.

    Args:
        base: "auto", or a name in `bases.BASES`: what the reverse bridges are drawn with.
        particles: N bridges for each pair (x_0, y).
        kernel: "auto", "forward" or "adjoint"; auto takes the adjoint kernel where Σ depends on x.
        proposal: "reverse", or "guided", the classical baseline, which has no base and no kernel.
        bridge_covariance: False leaves out the factor t_k/t_{k+1}: an ablation.
        threshold: resample along the bridge where ESS/N falls below this; 0 for never.
    """

    base: str = "auto"
    particles: int = 64
    kernel: str = "auto"
    proposal: str = "reverse"
    bridge_covariance: bool = True
    threshold: float = 0.0

    def __post_init__(self) -> None:
        require_whole("bridges: particles", self.particles, 2)
        choices = {"base": ("auto", *BASES), "kernel": ("auto", *KERNELS), "proposal": PROPOSALS}
        for option, known in choices.items():
            value = getattr(self, option)
            if value not in known:
                raise UserError(f"bridges: there is no {option} {value!r}: {nearest(str(value), known)}")
        if not isinstance(self.bridge_covariance, bool):
            raise UserError(
                f"bridges: bridge_covariance must be true or false, but is {self.bridge_covariance!r}."
            )
        reverse_only = (self.base, self.kernel, self.bridge_covariance)
        if self.proposal == "guided" and reverse_only != ("auto", "auto", True):
            raise UserError("bridges: base, kernel and bridge_covariance are for reverse bridges alone.")
        if not 0 <= self.threshold <= 1:
            raise UserError(f"bridges: threshold must be from 0 to 1, but is {self.threshold!r}.")

    def noise(self, grid: TimeGrid, pairs: torch.Size, dim: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draw what `bridges` needs for pairs (...): normals (K − 1, ..., N, D) and uniforms (K − 1, ...)."""
        random = generator(derive_seed(seed, "bridges"))
        size = (grid.steps - 1, *pairs, self.particles, dim)
        normals = torch.randn(size, generator=random, dtype=torch.float64)
        return normals, torch.rand(size[:-2], generator=random, dtype=torch.float64)

    def bridges(
        self,
        sde: SDE,
        x_0: Tensor,
        y: Tensor,
        grid: TimeGrid,
        noise: tuple[Tensor, Tensor],
        *,
        base: Base | None = None,
        keep_paths: bool = False,
    ) -> Bridges:
        """Draw bridges from x_0 to y, differentiable in x_0 and in the parameters of the SDE.

        Args:
            sde: the model; its parameters broadcast with (..., N), those of a batch of models end in 1.
            x_0: the start, (D,), or (..., 1, D) where pairs differ in it.
            y: the end, (..., D).
            grid: duration and steps of the bridges.
            noise: from `noise`; the same noise gives the same bridges.
            base: in place of the sampler's own, such as a learned score.
            keep_paths: also give the paths.
        """
        normals, uniforms = noise
        resampling = Resampling(self.threshold, uniforms) if self.threshold > 0 else None
        if self.proposal == "guided":
            return guided_bridges(sde, x_0, y, grid, normals, resampling=resampling, keep_paths=keep_paths)
        kernel = self.kernel
        if kernel == "auto":
            kernel = "forward" if sde.constant_covariance else "adjoint"
        return reverse_bridges(
            base or base_of(self.base, sde)(sde, x_0, grid),
            y,
            normals,
            kernel=kernel,
            bridge_covariance=self.bridge_covariance,
            resampling=resampling,
            keep_paths=keep_paths,
        )

    def estimate(
        self, sde: SDE, x_0: Tensor, y: Tensor, grid: TimeGrid, seed: int, base: Base | None = None
    ) -> Estimate:
        """Estimate log p(y | x_0) for each pair, (...); see `bridges` for the arguments.

        Warns:
            LowEffectiveSizeWarning: the ESS of a pair is below `least_ess_fraction` of N.
        """
        noise = self.noise(grid, y.shape[:-1], y.shape[-1], seed)
        found = average(self.bridges(sde, x_0, y, grid, noise, base=base))
        warn_of_collapse(found, self.particles)
        return found


def least_ess_fraction(particles: int) -> float:
    """Give the ESS/N below which N weights have collapsed: 3/N within 0.05 and 0.3, and 1.2/N below N = 4."""
    return max(_least_origins_fraction(particles), LEAST_FRACTION)


def _least_origins_fraction(particles: int) -> float:
    return min(LEAST_ESS / particles, max(GOOD_FRACTION, ONE_WEIGHT / particles))


def warn_of_collapse(found: Estimate, particles: int) -> None:
    """Warn with `LowEffectiveSizeWarning` if the weights of an estimate from N particles have collapsed."""
    floor, few = least_ess_fraction(particles), _least_origins_fraction(particles)
    good = (found.final_ess_fraction >= floor) & (found.ess_fraction >= few)
    low = int((~good).sum())
    if low:
        warnings.warn(
            f"{low} of {found.value.numel()} likelihoods have an ESS/N below {floor:.2g}, or of origins "
            f"below {few:.2g}, and are too low by an unknown amount: take more particles, a better base such "
            "as midpoint, or a threshold of 0.5.",
            LowEffectiveSizeWarning,
            stacklevel=3,
        )
