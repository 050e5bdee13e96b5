"""Brownian motion with drift, with everything in closed form."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..prior import Normal
from .diffusion_task import TractableDiffusion
from .sde import SDE, DiagonalCoefficients


@dataclass(frozen=True)
class BrownianMotion(SDE):
    """dX = μ dt + σ dW; μ and σ broadcast with the batch dimensions of x."""

    mu: Tensor
    sigma: Tensor

    constant_covariance: ClassVar[bool] = True

    def at(self, x: Tensor) -> DiagonalCoefficients:
        zero = torch.zeros_like(x)
        drift, scale = zero + self.mu.unsqueeze(-1), zero + self.sigma.unsqueeze(-1)
        return DiagonalCoefficients(drift, scale, zero, zero[..., 0])

    def log_transition(self, x_0: Tensor, x: Tensor, t: float) -> Tensor:
        scale = (self.sigma * math.sqrt(t)).unsqueeze(-1)
        return (
            torch.distributions.Normal(x_0 + self.mu.unsqueeze(-1) * t, scale, validate_args=False)
            .log_prob(x)
            .sum(-1)
        )


class Brownian(TractableDiffusion):
    """Brownian motion with drift in D dimensions, observed at time T = 1.

        dX = μ dt + σ dW,   X_0 = 0,   x = X_T,   θ = (μ, log σ), the same in each dimension

        prior           μ ~ N(0, 1),   log σ ~ N(0, 0.5²)
        joint score     Σ_k Σ_i (ΔX − μ dt)/σ²,   Σ_k Σ_i ((ΔX − μ dt)²/(σ² dt) − 1)
        likelihood      N(x; μ T, σ² T I)

    The Euler scheme is exact in law for any number of steps K. The first component of the joint score depends
    on X_T only, so the latents add nothing to it. The second has the variance 2 K D; the marginal score has 2
    D.

    Args:
        dim: D.
        steps: number of steps K of the latent path.
    """

    name: ClassVar[str] = "brownian"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Brownian motion with drift, observed at its end; exact."

    prior = Normal((0.0, 0.0), (1.0, 0.5))
    dim_theta = 2

    def sde(self, theta: Tensor) -> SDE:
        return BrownianMotion(theta[..., 0], theta[..., 1].exp())

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return log N(x; μ T, σ² T I), (n,), for θ (n, 2) and x (n or 1, D)."""
        return self.sde(theta).log_transition(self.start, x, self.grid.duration)
