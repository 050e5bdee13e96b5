"""A diffusion with a fine latent path and sparse data: an Ornstein-Uhlenbeck process by Euler's scheme.

dX = k (μ − X) dt + s dW from X_0 = 0 up to time 10, in 200 steps of dt = 0.05;  θ = (log k, μ, log s)

    X_{j+1} = X_j + k (μ − X_j) dt + s √dt ε_j,   x_i = X_{20 i} + N(0, 0.1²),  i = 1 … 10

The model is the scheme, not its limit: the latent path, both scores and the reference all refer to it.

joint score       k √dt/s Σ ε_j (μ − X_j),  k √dt/s Σ ε_j,  Σ (ε_j² − 1)
likelihood        Kalman filter over the 10 data, with the exact law of 20 steps: with a = 1 − k dt,
                  X_{j+20} = μ + a²⁰ (X_j − μ) + N(0, s² dt (1 − a⁴⁰)/(1 − a²))

The path says little more of k and μ as the steps get finer, but it pins s down: the last component has the
variance 2 · 200, which grows like 1/dt, while the data know s only roughly. The prior is log k ~ N(0, 0.5²),
μ ~ N(1, 1), log s ~ N(−0.5, 0.5²); at five standard deviations k dt is 0.6, so the scheme stays stable.
"""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..likelihood import LikelihoodTask
from ..prior import Normal
from ..task import Outcome
from .kalman import fill_path, kalman_log_likelihood

OBSERVED, STEPS_BETWEEN, DT = 10, 20, 0.05
STEPS = OBSERVED * STEPS_BETWEEN
START, NOISE = 0.0, 0.1


class OrnsteinUhlenbeckPath(LikelihoodTask):
    """The Ornstein-Uhlenbeck process with a latent Euler path; see the module."""

    name: ClassVar[str] = "ornstein_uhlenbeck_path"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "An Ornstein-Uhlenbeck process: a fine latent path, 10 noisy observations."
    prior = Normal((0.0, 1.0, -0.5), (0.5, 1.0, 0.5))
    dim_theta = 3
    dim_x = OBSERVED

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Draw a path and its observations for each θ, (n, 3); time comes first while it runs."""
        k, mu, s = theta[:, 0].exp(), theta[:, 1], theta[:, 2].exp()
        shocks = torch.randn(STEPS, len(theta), generator=generator, dtype=theta.dtype)
        noise = NOISE * torch.randn(OBSERVED, len(theta), generator=generator, dtype=theta.dtype)
        scaled = s * math.sqrt(DT) * shocks
        scaled[0] += (1 - k * DT) * (START - mu)
        deviation = fill_path(scaled, 1 - k * DT)
        pull = -shocks[0] * (START - mu) - (shocks[1:] * deviation[:-1]).sum(0)
        drift = k * math.sqrt(DT) / s
        score = torch.stack([drift * pull, drift * shocks.sum(0), shocks.square().sum(0) - STEPS], 1)
        path = deviation.add_(mu)
        x = path[STEPS_BETWEEN - 1 :: STEPS_BETWEEN] + noise
        return Outcome(x.T.contiguous(), score, latents=path.T)

    def log_joint(self, theta: Tensor, x: Tensor, latents: Any) -> Tensor:
        """Give log p(X | θ), (n,), for X_1 … X_200, (n, 200); log p(x | X) is a constant in θ."""
        k, mu, log_s = theta[:, :1].exp(), theta[:, 1:2], theta[:, 2:]
        before = pad(latents[:, :-1], (1, 0), value=START)
        residual = latents - before - k * (mu - before) * DT
        return (-0.5 * residual.square() / ((2 * log_s).exp() * DT) - log_s).sum(1)

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Give the exact log p(x | θ) for θ (n, 3) and x (n or 1, 10): (n,)."""
        a, mu = 1 - theta[:, 0].exp() * DT, theta[:, 1]
        transition = a**STEPS_BETWEEN
        variance = (2 * theta[:, 2]).exp() * DT * (1 - transition.square()) / (1 - a.square())
        noise = torch.full_like(a, NOISE**2)
        return kalman_log_likelihood(x, transition, (1 - transition) * mu, variance, noise, START)
