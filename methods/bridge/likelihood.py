"""Estimates of a diffusion's likelihood p(y | x_0) by importance sampling over bridges.

`BridgeSampler` draws the bridges, `average` turns their weights into an `Estimate`, and `warn` reports
estimates that are not to be trusted.
"""

import math
import warnings
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ...tasks.errors import UserError
from ...tasks.plugin import require_choice, require_flag, require_whole
from ...tasks.sde.sde import SDE, TimeGrid
from ...tasks.seeding import derive_seed, generator
from .bases import BASES, BaseFactory, candidates
from .genealogy import sum_of_squares
from .proposals import KERNELS, Bridges, Resampling, guided_bridges, reverse_bridges
from .tails import tail_shape
from .unreached import LEAST, unreached

PROPOSALS = ("reverse", "guided")
TRIAL = 32  # bridges for each pair and candidate
CLEARLY = 0.75  # of the variance with a cheaper base
HEAVY, FEW_HEAVY = 0.7, 0.2  # the shape of a tail, and the share of estimates
LEAST_ESS, LEAST_FRACTION, GOOD_FRACTION, ONE_WEIGHT = 3.0, 0.05, 0.3, 1.2


class LowEffectiveSizeWarning(UserWarning):
    """The importance weights have collapsed, and the estimated likelihood is too low."""


class HeavyTailWarning(UserWarning):
    """The importance weights have heavy tails, and the stated standard errors are too small."""


class LostBridgesWarning(UserWarning):
    """Bridges left the range of floating-point numbers and have weight 0."""


class Estimate(NamedTuple):
    """Estimates of log p(y | x_0) with their accuracy; all fields have shape (...).

    Attributes:
        value: the estimate of log p(y | x_0), in nats.
        stderr: standard error of the value, in nats.
        ess_fraction: ESS/N, where bridges of the same origin count as one.
        final_ess_fraction: ESS/N, where all bridges count as independent.
        lost_fraction: the share of bridges that overflowed and have weight 0.
        tail: the shape k̂ of the tail of the weights, see `tail_shape`; NaN after resampling, and where there
            are too few weights.
    """

    value: Tensor
    stderr: Tensor
    ess_fraction: Tensor
    final_ess_fraction: Tensor
    lost_fraction: Tensor
    tail: Tensor


def average(bridges: Bridges) -> Estimate:
    """Estimate log p(y | x_0) from the weights of N bridges.

        log p(y | x_0) ≈ log-mean-exp of log w,    −∞ with ESS 0 if all bridges are lost
        ESS = 1/Σ_o (Σ_{i from o} W_i)²,    stderr² = s + Σ_r (Σ_{i from r} W_i)² − 1/N

    W are the normalised weights, o runs over the origins, and r over the ancestors a lag ago. After
    resampling, bridges that descend from the same first particle are dependent and count as one in this ESS.
    The standard error counts only what they share since the lag began, and adds the variance s of the steps
    before, see `Genealogy`. Without resampling, s is 0, both partitions are the bridges themselves, and the
    error follows from the delta method. It is too small where the weights have a heavy tail, or where the
    bridges never take a way that many paths take. On a double well over T = 4 the base midpoint has an ESS/N
    of 0.22, and errors of 1.9 times the stated ones; where ESS/N is above 0.6, errors are as stated.
    """
    n = bridges.log_weights.shape[-1]
    lost = bridges.log_weights.detach().amax(-1) == -math.inf
    log_weights = torch.where(lost.unsqueeze(-1), 0.0, bridges.log_weights)
    value = torch.where(lost, -math.inf, torch.logsumexp(log_weights, -1) - math.log(n))
    weights = torch.softmax(log_weights.detach(), -1)
    inverse = sum_of_squares(weights, bridges.origins)
    recent = inverse if bridges.recent is None else sum_of_squares(weights, bridges.recent)
    stderr = torch.where(lost, math.inf, (bridges.settled + recent - 1 / n).clamp_min(0).sqrt())
    ess, final = (1 / (n * squares).where(~lost, math.inf) for squares in (inverse, weights.square().sum(-1)))
    tail = torch.where(bridges.resamplings > 0, math.nan, tail_shape(bridges.log_weights))
    return Estimate(value, stderr, ess, final, bridges.lost / n, tail)


