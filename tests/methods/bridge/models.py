"""Small diffusions and settings that the tests of bridges share."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from graybench.tasks.landmarks.diffusion import LandmarkDiffusion
from graybench.tasks.landmarks.task import ellipse
from graybench.tasks.sde.brownian import BrownianMotion
from graybench.tasks.sde.geometric_brownian import GeometricBrownianMotion
from graybench.tasks.sde.ornstein_uhlenbeck import MeanReversion
from graybench.tasks.sde.sde import SDE, DiagonalCoefficients, TimeGrid, euler_path
from graybench.tasks.seeding import generator

NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(400)
NODES, NODE_WEIGHTS = torch.from_numpy(NODES), torch.from_numpy(NODE_WEIGHTS)


UNEVEN = TimeGrid.at([1.5 * (k / 30) ** 2 for k in range(31)])


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def normals(seed: int, *size: int) -> Tensor:
    return torch.randn(size, generator=generator(seed), dtype=torch.float64)


def uniforms(seed: int, *size: int) -> Tensor:
    return torch.rand(size, generator=generator(seed), dtype=torch.float64)


def brownian(mu: float = 0.3, sigma: float = 0.7) -> BrownianMotion:
    return BrownianMotion(number(mu), number(sigma))


def reverting() -> MeanReversion:
    return MeanReversion(number(1.2), number(0.5), number(0.8))


def geometric(mu: float = 0.1, sigma: float = 0.5) -> GeometricBrownianMotion:
    return GeometricBrownianMotion(number(mu), number(sigma))


def landmarks(
    a: float = 0.2, length: float = 0.5, dimensions: int = 2, nugget: float = 1e-3
) -> LandmarkDiffusion:
    return LandmarkDiffusion(number(math.log(a)), number(math.log(length)), dimensions, nugget)


def moved_shapes(sde: LandmarkDiffusion, n: int, shapes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return an ellipse (D,) and shapes (shapes, D) at the end of diffusions from it, at time 1."""
    x_0 = ellipse(n, sde.dimensions).flatten()
    return x_0, end_points(sde, x_0, TimeGrid(1.0, 100), shapes, seed)


def end_points(sde: SDE, x_0: Tensor, grid: TimeGrid, n: int, seed: int) -> Tensor:
    return euler_path(sde, x_0, grid, normals(seed, grid.steps, n, len(x_0)))[:, -1]


@dataclass(frozen=True)
class DoubleWell(SDE):
    """dX = θ (X − X³) dt + σ dW, with wells at −1 and +1."""

    theta: Tensor
    sigma: Tensor

    constant_covariance: ClassVar[bool] = True

    def at(self, x: Tensor) -> DiagonalCoefficients:
        theta, zero = self.theta.unsqueeze(-1), torch.zeros_like(x)
        slope = theta * (1 - 3 * x.square())
        return DiagonalCoefficients(theta * (x - x**3), zero + self.sigma.unsqueeze(-1), zero, -slope.sum(-1))


def double_well(theta: float = 1.0, sigma: float = 0.7) -> DoubleWell:
    return DoubleWell(number(theta), number(sigma))


def scheme_density(sde: SDE, x_0: float, y: Tensor, grid: TimeGrid, low: float, high: float) -> Tensor:
    """The Euler scheme's p(y | x_0) in 1-D (m,), by Gauss-Legendre quadrature over every state between."""
    steps = grid.lengths.tolist()
    x = 0.5 * (high - low) * NODES + 0.5 * (high + low)
    weights = 0.5 * (high - low) * NODE_WEIGHTS

    def kernel(start: Tensor, end: Tensor, dt: float) -> Tensor:
        here = sde.at(start.unsqueeze(-1))
        return here.log_normal(end.unsqueeze(-1) - start.unsqueeze(-1) - here.drift * dt, dt).exp()

    density = kernel(number(x_0).expand(len(x)), x, steps[0])
    for dt in steps[1:-1]:
        density = (density * weights) @ kernel(x.unsqueeze(1).expand(-1, len(x)), x.expand(len(x), -1), dt)
    return kernel(x, y.unsqueeze(-1).expand(-1, len(x)), steps[-1]) @ (density * weights)
