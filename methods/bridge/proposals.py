"""Bridges from x_0 to y, drawn from proposals, and their importance weights.

    p(y | x_0) ≈ mean of w over bridges;    each w = density of the bridge / density of the proposal

`reverse_bridges` run from y back to x_0 with the pull w_k of a base at step k + 1, r = k/(k + 1):

    x_k = x_{k+1} + (−f + w_k) dt + √(dt r) L ε,   all at x_{k+1},   k = K − 1 … 1

The factor r of the covariance is that of the bridge; without it even an exact score gives ESS/N ≈ 2^(−D/2).
The density is that of the scheme, or that of the adjoint process, whose covariance is the proposal's own:

    forward kernel   log w = Σ_{k=0}^{K−1} log N(x_{k+1}; x_k + f dt, Σ(x_k) dt)
                             − Σ_{k=1}^{K−1} log q(x_k | x_{k+1})
    adjoint kernel   log w = c(x_1) dt + log N(x_0; x_1 + (div Σ − f) dt, Σ(x_1) dt)
                             + Σ_{k=1}^{K−1} [c dt − |z|²/2 + |ε|²/2 + (D/2) log r],
                             z = √dt L⁻¹(w_k − div Σ) + √r ε

The forward kernel is exact for the scheme, but where Σ depends on x the mismatch of Σ(x_k) and Σ(x_{k+1})
keeps the ESS low at any number of steps; the adjoint kernel has no such ceiling, and a bias of O(dt) where f
≠ 0.

`guided_bridges` run forward from x_0 [Durham & Gallant 2002], r = (K − k − 1)/(K − k), with the scheme's
density:

    x_{k+1} = x_k + (y − x_k)/(K − k) + √(dt r) L(x_k) ε,   k = 0 … K − 2

Both may resample on the way where the ESS of w · h falls below a share of N, h(x_k) ≈ p(x_k | x_0) or p(y |
x_k) being what is still to come; the weights stay unbiased [Whiteley & Lee 2014].

[BRIDGE] Boserup et al., arXiv 2411.08993.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...tasks.sde.sde import SDE, Coefficients, TimeGrid
from .bases import Base

KERNELS = ("forward", "adjoint")


class Bridges(NamedTuple):
    """N weighted bridges for each of some pairs (x_0, y).

    Attributes:
        log_weights: log w, (..., N), whose log-mean-exp estimates log p(y | x_0).
        origins: which of the N first particles each one descends from, (..., N).
        paths: x_0 … x_K, (..., N, K + 1, D), or None.
        resamplings: how often each of the pairs resampled, (...).
    """

    log_weights: Tensor
    origins: Tensor
    paths: Tensor | None
    resamplings: Tensor


class Resampling(NamedTuple):
    """When and with what to resample on the way.

    Attributes:
        threshold: where ESS/N falls below this.
        uniforms: one random number for each step and pair, (K − 1, ...).
    """

    threshold: float
    uniforms: Tensor


@dataclass
class Particles:
    """The state of a run, with what resampling has to carry along."""

    x: Tensor
    log_weights: Tensor
    origins: Tensor
    resamplings: Tensor
    path: list[Tensor] | None

    def add(self, log_step: Tensor) -> None:
        """Multiply the weights by those of a step."""
        self.log_weights = self.log_weights + log_step
        if self.path is not None:
            self.path.append(self.x)

    def resample(self, log_ahead: Tensor, resampling: Resampling, k: int) -> bool:
        """Choose particles in proportion to w · h where the ESS of that is below the threshold.

        Systematic, from one uniform for each pair; what was chosen too often weighs less, w / (N share).
        """
        n = self.log_weights.shape[-1]
        share = torch.softmax(self.log_weights + log_ahead, -1)
        low = 1 / share.square().sum(-1, keepdim=True) < resampling.threshold * n
        if not low.any():
            return False
        levels = (torch.arange(n, dtype=share.dtype) + resampling.uniforms[k].unsqueeze(-1)) / n
        chosen = torch.searchsorted(share.cumsum(-1), levels).clamp_max(n - 1)
        chosen = torch.where(low, chosen, torch.arange(n))
        weight = self.log_weights - torch.where(low, (n * share).log(), 0.0)
        self.log_weights, self.origins = weight.gather(-1, chosen), self.origins.gather(-1, chosen)
        self.x = _gather(self.x, chosen)
        self.resamplings = self.resamplings + low.squeeze(-1)
        if self.path is not None:
            self.path = [_gather(point, chosen) for point in self.path]
        return True

    def done(self, log_last: Tensor, ends: tuple[Tensor, Tensor], reverse: bool) -> Bridges:
        """Close the bridges with the weight of their last step."""
        paths = None
        if self.path is not None:
            inner = self.path[::-1] if reverse else self.path
            first, last = (end.expand_as(self.x) for end in ends)
            paths = torch.stack([first, *inner, last], -2)
        return Bridges(self.log_weights + log_last, self.origins, paths, self.resamplings)


def reverse_bridges(
    base: Base,
    y: Tensor,
    noise: Tensor,
    *,
    kernel: str,
    bridge_covariance: bool = True,
    resampling: Resampling | None = None,
    keep_paths: bool = False,
) -> Bridges:
    """Run bridges from y back to the base's x_0; see the module.

    Args:
        base: stands in for the transition density from x_0.
        y: where the bridges end, (..., D).
        noise: standard normal ε, (K − 1, ..., N, D).
        kernel: "forward" or "adjoint".
        bridge_covariance: with the factor k/(k + 1); False is the ablation.
        resampling: None for never.
        keep_paths: also give the paths.
    """
    sde, grid, x_0 = base.sde, base.grid, base.x_0
    dt = grid.dt
    particles = _start(y, noise, keep_paths)
    here = sde.at(particles.x)
    for k in range(grid.steps - 1, 0, -1):
        eps, after, there = noise[k - 1], particles.x, here
        r = k / (k + 1) if bridge_covariance else 1.0
        pull = base.pull(k + 1, after, there)
        particles.x = after + (pull - there.drift) * dt + math.sqrt(dt * r) * there.colour(eps)
        here = sde.at(particles.x)
        if kernel == "adjoint":
            log_step = _adjoint_step(there, pull, eps, dt, r)
        else:
            log_q = -0.5 * eps.square().sum(-1) - there.half_log_det - _log_unit(after, dt * r)
            log_step = here.log_normal(after - particles.x - here.drift * dt, dt) - log_q
        particles.add(log_step)
        if resampling:
            log_ahead = base.log_density(k, particles.x, here)
            if particles.resample(log_ahead, resampling, k - 1):
                here = sde.at(particles.x)
    if kernel == "adjoint":
        back = x_0 - particles.x - (here.divergence - here.drift) * dt
        log_last = here.second_order * dt + here.log_normal(back, dt)
    else:
        first = sde.at(x_0)
        log_last = first.log_normal(particles.x - x_0 - first.drift * dt, dt)
    return particles.done(log_last, (x_0, y.unsqueeze(-2)), reverse=True)


def guided_bridges(
    sde: SDE,
    x_0: Tensor,
    y: Tensor,
    grid: TimeGrid,
    noise: Tensor,
    *,
    resampling: Resampling | None = None,
    keep_paths: bool = False,
) -> Bridges:
    """Run the classical bridges from x_0 forward to y; see `reverse_bridges` for the arguments."""
    dt, end = grid.dt, y.unsqueeze(-2)
    particles = _start(x_0, noise, keep_paths)
    here = sde.at(particles.x)
    for k in range(grid.steps - 1):
        eps, before, there = noise[k], particles.x, here
        left = grid.steps - k
        r = (left - 1) / left
        particles.x = before + (end - before) / left + math.sqrt(dt * r) * there.colour(eps)
        here = sde.at(particles.x)
        log_q = -0.5 * eps.square().sum(-1) - there.half_log_det - _log_unit(before, dt * r)
        particles.add(there.log_normal(particles.x - before - there.drift * dt, dt) - log_q)
        if resampling:
            log_ahead = here.log_normal(end - particles.x - here.drift * dt * (left - 1), dt * (left - 1))
            if particles.resample(log_ahead, resampling, k):
                here = sde.at(particles.x)
    log_last = here.log_normal(end - particles.x - here.drift * dt, dt)
    return particles.done(log_last, (x_0, end), reverse=False)


def _adjoint_step(there: Coefficients, pull: Tensor, eps: Tensor, dt: float, r: float) -> Tensor:
    moved = there.whiten(pull - there.divergence) * math.sqrt(dt) + math.sqrt(r) * eps
    squares = eps.square().sum(-1) - moved.square().sum(-1)
    return there.second_order * dt + 0.5 * squares + eps.shape[-1] / 2 * math.log(r)


def _log_unit(x: Tensor, variance: float) -> float:
    return x.shape[-1] / 2 * math.log(2 * math.pi * variance)


def _start(x: Tensor, noise: Tensor, keep_paths: bool) -> Particles:
    shape = noise.shape[1:]
    origins = torch.arange(shape[-2]).expand(shape[:-1])
    zero = torch.zeros(shape[:-1], dtype=noise.dtype)
    return Particles(
        x.unsqueeze(-2).expand(shape), zero, origins, torch.zeros(shape[:-2]), [] if keep_paths else None
    )


def _gather(x: Tensor, chosen: Tensor) -> Tensor:
    return x.gather(-2, chosen.unsqueeze(-1).expand(*chosen.shape, x.shape[-1]))
