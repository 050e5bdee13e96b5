"""Bridges from x_0 to y, drawn from a proposal, with their importance weights.

The mean of the weights w = (density of the bridge)/(density of the proposal) is an estimate of p(y | x_0).
`reverse_bridges` and `guided_bridges` are the two proposals.
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
    """N weighted bridges for each pair (x_0, y).

    Attributes:
        log_weights: log w (..., N); its log-mean-exp estimates log p(y | x_0).
        origins: for each bridge, the index of its ancestor among the N first particles (..., N).
        paths: x_0 … x_K (..., N, K + 1, D), or None.
        resamplings: number of resampling steps of each pair (...).
    """

    log_weights: Tensor
    origins: Tensor
    paths: Tensor | None
    resamplings: Tensor


class Resampling(NamedTuple):
    """The settings of resampling along the bridges.

    Attributes:
        threshold: a pair resamples when its ESS/N is below this.
        uniforms: uniform random numbers in [0, 1), one for each step and pair (K − 1, ...).
    """

    threshold: float
    uniforms: Tensor


@dataclass
class Particles:
    """The current states x (..., N, D) of the bridges, with the fields of `Bridges` so far.

    `path` lists the states after each step; None discards them.
    """

    x: Tensor
    log_weights: Tensor
    origins: Tensor
    resamplings: Tensor
    path: list[Tensor] | None

    def add(self, log_step: Tensor) -> None:
        """Add the log-weights (..., N) of one step, and append the states to the path."""
        self.log_weights = self.log_weights + log_step
        if self.path is not None:
            self.path.append(self.x)

    def resample(self, log_ahead: Tensor, resampling: Resampling, k: int) -> bool:
        """Resample the pairs in which the ESS of w h is below the threshold; return whether there were any.

        Systematic resampling draws particles with probabilities p ∝ w h and divides w by N p.

        Args:
            log_ahead: log h (..., N); h predicts the weight of the remaining steps.
            resampling: the threshold and the uniforms.
            k: the row of the uniforms to use.
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
        """Return the bridges after adding the log-weights (..., N) of the last step and both ends."""
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
    """Draw bridges backwards from y to the base's x_0.

    With w_k the base's pull at step k + 1, and all coefficients at x_{k+1}:

        x_k = x_{k+1} + (−f + w_k) dt + √(dt r) L ε,    r = k/(k + 1),    k = K − 1 … 1

    r is the variance factor of a bridge; without it even the exact score gives ESS/N ≈ 2^(−D/2). The density
    of the bridge comes from one of two kernels; q is the density of the proposal's step:

        forward    log w = Σ_{k=0}^{K−1} log N(x_{k+1}; x_k + f dt, Σ(x_k) dt)
                           − Σ_{k=1}^{K−1} log q(x_k | x_{k+1})
        adjoint    log w = Σ_{k=1}^{K−1} [c dt − |z|²/2 + |ε|²/2 + (D/2) log r] + c(x_1) dt
                           + log N(x_0; x_1 + (div Σ − f) dt, Σ(x_1) dt)
                   z = √dt L⁻¹ (w_k − div Σ) + √r ε

    The forward kernel is exact for the Euler scheme. If Σ depends on x, however, Σ(x_k) and Σ(x_{k+1}) differ
    and keep the ESS low for any K. The adjoint kernel has no such limit, but a bias of O(dt) if f ≠ 0.

    With resampling, h(x_k) = p̂(x_k | x_0) of the base predicts the remaining weight. The mean of w stays
    unbiased [Whiteley and Lee, Twisted particle filters, 2014].

    Args:
        base: the approximation of the transition density from x_0.
        y: end points (..., D).
        noise: standard normal ε (K − 1, ..., N, D).
        kernel: "forward" or "adjoint".
        bridge_covariance: False sets r = 1, as an ablation.
        resampling: None never resamples.
        keep_paths: True also returns the paths.

    Source: Boserup et al., arXiv 2411.08993; the factor r and the adjoint kernel are additions.
    """
    sde, grid, x_0 = base.sde, base.grid, base.x_0
    dt = grid.dt
    particles = _start(y.unsqueeze(-2), noise, keep_paths)
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
    """Draw bridges forwards from x_0 to y with the modified diffusion bridge.

        x_{k+1} = x_k + (y − x_k)/(K − k) + √(dt r) L(x_k) ε,    r = (K − k − 1)/(K − k),    k = 0 … K − 2

    log w is the log-density of the path x_1 … x_K under the Euler scheme minus its log-density under the
    proposal. With resampling, h(x_k) = N(y; x_k + f s, Σ s), s = (K − k) dt, at x_k.

    Args:
        sde: the model.
        x_0: the start; broadcasts to (..., D).
        y: end points (..., D).
        grid: duration and number of steps.
        noise: standard normal ε (K − 1, ..., N, D).
        resampling: None never resamples.
        keep_paths: True also returns the paths.

    Source: Durham and Gallant, Numerical techniques for maximum likelihood estimation of continuous-time
    diffusion processes, 2002.
    """
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
    return Particles(x.expand(shape), zero, origins, torch.zeros(shape[:-2]), [] if keep_paths else None)


def _gather(x: Tensor, chosen: Tensor) -> Tensor:
    return x.gather(-2, chosen.unsqueeze(-1).expand(*chosen.shape, x.shape[-1]))
