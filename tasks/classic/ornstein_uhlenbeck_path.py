"""A diffusion with a fine latent path and sparse, noisy data."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..likelihood import LikelihoodTask
from ..prior import Normal
from ..structure import Series
from ..task import Outcome
from .kalman import fill_path, kalman_log_likelihood

OBSERVED, STEPS_BETWEEN, DT = 10, 20, 0.05
STEPS = OBSERVED * STEPS_BETWEEN
START, NOISE = 0.0, 0.1


class OrnsteinUhlenbeckPath(LikelihoodTask):
    """The Euler scheme of an Ornstein-Uhlenbeck process dX = k (μ − X) dt + s dW, observed with noise.

        X_{j+1} = X_j + k (μ − X_j) dt + s √dt ε_j,   X_0 = 0,   dt = 0.05,   j = 0 … 199
        x_i = X_{20 i} + N(0, 0.1²),   i = 1 … 10,   θ = (log k, μ, log s)

        prior           log k ~ N(0, 0.5²),   μ ~ N(1, 1),   log s ~ N(−0.5, 0.5²)
        joint score     k √dt/s Σ ε_j (μ − X_j),   k √dt/s Σ ε_j,   Σ (ε_j² − 1)
        likelihood      Kalman filter over x, with the exact law of 20 steps: for a = 1 − k dt,
                        X_{j+20} = μ + a²⁰ (X_j − μ) + N(0, s² dt (1 − a⁴⁰)/(1 − a²))

    The model is the scheme, not its limit; path, scores and reference all refer to it. Finer steps add little
    information on k and μ, but determine s ever better: the last component of the joint score has the
    variance 2 · 200, which grows like 1/dt, while the data determine s only roughly. The scheme is stable: k
    dt is 0.6 at five prior standard deviations.
    """

    name: ClassVar[str] = "ornstein_uhlenbeck_path"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "An Ornstein-Uhlenbeck process: a fine latent path, 10 noisy observations."
    prior = Normal((0.0, 1.0, -0.5), (0.5, 1.0, 0.5))
    dim_theta = 3
    dim_x = OBSERVED
    structure = Series(OBSERVED)

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Draw a path and its observations for each θ, (n, 3)."""
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
        """Return log p(path | θ) up to a constant, (n,), for the path (n, 200)."""
        k, mu, log_s = theta[:, :1].exp(), theta[:, 1:2], theta[:, 2:]
        before = pad(latents[:, :-1], (1, 0), value=START)
        residual = latents - before - k * (mu - before) * DT
        return (-0.5 * residual.square() / ((2 * log_s).exp() * DT) - log_s).sum(1)

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the exact log p(x | θ), (n,), for θ (n, 3) and x (n or 1, 10)."""
        a, mu = 1 - theta[:, 0].exp() * DT, theta[:, 1]
        transition = a**STEPS_BETWEEN
        variance = (2 * theta[:, 2]).exp() * DT * (1 - transition.square()) / (1 - a.square())
        noise = torch.full_like(a, NOISE**2)
        return kalman_log_likelihood(x, transition, (1 - transition) * mu, variance, noise, START)