@dataclass(frozen=True)
class BridgeSampler:
    """A way to draw bridges and to estimate likelihoods from them.

    Args:
        base: "auto" or a name in `bases.BASES`; used by reverse bridges. "auto" makes a trial, see `chosen`.
        particles: number N of bridges for each pair (x_0, y), 2 or more.
        kernel: "forward", "adjoint", or "auto": adjoint if Σ depends on x, forward otherwise.
        proposal: "reverse", or "guided", the classical baseline without base and kernel.
        bridge_covariance: False omits the variance factor k/(k + 1) of reverse bridges, as an ablation.
        threshold: pairs resample along the bridges when their ESS/N is below this; 0 never resamples.

    Raises:
        UserError: an option has an unknown value, or is set for guided bridges, which do not use it.

    Source: Boserup et al., arXiv 2411.08993; `reverse_bridges` and `guided_bridges` have the formulas.
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
            require_choice("bridges", option, getattr(self, option), known)
        require_flag("bridges: bridge_covariance", self.bridge_covariance)
        reverse_only = (self.base, self.kernel, self.bridge_covariance)
        if self.proposal == "guided" and reverse_only != ("auto", "auto", True):
            raise UserError(
                "bridges: base, kernel and bridge_covariance apply to reverse bridges only: leave them out."
            )
        if not 0 <= self.threshold <= 1:
            raise UserError(f"bridges: threshold must be from 0 to 1, but is {self.threshold!r}.")

    def noise(self, grid: TimeGrid, pairs: torch.Size, dim: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draw noise for `bridges`, for pairs (...): normals (K − 1, ..., N, D), uniforms (K − 1, ...)."""
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
        base: BaseFactory | None = None,
        keep_paths: bool = False,
    ) -> Bridges:
        """Draw bridges from x_0 to y, differentiable in x_0 and in the parameters of the SDE.

        Args:
            sde: the model; its parameters broadcast to (..., N), so a batch of models has a last axis of 1.
            x_0: the start (D,), or one start for each pair (..., 1, D).
            y: the end points (..., D).
            grid: duration and number of steps.
            noise: from `noise`; the same noise gives the same bridges.
            base: makes the base from sde, x_0 and grid, in place of the sampler's own; for example a learned
                score.
            keep_paths: True also returns the paths.

        Raises:
            UserError: guided bridges, which have no base, are given one.
        """
        normals, uniforms = noise
        resampling = Resampling(self.threshold, uniforms) if self.threshold > 0 else None
        if self.proposal == "guided":
            if base:
                raise UserError(
                    "bridges: guided bridges have no base: leave it out, or take reverse bridges."
                )
            return guided_bridges(sde, x_0, y, grid, normals, resampling=resampling, keep_paths=keep_paths)
        kernel = self.kernel
        if kernel == "auto":
            kernel = "forward" if sde.constant_covariance else "adjoint"
        return reverse_bridges(
            (base or BASES[self.chosen(sde, x_0, y, grid).base])(sde, x_0, grid),
            y,
            normals,
            kernel=kernel,
            bridge_covariance=self.bridge_covariance,
            resampling=resampling,
            keep_paths=keep_paths,
        )

    @torch.no_grad()
    def chosen(self, sde: SDE, x_0: Tensor, y: Tensor, grid: TimeGrid) -> "BridgeSampler":
        """Return the sampler with a base in place of "auto", chosen by a trial.

        Each candidate draws 32 bridges for each pair, always with the same noise. A dearer base is chosen if
        the variance of its log p̂, which is (N/ESS − 1)/N, is at least a quarter smaller on average over the
        pairs. `bridges` has the arguments.
        """
        if self.base != "auto" or self.proposal == "guided":
            return self
        best, *dearer = candidates(sde)
        least = math.inf
        for name in (best, *dearer) if dearer else ():
            trial = replace(self, base=name, particles=TRIAL, threshold=0.0)
            found = average(trial.bridges(sde, x_0, y, grid, trial.noise(grid, y.shape[:-1], y.shape[-1], 0)))
            variance = float((1 / found.ess_fraction.clamp(min=1 / TRIAL) - 1).mean())
            if variance < CLEARLY * least:
                best, least = name, variance
        return replace(self, base=best)

    def estimate(
        self, sde: SDE, x_0: Tensor, y: Tensor, grid: TimeGrid, seed: int, base: BaseFactory | None = None
    ) -> Estimate:
        """Estimate log p(y | x_0) for each pair (...) from bridges drawn with `seed`, without gradients.

        `bridges` explains the other arguments.

        Warns:
            LowEffectiveSizeWarning: the weights of a pair have collapsed, see `warn`.
            LostBridgesWarning: bridges overflowed, or none reaches an end point.
            HeavyTailWarning: the weights have heavy tails.
        """
        with torch.no_grad():  # not a decorator: warnings would name its module and not the caller's
            noise = self.noise(grid, y.shape[:-1], y.shape[-1], seed)
            found = average(self.bridges(sde, x_0, y, grid, noise, base=base))
        warn(found, self.particles, unreached(found.value, sde, x_0, y))
        return found


