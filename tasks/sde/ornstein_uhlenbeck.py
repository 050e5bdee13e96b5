"""An Ornstein-Uhlenbeck process in D dimensions, observed at its end alone.

dX = k (μ − X) dt + s dW from X_0 = 0 up to time 1;  θ = (log k, μ, log s), the same in each dimension

    p(X_t | X_0) = N(μ + (X_0 − μ) e^(−k t), s² (1 − e^(−2 k t))/(2 k) I)

The task is the Euler scheme, not its limit: with a = 1 − k dt,

    p(X_K | X_0) = N(μ + (X_0 − μ) a^K, s² dt (1 − a^(2K))/(1 − a²) I).

The prior is log k ~ N(0, 0.5²), μ ~ N(0, 1), log s ~ N(0, 0.5²). k is held below 1/dt, six prior standard
deviations away or more, beyond which the scheme would oscillate. The score of k and μ has a share of the
latents that stays bounded as dt → 0, that of s one which grows like 1/dt.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..prior import Normal
from .diffusion_task import TractableDiffusion
from .sde import SDE, DiagonalCoefficients


@dataclass(frozen=True)
class MeanReversion(SDE):
    """dX = k (μ − X) dt + s dW, for k, μ and s that broadcast with the batch dimensions of x."""

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
        return torch.distributions.Normal(mean, scale).log_prob(x).sum(-1)


class OrnsteinUhlenbeck(TractableDiffusion):
    """The Ornstein-Uhlenbeck process; see the module."""

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
        """Give the exact law of the scheme, (n,), for θ (n, 3) and x (n or 1, D)."""
        mu, s, dt = theta[:, 1:2], theta[:, 2:].exp(), self.grid.dt
        a = 1 - (theta[:, :1].exp() * dt).clamp_max(1)
        mean = mu + (self.start - mu) * a**self.steps
        variance = s.square() * dt * (1 - a ** (2 * self.steps)) / (1 - a.square())
        return torch.distributions.Normal(mean, variance.sqrt()).log_prob(x).sum(1)
