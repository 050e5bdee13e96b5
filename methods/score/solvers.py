"""Exponential integrators of the probability flow: fewer network evaluations than `samplers.sample_ode`.

With v = u/α and the denoised mean D = E[u_0 | u_t] = (u + σ² s)/α, the flow in λ = log(σ/α) is semi-linear,

    dv/dλ = v − D,

and its linear part is solved exactly. Over a step from λ to λ + h (h < 0), D is the polynomial
D + a τ + b τ² in τ through its last three values (two: b = 0; one: a = b = 0), by divided differences, and

    v(λ + h) = v + c_0 (v − D) − c_1 a − c_2 b,   c_0 = e^h − 1,  c_k = k c_{k−1} − h^k.

That is one evaluation a step, and order 1, 2 or 3 with as many values. Order 1 is DDIM; orders 2 and 3 are
DPM-Solver++(2M) and (3M) [Lu et al. 2022, arXiv 2206.00927, 2211.01095] with exact integrals of the
polynomial. Where the posterior is N(0, I), u = α v stands still, and an error made in u early on is as large
at the end: `sample_adaptive` therefore measures its error in u.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from .samplers import Score, noise_levels, time_and_variance

ORDER = 3
FIRST_STEPS, GROWTH, SHORTEST = 30, 2.0, 1e-3

Known = Sequence[tuple[float, Tensor]]


def sample_exponential(score: Score, noise: Tensor, steps: int, order: int = ORDER) -> Tensor:
    """Carry standard normal `noise` (..., d) along the flow in `steps` equal steps, an evaluation each."""
    levels = noise_levels(steps)
    v, known = _start(noise, levels[0]), list[tuple[float, Tensor]]()
    for level, below in pairwise(levels):
        known = [*known, (level, _denoised(score, v, level))][-order:]
        v = _stepped(v, known, below - level)
    return v


def sample_adaptive(score: Score, noise: Tensor, tolerance: float) -> Tensor:
    """Carry standard normal `noise` (..., d) along the flow, on steps as long as the tolerance allows.

    A step is the longest, among twice the last one and its halves, at which orders 3 and 2 differ by at most
    `tolerance`: root mean square of u over the whole batch. Both rest on the same evaluations, so that a step
    tried in vain costs none. The first is a thirtieth of the way. The steps depend on the batch, and a
    batch of observations gives the samples of a loop up to the tolerance alone: so no method offers this.
    """
    level, last = noise_levels(1)
    v, known, step = _start(noise, level), list[tuple[float, Tensor]](), (last - level) / FIRST_STEPS
    while level > last:
        known = [*known, (level, _denoised(score, v, level))][-ORDER:]
        step = max(step if len(known) == 1 else GROWTH * step, last - level)
        while step < -SHORTEST and _error(v, known, step) > tolerance:
            step = step / 2
        v, level = _stepped(v, known, step), last if step == last - level else level + step
    return v


def _start(noise: Tensor, level: float) -> Tensor:
    return noise / math.sqrt(1 - time_and_variance(level)[1])


def _denoised(score: Score, v: Tensor, level: float) -> Tensor:
    """Give D at λ."""
    t, variance = time_and_variance(level)
    alpha = math.sqrt(1 - variance)
    return v + variance / alpha * score(alpha * v, t)


def _stepped(v: Tensor, known: Known, h: float) -> Tensor:
    """Give v(λ + h) from v at λ and the last values (λ, D) of the denoised mean, the newest last."""
    (level, newest), *older = reversed(known)
    slope, curve = torch.zeros_like(v), torch.zeros_like(v)
    if older:
        slope = (newest - older[0][1]) / (level - older[0][0])
    if len(older) > 1:
        earlier = (older[0][1] - older[1][1]) / (older[0][0] - older[1][0])
        curve = (slope - earlier) / (level - older[1][0])
        slope = slope + (level - older[0][0]) * curve
    weight = math.expm1(h)
    return v + weight * (v - newest) - (weight - h) * slope - (2 * (weight - h) - h**2) * curve


def _error(v: Tensor, known: Known, h: float) -> float:
    """Give the root mean square, in u, of the difference to a step of one order less; 0 for order 1."""
    if len(known) == 1:
        return 0.0
    gap = (_stepped(v, known, h) - _stepped(v, known[1:], h)).square().mean().sqrt()
    return float(gap) * math.sqrt(1 - time_and_variance(known[-1][0] + h)[1])
