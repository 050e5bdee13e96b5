"""Samplers that need only a score, and the density along the probability-flow ODE.

Time runs in λ = log(σ/α), for which β dt = 2σ² dλ, on an equidistant grid from λ(1) down to λ(t_min). The
slope du/dλ of the ODE nearly vanishes at both ends: s is near −u for large λ, and σ² is near 0 for small λ.

A score is a function `score(u_t, t)` of u_t (..., d) and a float t. Leading dimensions are independent
chains.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from .schedule import T_MIN, alpha_sigma_at, time_of_ratio

ORDER = 3

Score = Callable[[Tensor, float], Tensor]
Draw = Callable[[], Tensor]
Denoised = Sequence[tuple[float, Tensor]]


class Sampler(NamedTuple):
    """A way to draw samples with a score.

    Attributes:
        run: `run(score, draw, steps)` returns samples (..., d); `draw()` returns standard normal noise.
        steps: default number of steps.
        evaluations: number of evaluations of the score in each step.
    """

    run: Callable[[Score, Draw, int], Tensor]
    steps: int
    evaluations: int


def noise_levels(steps: int) -> list[float]:
    """Return the `steps` + 1 values of λ from λ(1) = 5.0 down to λ(t_min) = −4.6."""
    first, last = (math.log(sigma / alpha) for alpha, sigma in map(alpha_sigma_at, (1.0, T_MIN)))
    return [first + (last - first) * k / steps for k in range(steps + 1)]


def sample_ode(score: Score, noise: Tensor, steps: int) -> Tensor:
    """Integrate the probability-flow ODE by Heun's method.

        du/dλ = −σ² (u + s)

    Args:
        score: the score function.
        noise: standard normal start (..., d).
        steps: number of steps, with two evaluations of the score each.

    Returns:
        The samples u/α(t_min) (..., d).
    """
    u = noise
    for level, below in pairwise(noise_levels(steps)):
        slope = _slope(score, u, level)
        ahead = u + (below - level) * slope
        u = u + (below - level) * (slope + _slope(score, ahead, below)) / 2
    return u / alpha_sigma_at(T_MIN)[0]


def sample_exponential(score: Score, noise: Tensor, steps: int, order: int = ORDER) -> Tensor:
    """Integrate the probability-flow ODE by an exponential integrator.

        d(u/α)/dλ = u/α − D,    D = E[u_0 | u_t] = (u + σ² s)/α

    Order 1 is DDIM. Orders 2 and 3 are DPM-Solver++(2M) and (3M), with exact integrals.

    Args:
        score: the score function.
        noise: standard normal start (..., d).
        steps: number of steps, with one evaluation of the score each.
        order: 1, 2 or 3, the number of denoised means D that a step uses.

    Returns:
        The samples u/α at t_min (..., d).

    Source: Lu et al., arXiv 2206.00927 and 2211.01095.
    """
    levels = noise_levels(steps)
    v, known = noise / alpha_at(levels[0]), list[tuple[float, Tensor]]()
    for level, below in pairwise(levels):
        known = [*known, (level, denoised(score, v, level))][-order:]
        v = exponential_step(v, known, below - level)
    return v


def denoised(score: Score, v: Tensor, level: float) -> Tensor:
    """Return the denoised mean D = (u + σ² s)/α at λ for v = u/α (..., d)."""
    t, variance = time_and_variance(level)
    alpha = math.sqrt(1 - variance)
    return v + variance / alpha * score(alpha * v, t)


def exponential_step(v: Tensor, known: Denoised, h: float) -> Tensor:
    """Return v = u/α at λ + h from v at λ; the step is exact up to the interpolation of D.

    D is replaced by the polynomial D + a τ + b τ² through its last three values, by divided differences. With
    two values b = 0, with one a = b = 0. Then

        v(λ + h) = v + c_0 (v − D) − c_1 a − c_2 b,    c_0 = e^h − 1,    c_k = k c_{k−1} − h^k

    Args:
        v: u/α at λ (..., d).
        known: one to three pairs (λ, D); the last one belongs to v.
        h: the step, below 0.
    """
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


def sample_sde(score: Score, noise: Tensor, steps: int, draw: Draw) -> Tensor:
    """Integrate the reverse SDE by the Euler-Maruyama scheme.

        du = −σ² (u + 2s) dλ + √2 σ dW̄

    Args:
        score: the score function.
        noise: standard normal start (..., d).
        steps: number of steps, with one evaluation of the score each.
        draw: returns the standard normal noise (..., d) of a step.

    Returns:
        The samples u/α(t_min) (..., d).
    """
    u = noise
    for level, below in pairwise(noise_levels(steps)):
        t, variance = time_and_variance(level)
        step = level - below
        u = u + step * variance * (u + 2 * score(u, t)) + math.sqrt(2 * step * variance) * draw()
    return u / alpha_sigma_at(T_MIN)[0]


def log_prob_ode(score: Score, u: Tensor, steps: int) -> Tensor:
    """Return log p(u) (...) along the probability-flow ODE, by Heun's method from t_min to 1.

        d log p(u)/dλ = σ² (d + ∇·s)

    The density is blurred by the noise at t_min. Each evaluation of the exact divergence costs d backward
    passes, with two evaluations in each step, so d should be small. If u requires a gradient, the result is
    differentiable and all steps stay in memory.

    Args:
        score: the score function.
        u: points (..., d).
        steps: number of steps.
    """
    levels, d = noise_levels(steps)[::-1], u.shape[-1]
    alpha = alpha_sigma_at(T_MIN)[0]
    flown, change = alpha * u, torch.full_like(u[..., 0], d * math.log(alpha))
    for level, above in pairwise(levels):
        slope, divergence = _slope_and_divergence(score, flown, level)
        ahead = flown + (above - level) * slope
        slope_ahead, divergence_ahead = _slope_and_divergence(score, ahead, above)
        flown = flown + (above - level) * (slope + slope_ahead) / 2
        change = change + (above - level) * (divergence + divergence_ahead) / 2
    return change - 0.5 * flown.square().sum(-1) - 0.5 * d * math.log(2 * math.pi)


def time_and_variance(level: float) -> tuple[float, float]:
    """Return t and σ² at λ."""
    return time_of_ratio(math.exp(level)), 1 / (1 + math.exp(-2 * level))


def alpha_at(level: float) -> float:
    """Return α at λ."""
    return math.sqrt(1 - time_and_variance(level)[1])


def _slope(score: Score, u: Tensor, level: float) -> Tensor:
    t, variance = time_and_variance(level)
    return -variance * (u + score(u, t))


def _slope_and_divergence(score: Score, u: Tensor, level: float) -> tuple[Tensor, Tensor]:
    further = u.requires_grad  # then the density must be differentiable
    with torch.enable_grad():
        at = u if further else u.detach().requires_grad_(True)
        slope = _slope(score, at, level)
        divergence = torch.zeros_like(u[..., 0])
        for i in range(u.shape[-1]):
            (row,) = torch.autograd.grad(slope[..., i].sum(), at, retain_graph=True, create_graph=further)
            divergence = divergence + row[..., i]
    return (slope, divergence) if further else (slope.detach(), divergence.detach())


SAMPLERS = {
    "ode": Sampler(lambda score, draw, steps: sample_ode(score, draw(), steps), 40, 2),
    "exponential": Sampler(lambda score, draw, steps: sample_exponential(score, draw(), steps), 40, 1),
    "sde": Sampler(lambda score, draw, steps: sample_sde(score, draw(), steps, draw), 400, 1),
}
