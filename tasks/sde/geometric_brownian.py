"""Geometric Brownian motion in D dimensions, whose covariance depends on the state.

dX_i = μ X_i dt + σ X_i dW_i from X_0 = 1 up to time 1;  θ = (μ, log σ), the same in each dimension

    Σ = σ² diag(X_i²),  (div Σ)_i = 2 σ² X_i,  c = D (σ² − μ)
    log X_t ~ N(log X_0 + (μ − σ²/2) t, σ² t),  so that ∇ log p(x) = −(1.5 + …)/x

The logarithm is a Brownian motion with drift, so that its Euler scheme is exact: the task draws its path and
takes the score there, and its likelihood is the log-normal. The prior is μ ~ N(0, 0.5²),
log σ ~ N(−1, 0.3²).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..prior import Normal
from .brownian import BrownianMotion
from .diffusion_task import TractableDiffusion
from .sde import SDE, DiagonalCoefficients, euler_path, log_euler_path


@dataclass(frozen=True)
class GeometricBrownianMotion(SDE):
    """dX = μ X dt + σ X dW, for μ and σ that broadcast with the batch dimensions of x; x > 0."""

    mu: Tensor
    sigma: Tensor

    constant_covariance: ClassVar[bool] = False

    def at(self, x: Tensor) -> DiagonalCoefficients:
        mu, sigma = self.mu.unsqueeze(-1), self.sigma.unsqueeze(-1)
        second_order = torch.zeros_like(x[..., 0]) + x.shape[-1] * (self.sigma.square() - self.mu)
        return DiagonalCoefficients(mu * x, sigma * x, 2 * sigma.square() * x, second_order)

    def log_transition(self, x_0: Tensor, x: Tensor, t: float) -> Tensor:
        return self.logarithm().log_transition(x_0.log(), x.log(), t) - x.log().sum(-1)

    def logarithm(self) -> BrownianMotion:
        """Give the law of log X."""
        return BrownianMotion(self.mu - self.sigma.square() / 2, self.sigma)


class GeometricBrownian(TractableDiffusion):
    """Geometric Brownian motion; see the module."""

    name: ClassVar[str] = "geometric_brownian"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Geometric Brownian motion, its noise growing with its state; exact."
    first: ClassVar[float] = 1.0

    dim: int = 5

    prior = Normal((0.0, -1.0), (0.5, 0.3))
    dim_theta = 2

    def sde(self, theta: Tensor) -> GeometricBrownianMotion:
        return GeometricBrownianMotion(theta[..., 0], theta[..., 1].exp())

    def draw_path(self, theta: Tensor, noise: Tensor) -> Tensor:
        return euler_path(self.sde(theta).logarithm(), self.start.log(), self.grid, noise).exp()

    def log_path(self, theta: Tensor, path: Tensor) -> Tensor:
        """Give the density of the path's logarithm, which is that of the path up to a constant in θ."""
        return log_euler_path(self.sde(theta.unsqueeze(1)).logarithm(), path.log(), self.grid)

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Give the log-normal density, (n,), for θ (n, 2) and x (n or 1, D)."""
        return self.sde(theta).log_transition(self.start, x, self.grid.duration)