def least_ess_fraction(particles: int) -> float:
    """Return the ESS/N below which N weights have collapsed: 3/N within [0.05, 0.3], or 1.2/N for N < 4."""
    return max(_few_fraction(particles), LEAST_FRACTION)


def _few_fraction(particles: int) -> float:
    return min(LEAST_ESS / particles, max(GOOD_FRACTION, ONE_WEIGHT / particles))


def warn(found: Estimate, particles: int, missing: str = "") -> None:
    """Warn about estimates from N particles whose weights have collapsed, and about lost bridges.

    Weights have collapsed if the final ESS is below 3 or 0.05 N, or if the standard error is above
    √(1/3 − 1/N), which N independent weights have at an ESS of 3. For N < 10 the limit 3 becomes
    max(0.3 N, 1.2); at an ESS of 1.2 one weight has about nine tenths of the total. The estimate is then too
    low by an unknown amount. Neither its standard error nor repeated runs show this. Few origins are no
    collapse, see `Genealogy`.

    Args:
        found: the estimates; those of end points that no bridge reaches are left out of all other warnings.
        particles: N.
        missing: which end point no bridge reaches, and why, from `unreached`.

    Warns:
        LowEffectiveSizeWarning: at least one estimate is affected.
        LostBridgesWarning: at least one bridge is lost, or no bridge reaches an end point.
        HeavyTailWarning: the tail of more than a fifth of the estimates has a shape above 0.7. Light tails
            are taken for heavy in 5 % of estimates from 64 bridges, and hardly ever with 256.
    """
    reached = found.value > LEAST
    if missing:
        share = f"{int((~reached).sum())} of {reached.numel()} likelihoods are 0 or next to it"
        warnings.warn(f"{share}: {missing}.", LostBridgesWarning, stacklevel=3)
    lost = float(found.lost_fraction[reached].mean()) if reached.any() else 0.0
    if lost:
        warnings.warn(
            f"{100 * lost:.3g} % of the bridges overflowed and have weight 0: use more steps or a learned "
            "score.",
            LostBridgesWarning,
            stacklevel=3,
        )
    floor = least_ess_fraction(particles)
    largest = math.sqrt((1 / _few_fraction(particles) - 1) / particles)
    good = (found.final_ess_fraction >= floor) & (found.stderr <= largest)
    low = int((reached & ~good).sum())
    if low:
        warnings.warn(
            f"{low} of {found.value.numel()} likelihoods have an ESS/N below {floor:.2g}, or a standard "
            f"error above {largest:.2g}, and are too low by an unknown amount: use more particles, a better "
            "base such as midpoint, or a threshold of 0.5.",
            LowEffectiveSizeWarning,
            stacklevel=3,
        )
    heavy = float((found.tail > HEAVY).double().mean())
    if heavy > FEW_HEAVY:
        warnings.warn(
            f"{100 * heavy:.3g} % of the likelihoods have weights with a tail heavier than k = {HEAVY}, and "
            "standard errors that are too small: use a better base or a learned score.",
            HeavyTailWarning,
            stacklevel=3,
        )
