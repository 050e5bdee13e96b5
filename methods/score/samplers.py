"""Samplers that need only a score: reverse SDE, probability-flow ODE, and the density along that ODE.

Time runs in λ = log(σ/α), in which β dt = 2σ² dλ, on an equidistant grid from λ(1) down to λ(t_min):

    reverse SDE            du = −σ² (u + 2s) dλ + √2 σ dW̄        Euler-Maruyama
    probability-flow ODE   du/dλ = −σ² (u + s)                    Heun
    density                d log p(u)/dλ = σ² (d + ∇·s)           Heun, with the exact divergence

Both right-hand sides vanish at either end: at high noise s is near −u, at low noise σ² is near 0. A score is
a function `score(u_t, t)` of u_t (..., d) and a float t; leading dimensions are independent chains.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from .schedule import T_MIN, alpha_sigma_at, time_of_ratio

Score = Callable[[Tensor, float], Tensor]


def noise_levels(steps: int) -> list[float]:
    """Give the `steps` + 1 values of λ from λ(1) = 5.0 down to λ(t_min) = −4.6."""
    first, last = (math.log(sigma / alpha) for alpha, sigma in map(alpha_sigma_at, (1.0, T_MIN)))
    return [first + (last - first) * k / steps for k in range(steps + 1)]


def sample_ode(score: Score, noise: Tensor, steps: int) -> Tensor:
    """Carry standard normal `noise` (..., d) along the probability flow, by two evaluations a step."""
    u = noise
    for level, below in pairwise(noise_levels(steps)):
        slope = _slope(score, u, level)
        ahead = u + (below - level) * slope
        u = u + (below - level) * (slope + _slope(score, ahead, below)) / 2
    return u / alpha_sigma_at(T_MIN)[0]


def sample_sde(score: Score, noise: Tensor, steps: int, draw: Callable[[], Tensor]) -> Tensor:
    """Carry standard normal `noise` (..., d) along the reverse SDE, drawing each step's noise by `draw()`."""
    u = noise
    for level, below in pairwise(noise_levels(steps)):
        t, variance = time_and_variance(level)
        step = level - below
        u = u + step * variance * (u + 2 * score(u, t)) + math.sqrt(2 * step * variance) * draw()
    return u / alpha_sigma_at(T_MIN)[0]


def log_prob_ode(score: Score, u: Tensor, steps: int) -> Tensor:
    """Give log p(u) for u (..., d), blurred by the noise at t_min, by `steps` Heun steps up the flow.

    The exact divergence costs d backward passes per evaluation, two evaluations a step: for small d. It
    can be differentiated if u requires it, for which all steps are kept.
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
    """Give t and σ² at λ."""
    return time_of_ratio(math.exp(level)), 1 / (1 + math.exp(-2 * level))


def _slope(score: Score, u: Tensor, level: float) -> Tensor:
    t, variance = time_and_variance(level)
    return -variance * (u + score(u, t))


def _slope_and_divergence(score: Score, u: Tensor, level: float) -> tuple[Tensor, Tensor]:
    further = u.requires_grad  # the density is to be differentiated
    with torch.enable_grad():
        at = u if further else u.detach().requires_grad_(True)
        slope = _slope(score, at, level)
        divergence = torch.zeros_like(u[..., 0])
        for i in range(u.shape[-1]):
            (row,) = torch.autograd.grad(slope[..., i].sum(), at, retain_graph=True, create_graph=further)
            divergence = divergence + row[..., i]
    return (slope, divergence) if further else (slope.detach(), divergence.detach())
