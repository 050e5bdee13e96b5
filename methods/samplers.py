"""Samplers that need only a score: reverse SDE, probability-flow ODE, and the density along that ODE.

In v = u_t/α and ς = σ/α the diffusion has no drift (v = u_0 + ς ε), and with D = ∇_v log p = α s(α v, t)

    reverse SDE            dv = −2ς D dς + √(2ς) dW̄        Euler-Maruyama in ς²
    probability-flow ODE   dv = −ς D dς                     Heun
    density                d log p(v)/dς = ς ∇·D            Heun, with the exact divergence

from ς(1) = 151 down to ς(t_min) = 0.01, where v is u_0 but for that little noise, on the grid of Karras et
al. (2022, eq. 5): equidistant in ς^(1/7). A score is a function `score(u_t, t)` of u_t (..., d) and a float
t; leading dimensions are independent chains.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from methods.schedule import T_MIN, alpha_sigma_at, time_of_ratio

Score = Callable[[Tensor, float], Tensor]

GRID_POWER = 7.0


def noise_grid(steps: int) -> list[float]:
    """Give the `steps` + 1 noise ratios from ς(1) down to ς(t_min)."""
    first, last = (ratio ** (1 / GRID_POWER) for ratio in (_ratio(1.0), _ratio(T_MIN)))
    return [(first + (last - first) * k / steps) ** GRID_POWER for k in range(steps + 1)]


def sample_ode(score: Score, noise: Tensor, steps: int) -> Tensor:
    """Carry standard normal `noise` (..., d) along the probability flow, by two evaluations a step."""
    grid = noise_grid(steps)
    v = noise * grid[0]
    for high, low in pairwise(grid):
        slope = _slope(score, v, high)
        ahead = v + (low - high) * slope
        v = v + (low - high) * (slope + _slope(score, ahead, low)) / 2
    return v


def sample_sde(score: Score, noise: Tensor, steps: int, draw: Callable[[], Tensor]) -> Tensor:
    """Carry standard normal `noise` (..., d) along the reverse SDE, drawing each step's noise by `draw()`."""
    grid = noise_grid(steps)
    v = noise * grid[0]
    for high, low in pairwise(grid):
        variance = high**2 - low**2
        v = v + variance * _scaled_score(score, v, high) + math.sqrt(variance) * draw()
    return v


def log_prob_ode(score: Score, u: Tensor, steps: int) -> Tensor:
    """Give log p(u) for u (..., d), the log-density at ς(t_min), by `steps` Heun steps.

    The exact divergence costs d backward passes per evaluation, two evaluations a step: for small d.
    """
    grid = noise_grid(steps)[::-1]
    v, change = u, torch.zeros_like(u[..., 0])
    for low, high in pairwise(grid):
        slope, divergence = _slope_and_divergence(score, v, low)
        ahead = v + (high - low) * slope
        slope_ahead, divergence_ahead = _slope_and_divergence(score, ahead, high)
        v = v + (high - low) * (slope + slope_ahead) / 2
        change = change + (high - low) * (divergence + divergence_ahead) / 2
    last = grid[-1]
    at_end = -0.5 * (v / last).square().sum(-1) - u.shape[-1] * math.log(last * math.sqrt(2 * math.pi))
    return at_end + change


def _ratio(t: float) -> float:
    alpha, sigma = alpha_sigma_at(t)
    return sigma / alpha


def _scaled_score(score: Score, v: Tensor, ratio: float) -> Tensor:
    """D = ∇_v log p(v) = α s(α v, t)."""
    t = time_of_ratio(ratio)
    alpha, _ = alpha_sigma_at(t)
    return alpha * score(alpha * v, t)


def _slope(score: Score, v: Tensor, ratio: float) -> Tensor:
    return -ratio * _scaled_score(score, v, ratio)


def _slope_and_divergence(score: Score, v: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        v = v.detach().requires_grad_(True)
        slope = _slope(score, v, ratio)
        divergence = torch.zeros_like(v[..., 0])
        for i in range(v.shape[-1]):
            (row,) = torch.autograd.grad(slope[..., i].sum(), v, retain_graph=True)
            divergence = divergence + row[..., i]
    return slope.detach(), divergence.detach()
