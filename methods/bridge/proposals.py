"""Bridges from x_0 to y, drawn from a proposal, with their importance weights.

The mean of the weights w = (density of the bridge)/(density of the proposal) is an estimate of p(y | x_0).
`reverse_bridges` and `guided_bridges` are the two proposals.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ...tasks.sde.sde import SDE, Coefficients, TimeGrid
from .bases import Base, MidpointBase
from .genealogy import LAG, Genealogy

KERNELS = ("forward", "adjoint")


class Bridges(NamedTuple):
    """N weighted bridges for each pair (x_0, y).

    Attributes:
        log_weights: log w (..., N); its log-mean-exp estimates log p(y | x_0).
        origins: for each bridge, the index of its ancestor among the N first particles (..., N).
        paths: x_0 … x_K (..., N, K + 1, D), or None.
        resamplings: number of resampling steps of each pair (...).
        lost: number of bridges of each pair (...) that left the range of floating-point numbers.
        recent: the indices of later ancestors, a lag ago (..., N), see `Genealogy`; None for the origins.
        settled: variance of log p̂ (...) due to the steps before `recent`.
    """

    log_weights: Tensor
    origins: Tensor
    paths: Tensor | None
    resamplings: Tensor
    lost: Tensor
    recent: Tensor | None = None
    settled: Tensor | float = 0.0


class Resampling(NamedTuple):
    """The settings of resampling along the bridges.

    Attributes:
        threshold: a pair resamples when its ESS/N is below this.
        uniforms: uniform random numbers in [0, 1), one for each step and pair (K − 1, ...).
        lag: of the standard error, see `Genealogy`.
    """

    threshold: float
    uniforms: Tensor
    lag: float = LAG


class Step(NamedTuple):
    """One step of all bridges.

    Attributes:
        x: the new states (..., N, D).
        here: the coefficients at x.
        log_weights: what the step adds to log w (..., N).
        log_ahead: the log of the predicted weight of the remaining steps (..., N), or None.
    """

    x: Tensor
    here: Coefficients
    log_weights: Tensor
    log_ahead: Tensor | None

    def finite(self) -> Tensor:
        """Return whether the states and log-weights are finite (..., N)."""
        finite = self.x.isfinite().all(-1) & self.log_weights.isfinite()
        return finite if self.log_ahead is None else finite & self.log_ahead.isfinite()

    def without(self, lost: Tensor) -> "Step":
        """Return the step with log-weights 0 for lost bridges (..., N), where the model may be NaN."""
        ahead = None if self.log_ahead is None else torch.where(lost, 0.0, self.log_ahead)
        return self._replace(log_weights=torch.where(lost, 0.0, self.log_weights), log_ahead=ahead)


@dataclass
class Particles:
    """The current states x (..., N, D) of the bridges, with the fields of `Bridges` so far.

    A bridge whose step is not finite is lost: log w = −∞, without a gradient. It goes on from the end at
    which the bridges began, so that no later number of it is infinite.

    `here` has the coefficients at x. `path` lists the states after each step; None discards them.
    """

    x: Tensor
    here: Coefficients
    log_weights: Tensor
    genealogy: Genealogy
    resamplings: Tensor
    lost: Tensor
    path: list[Tensor] | None

    def __post_init__(self) -> None:
        self.first = self.x.detach()

    def advance(self, sde: SDE, step: Callable[[Tensor, Coefficients], Step]) -> Tensor | None:
        """Take a step from the states and their coefficients; return the predicted log-weights, if any.

        Lost bridges are replaced before the step, which is then taken again. So the step that is kept, and
        whose gradient is computed, has finite numbers only, as 0 · ∞ would be NaN.
        """
        made = step(self.x, self.here)
        bad = ~made.finite()
        if bad.any():
            self.lost = self.lost + (bad & (self.log_weights > -math.inf)).sum(-1)
            self.log_weights = torch.where(bad, -math.inf, self.log_weights)
            self.x = torch.where(bad.unsqueeze(-1), self.first, self.x)
            self.here = sde.at(self.x)
            made = step(self.x, self.here).without(bad)
        self.x, self.here = made.x, made.here
        self.log_weights = self.log_weights + made.log_weights
        if self.path is not None:
            self.path.append(self.x)
        return made.log_ahead

    def resample(self, sde: SDE, log_ahead: Tensor, resampling: Resampling, k: int, left: float) -> None:
        """Resample the pairs in which the ESS of w h is below the threshold.

        Systematic resampling draws particles with probabilities p ∝ w h and divides w by N p.

        Args:
            sde: the model.
            log_ahead: log h (..., N); h predicts the weight of the remaining steps.
            resampling: the threshold and the uniforms.
            k: the row of the uniforms to use.
            left: the time that is left.
        """
        n = self.log_weights.shape[-1]
        share = torch.softmax(self.log_weights + log_ahead, -1)
        self.genealogy.settle(share.detach(), left, resampling.lag)
        low = 1 / share.square().sum(-1, keepdim=True) < resampling.threshold * n
        if not low.any():
            return
        levels = (torch.arange(n, dtype=share.dtype) + resampling.uniforms[k].unsqueeze(-1)) / n
        chosen = torch.searchsorted(share.cumsum(-1), levels).clamp_max(n - 1)
        chosen = torch.where(low, chosen, torch.arange(n))
        weight = self.log_weights - torch.where(low, (n * share).log(), 0.0)
        self.genealogy.resample(share.detach(), chosen, low, left)
        self.log_weights = weight.gather(-1, chosen)
        self.x = _gather(self.x, chosen)
        self.resamplings = self.resamplings + low.squeeze(-1)
        if self.path is not None:
            self.path = [_gather(point, chosen) for point in self.path]
        self.here = sde.at(self.x)

    def done(self, log_last: Tensor, ends: tuple[Tensor, Tensor], reverse: bool) -> Bridges:
        """Return the bridges after adding the log-weights (..., N) of the last step and both ends."""
        paths = None
        if self.path is not None:
            inner = self.path[::-1] if reverse else self.path
            first, last = (end.expand_as(self.x) for end in ends)
            paths = torch.stack([first, *inner, last], -2)
        finite = log_last.isfinite()
        lost = self.lost + (~finite & (self.log_weights > -math.inf)).sum(-1)
        log_weights = self.log_weights + torch.where(finite, log_last, -math.inf)
        kin = self.genealogy
        settled = kin.settled - kin.open[0].noise
        return Bridges(log_weights, kin.origins, paths, self.resamplings, lost, kin.recent, settled)


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

    With w_k the base's pull at step k + 1, dt = t_{k+1} − t_k, and all coefficients at x_{k+1}:

        x_k = x_{k+1} + (−f + w_k) dt + √(dt r) L ε,    r = t_k/t_{k+1},    k = K − 1 … 1

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
    sde, grid, x_0, clock = base.sde, base.grid, base.x_0, base.grid.clock

    def step(k: int, after: Tensor, there: Coefficients) -> Step:
        eps, dt, r = noise[k - 1], grid.step(k), clock[k] / clock[k + 1] if bridge_covariance else 1.0
        pull = base.pull(k + 1, after, there)
        x = after + (pull - there.drift) * dt + math.sqrt(dt * r) * there.colour(eps)
        here = sde.at(x)
        if kernel == "adjoint":
            log_step = _adjoint_step(there, pull, eps, dt, r)
        else:
            log_q = -0.5 * eps.square().sum(-1) - there.half_log_det - _log_unit(after, dt * r)
            log_step = here.log_normal(after - x - here.drift * dt, dt) - log_q
        return Step(x, here, log_step, base.log_density(k, x, here) if resampling else None)

    particles = _start(sde, y.unsqueeze(-2), noise, keep_paths)
    for k in range(grid.steps - 1, 0, -1):
        log_ahead = particles.advance(sde, partial(step, k))
        if resampling and log_ahead is not None:
            particles.resample(sde, log_ahead, resampling, k - 1, clock[k])
    here, dt = particles.here, grid.step(0)
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

        x_{k+1} = x_k + (y − x_k) dt/(T − t_k) + √(dt r) L(x_k) ε,    k = 0 … K − 2
        dt = t_{k+1} − t_k,    r = (T − t_{k+1})/(T − t_k)

    log w is the log-density of the path x_1 … x_K under the Euler scheme minus its log-density under the
    proposal. With resampling, h(x_k) is the density p̂(y | x_k) of `MidpointBase`.

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
    end, ahead_of = y.unsqueeze(-2), grid.mirrored
    clock = ahead_of.clock

    def step(k: int, before: Tensor, there: Coefficients) -> Step:
        eps, dt, left = noise[k], grid.step(k), grid.steps - k
        now, then = clock[left], clock[left - 1]  # the time that is left, before and after the step
        r = then / now
        x = before + (end - before) * (now - then) / now + math.sqrt(dt * r) * there.colour(eps)
        here = sde.at(x)
        log_q = -0.5 * eps.square().sum(-1) - there.half_log_det - _log_unit(before, dt * r)
        log_step = there.log_normal(x - before - there.drift * dt, dt) - log_q
        ahead = MidpointBase(sde, x, ahead_of).log_density(left - 1, end, last) if resampling else None
        return Step(x, here, log_step, ahead)

    last = sde.at(end)
    particles = _start(sde, x_0, noise, keep_paths)
    for k in range(grid.steps - 1):
        log_ahead = particles.advance(sde, partial(step, k))
        if resampling and log_ahead is not None:
            particles.resample(sde, log_ahead, resampling, k, clock[grid.steps - k - 1])
    here, dt = particles.here, grid.step(grid.steps - 1)
    log_last = here.log_normal(end - particles.x - here.drift * dt, dt)
    return particles.done(log_last, (x_0, end), reverse=False)


def _adjoint_step(there: Coefficients, pull: Tensor, eps: Tensor, dt: float, r: float) -> Tensor:
    moved = there.whiten(pull - there.divergence) * math.sqrt(dt) + math.sqrt(r) * eps
    squares = eps.square().sum(-1) - moved.square().sum(-1)
    return there.second_order * dt + 0.5 * squares + eps.shape[-1] / 2 * math.log(r)


def _log_unit(x: Tensor, variance: float) -> float:
    return x.shape[-1] / 2 * math.log(2 * math.pi * variance)


def _start(sde: SDE, x: Tensor, noise: Tensor, keep_paths: bool) -> Particles:
    shape = noise.shape[1:]
    x, none = x.expand(shape), torch.zeros(shape[:-2])
    genealogy = Genealogy(shape[:-1], len(noise) + 1)
    zero = torch.zeros(shape[:-1], dtype=noise.dtype)
    return Particles(x, sde.at(x), zero, genealogy, none, none, [] if keep_paths else None)


def _gather(x: Tensor, chosen: Tensor) -> Tensor:
    return x.gather(-2, chosen.unsqueeze(-1).expand(*chosen.shape, x.shape[-1]))
