"""The Lorenz-96 model of the atmosphere with additive noise."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from ..plugin import require_whole
from ..prior import Normal
from .stored_diffusion import StoredDiffusion


class Lorenz96(StoredDiffusion):
    """Lorenz's 1996 model on a ring of D places, driven by noise, observed at m times without error.

        dX_i = ((X_{i+1} − X_{i−2}) X_{i−1} − X_i + F) dt + σ dW_i,   θ = (F, log σ)
        prior           F ~ N(8, 1),   log σ ~ N(0, 0.3²)
        start           X_i = 2 + 4 cos(2π · 3i/D) + 2 sin(2π i/D)
        data            X at the times T, 2T, …, mT
        likelihood      not tractable
        reference       4,000 frozen draws of importance sampling squared, see `freeze_diffusions`, which
                        are worth 1,200 to 1,900 independent ones

    At F = 8 the model without noise is chaotic: small differences double within 0.4 units of time. The Euler
    scheme is the model.

    Source: Lorenz, Predictability: a problem partly solved, 1996.

    Args:
        duration: T.
        steps: number of steps of the latent path in each interval.
        observed: m.
        dim: D, 4 or more.
    """

    name: ClassVar[str] = "lorenz96"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "A chaotic flow on a ring with additive noise, observed along its path."

    duration: float = 0.1
    steps: int = 20
    observed: int = 10
    dim: int = 10

    prior = Normal((8.0, 0.0), (1.0, 0.3))
    dim_theta = 2

    def __post_init__(self) -> None:
        require_whole("task lorenz96: dim", self.dim, 4)
        super().__post_init__()

    @property
    def start(self) -> Tensor:
        angle = 2 * math.pi * torch.arange(self.dim, dtype=torch.float64) / self.dim
        return 2 + 4 * (3 * angle).cos() + 2 * angle.sin()

    def drift(self, x: Tensor, theta: Tensor) -> Tensor:
        behind = x.roll(1, -1)
        return (x.roll(-1, -1) - x.roll(2, -1)) * behind - x + theta[..., :1]

    def diffusion(self, x: Tensor, theta: Tensor) -> Tensor:
        return theta[..., 1:].exp()
