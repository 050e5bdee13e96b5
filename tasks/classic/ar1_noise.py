"""A long latent path: an autoregression observed with noise.

z_t = a z_{t−1} + q ε_t,  x_t = z_t + r ε'_t,  t = 1 … 100,  z_0 = 0 known;  θ = (artanh a, log q, log r)

joint score       (1 − a²)/q Σ ε_t z_{t−1},  Σ (ε_t² − 1),  Σ (ε'_t² − 1)
likelihood        by the Kalman filter, see `tasks.classic.kalman`

From z_0 = 0 the path is not quite stationary at first, and no density of z_0 adds to the score. The prior is
artanh a ~ N(1.3, 0.3²), 95% of it with a between 0.6 and 0.96; log q and log r ~ N(−0.3, 0.4²). With less
memory, a small a, the data could hardly tell q from r.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..likelihood import LikelihoodTask
from ..prior import Normal
from ..task import Outcome
from .kalman import fill_path, kalman_log_likelihood

LENGTH = 100


class Ar1Noise(LikelihoodTask):
    """The autoregression observed with noise; see the module."""

    name: ClassVar[str] = "ar1_noise"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "An autoregression of 100 steps observed with noise: a long latent path."
    prior = Normal((1.3, -0.3, -0.3), (0.3, 0.4, 0.4))
    dim_theta = 3
    dim_x = LENGTH

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Draw a path and its noisy observations for each θ, (n, 3); time comes first while it runs."""
        a, q, r = torch.tanh(theta[:, 0]), theta[:, 1].exp(), theta[:, 2].exp()
        shape = (LENGTH, len(theta))
        shocks = torch.randn(shape, generator=generator, dtype=theta.dtype)
        noise = torch.randn(shape, generator=generator, dtype=theta.dtype)
        z = fill_path(q * shocks, a)
        score = torch.stack(
            [
                (1 - a.square()) / q * (shocks[1:] * z[:-1]).sum(0),
                shocks.square().sum(0) - LENGTH,
                noise.square().sum(0) - LENGTH,
            ],
            1,
        )
        return Outcome(noise.mul_(r).add_(z).T.contiguous(), score, latents=z.T)

    def log_joint(self, theta: Tensor, x: Tensor, latents: Any) -> Tensor:
        """Give log p(x, z | θ), (n,), for z_1 … z_100, (n, 100)."""
        a, log_q, log_r = torch.tanh(theta[:, :1]), theta[:, 1:2], theta[:, 2:]
        shocks = (latents - a * pad(latents[:, :-1], (1, 0))) / log_q.exp()
        noise = (x - latents) / log_r.exp()
        return (-0.5 * (shocks.square() + noise.square()) - log_q - log_r).sum(1)

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Give the exact log p(x | θ) for θ (n, 3) and x (n or 1, 100): (n,)."""
        a, log_q, log_r = torch.tanh(theta[:, 0]), theta[:, 1], theta[:, 2]
        zero = torch.zeros_like(a)
        return kalman_log_likelihood(x, a, zero, (2 * log_q).exp(), (2 * log_r).exp(), start=0.0)
