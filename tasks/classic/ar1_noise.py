"""A long latent path: an autoregression observed with noise."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..likelihood import LikelihoodTask
from ..prior import Normal
from ..structure import Series
from ..task import Outcome
from .kalman import fill_path, kalman_log_likelihood

LENGTH = 100


class Ar1Noise(LikelihoodTask):
    """An autoregression of T = 100 steps, observed with noise.

        z_t = a z_{t−1} + q ε_t,   x_t = z_t + r ε'_t,   t = 1 … T,   z_0 = 0,   θ = (artanh a, log q, log r)

        prior           artanh a ~ N(1.3, 0.3²),   log q, log r ~ N(−0.3, 0.4²)
        joint score     (1 − a²)/q Σ ε_t z_{t−1},   Σ (ε_t² − 1),   Σ (ε'_t² − 1)
        likelihood      Kalman filter, see `kalman_log_likelihood`

    The latents z and the data x are (n, 100). z_0 is known, so no density of z_0 enters the score; in return
    the path is not quite stationary at first. 95% of the prior has a between 0.6 and 0.96: for small a the
    data could hardly distinguish q from r.
    """

    name: ClassVar[str] = "ar1_noise"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "An autoregression of 100 steps observed with noise: a long latent path."
    prior = Normal((1.3, -0.3, -0.3), (0.3, 0.4, 0.4))
    dim_theta = 3
    dim_x = LENGTH
    structure = Series(LENGTH)

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Draw a path and its observations for each θ, (n, 3)."""
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
        """Return log p(x, z | θ) up to a constant, (n,), for z (n, 100)."""
        a, log_q, log_r = torch.tanh(theta[:, :1]), theta[:, 1:2], theta[:, 2:]
        shocks = (latents - a * pad(latents[:, :-1], (1, 0))) / log_q.exp()
        noise = (x - latents) / log_r.exp()
        return (-0.5 * (shocks.square() + noise.square()) - log_q - log_r).sum(1)

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the exact log p(x | θ), (n,), for θ (n, 3) and x (n or 1, 100)."""
        a, log_q, log_r = torch.tanh(theta[:, 0]), theta[:, 1], theta[:, 2]
        zero = torch.zeros_like(a)
        return kalman_log_likelihood(x, a, zero, (2 * log_q).exp(), (2 * log_r).exp(), start=0.0)
