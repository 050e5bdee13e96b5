"""Geometric Brownian motion, with a covariance that depends on the state."""

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
    """dX = μ X dt + σ X dW for x > 0; μ and σ broadcast with the batch dimensions of x.

    Σ = σ² diag(X_i²),   (div Σ)_i = 2 σ² X_i,   c = D (σ² − μ)
    log X_t ~ N(log X_0 + (μ − σ²/2) t, σ² t)
    """

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
        """Return the law of log X, a Brownian motion with drift μ − σ²/2."""
        return BrownianMotion(self.mu - self.sigma.square() / 2, self.sigma)


class GeometricBrownian(TractableDiffusion):
    """Geometric Brownian motion in D dimensions, observed at time 1.

        dX_i = μ X_i dt + σ X_i dW_i,   X_0 = 1,   x = X_1,   θ = (μ, log σ), the same in each dimension
        prior           μ ~ N(0, 0.5²),   log σ ~ N(−1, 0.3²)
        likelihood      log x_i ~ N(μ − σ²/2, σ²)

    Path and joint score are computed for log X, for which the Euler scheme is exact.

    Args:
        dim: D.
        steps: number of steps of the latent path.
    """

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
        """Return the log-density of the logarithm of the path, (n,).

        It differs from the log-density of the path by a constant in θ.
        """
        return log_euler_path(self.sde(theta.unsqueeze(1)).logarithm(), path.log(), self.grid)

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the log-normal log-density, (n,), for θ (n, 2) and x (n or 1, D)."""
        return self.sde(theta).log_transition(self.start, x, self.grid.duration)
