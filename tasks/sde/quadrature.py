"""The transition density of the Euler scheme in one dimension, by quadrature."""

import math

import torch
from torch import Tensor

from .sde import SDE, TimeGrid


def log_transition(sde: SDE, x_0: Tensor, x: Tensor, grid: TimeGrid, reach: Tensor, points: int) -> Tensor:
    """Return log p(X_K = x | X_0 = x_0) of the Euler scheme with K ≥ 2 steps, by Chapman and Kolmogorov.

        p_1(z) = N(z; x_0 + f dt, Σ dt),    p_{k+1}(z) = ∫ p_k(y) N(z; y + f(y) dt, Σ(y) dt) dy

    The integrals are sums over equidistant points from −r to r. Their relative error is of the order 1e-6
    where the spacing is √(Σ dt), and far smaller for a finer one. Paths that leave [−r, r] are lost.

    Args:
        sde: the model in one dimension, with parameters that broadcast to (n, 1).
        x_0: starts, (n or 1, m).
        x: ends, (n or 1, m).
        grid: duration and steps.
        reach: r, (n, 1).
        points: number of points.

    Returns:
        The log-densities, (n, m), differentiable in the parameters.
    """
    line = torch.linspace(-1, 1, points, dtype=torch.float64)
    z, spacing = reach * line, 2 * reach / (points - 1)
    last = _normal(sde, z, x, grid.dt).mT * spacing.unsqueeze(-1)  # (n, m, points)
    step = _normal(sde, z, z, grid.dt) * spacing.unsqueeze(-1)
    density = _times(_normal(sde, x_0, z, grid.dt), step, grid.steps - 2)
    return (density * last).sum(-1).clamp_min(torch.finfo(torch.float64).tiny).log()


def _normal(sde: SDE, y: Tensor, z: Tensor, dt: float) -> Tensor:
    """Return N(z_j; y_i + f(y_i) dt, Σ(y_i) dt), (n, i, j), for y (n or 1, i) and z (n or 1, j)."""
    states = y.unsqueeze(-1)
    here = sde.at(states)
    mean, variance = states + here.drift * dt, here.times(torch.ones_like(states)) * dt
    log_density = -0.5 * ((z.unsqueeze(-2) - mean).square() / variance + (2 * math.pi * variance).log())
    return log_density.exp()


def _times(rows: Tensor, step: Tensor, power: int) -> Tensor:
    """Return rows, (n, m, points), times a power of step, (n, points, points), the shorter way."""
    m, points = rows.shape[-2:]
    if power * m < 2 * power.bit_length() * points:
        for _ in range(power):
            rows = rows @ step
        return rows
    while power:
        if power % 2:
            rows = rows @ step
        power //= 2
        step = step @ step if power else step
    return rows
