"""An Ornstein-Uhlenbeck process, observed at its end."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..prior import Normal
from .diffusion_task import TractableDiffusion
from .sde import SDE, DiagonalCoefficients


@dataclass(frozen=True)
class MeanReversion(SDE):
    """dX = k (μ − X) dt + s dW; k, μ and s broadcast with the batch dimensions of x.

    p(X_t | X_0) = N(μ + (X_0 − μ) e^(−k t), s² (1 − e^(−2 k t))/(2 k) I)
    """

    k: Tensor
    mu: Tensor
    s: Tensor

    constant_covariance: ClassVar[bool] = True

    def at(self, x: Tensor) -> DiagonalCoefficients:
        zero = torch.zeros_like(x)
        drift = self.k.unsqueeze(-1) * (self.mu.unsqueeze(-1) - x)
        second_order = zero[..., 0] + x.shape[-1] * self.k
        return DiagonalCoefficients(drift, zero + self.s.unsqueeze(-1), zero, second_order)

    def log_transition(self, x_0: Tensor, x: Tensor, t: float) -> Tensor:
        k, mu = self.k.unsqueeze(-1), self.mu.unsqueeze(-1)
        mean = mu + (x_0 - mu) * torch.exp(-k * t)
        scale = self.s.unsqueeze(-1) * torch.sqrt(-torch.expm1(-2 * k * t) / (2 * k))
        return torch.distributions.Normal(mean, scale, validate_args=False).log_prob(x).sum(-1)


class OrnsteinUhlenbeck(TractableDiffusion):
    """The Euler scheme of an Ornstein-Uhlenbeck process in D dimensions, observed at time 1.

        X_{j+1} = X_j + k (μ − X_j) dt + s √dt ε_j,   X_0 = 0,   x = X_K,   K dt = 1,   θ = (log k, μ, log s)
        prior           log k ~ N(0, 0.5²),   μ ~ N(0, 1),   log s ~ N(0, 0.5²)
        likelihood      N(x; μ + (X_0 − μ) a^K, s² dt (1 − a^(2K))/(1 − a²) I),   a = 1 − k dt

    The model is the scheme, not its limit. k is capped at 1/dt, beyond which the scheme would oscillate; the
    cap is at least six prior standard deviations away. As dt → 0, the latents' share of the score stays
    bounded for k and μ and grows like 1/dt for s.

    Args:
        dim: D.
        steps: number of steps K of the latent path, at least 20.
    """

    name: ClassVar[str] = "ornstein_uhlenbeck"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "An Ornstein-Uhlenbeck process, observed at its end; exact."
    least_steps: ClassVar[int] = 20  # for k dt below 1

    prior = Normal((0.0, 0.0, 0.0), (0.5, 1.0, 0.5))
    dim_theta = 3

    def sde(self, theta: Tensor) -> SDE:
        k = theta[..., 0].exp().clamp_max(1 / self.grid.dt)
        return MeanReversion(k, theta[..., 1], theta[..., 2].exp())

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the exact log-density of the scheme, (n,), for θ (n, 3) and x (n or 1, D)."""
        mu, s, dt = theta[:, 1:2], theta[:, 2:].exp(), self.grid.dt
        a = 1 - (theta[:, :1].exp() * dt).clamp_max(1)
        mean = mu + (self.start - mu) * a**self.steps
        variance = s.square() * dt * (1 - a ** (2 * self.steps)) / (1 - a.square())
        return torch.distributions.Normal(mean, variance.sqrt()).log_prob(x).sum(1)
