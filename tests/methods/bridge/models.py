"""Small diffusions and settings that the tests of bridges share."""

import math

import torch
from torch import Tensor

from graybench.tasks.landmarks.diffusion import LandmarkDiffusion
from graybench.tasks.landmarks.task import ellipse
from graybench.tasks.sde.brownian import BrownianMotion
from graybench.tasks.sde.geometric_brownian import GeometricBrownianMotion
from graybench.tasks.sde.ornstein_uhlenbeck import MeanReversion
from graybench.tasks.sde.sde import SDE, TimeGrid, euler_path
from graybench.tasks.seeding import generator


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
