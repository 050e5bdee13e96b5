"""A random-effects model: groups of measurements, each around its own latent mean."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..likelihood import LikelihoodTask
from ..plugin import require_whole
from ..prior import Normal
from ..structure import Items
from ..task import Outcome

SIZE = 4


class HierarchicalNormal(LikelihoodTask):
    """Groups of 4 measurements, each group around a latent mean.

        z_g ~ N(μ, τ²),   x_gk ~ N(z_g, s²),   g = 1 … groups,   k = 1 … 4,   θ = (μ, log τ, log s)

        prior           μ ~ N(0, 1),   log τ ~ N(−0.3, 0.5²),   log s ~ N(0, 0.5²)
        joint score     Σ_g (z_g − μ)/τ²,   Σ_g [(z_g − μ)²/τ² − 1],   Σ_gk [(x_gk − z_g)²/s² − 1]
        likelihood      Π_g N(x̄_g; μ, τ² + s²/4) · exp(−Σ_k (x_gk − x̄_g)²/(2 s²)) / (2 (2π s²)^(3/2))

    The likelihood is the law of the group means x̄_g times the law of the deviations from them. The data x,
    (n, 4 groups), hold one group after another; the latents z are (n, groups).

    Args:
        groups: the number of groups with the same θ, at least 1.
    """

    name: ClassVar[str] = "hierarchical_normal"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "50 groups of 4 measurements around latent group means: random effects."
    prior = Normal((0.0, -0.3, 0.0), (1.0, 0.5, 0.5))
    items_option: ClassVar[str | None] = "groups"
    dim_theta = 3

    groups: int = 50

    def __post_init__(self) -> None:
        require_whole("task hierarchical_normal: groups", self.groups, 1)

    @property
    def dim_x(self) -> int:
        """The number of measurements."""
        return self.groups * SIZE

    @property
    def structure(self) -> Items:
        """Independent groups of exchangeable measurements."""
        return Items(self.groups, Items(SIZE), independent=True)

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Draw the group means and the measurements for each θ, (n, 3)."""
        mu, log_tau, log_s = theta.unsqueeze(2).unbind(1)
        n, tau, s = len(theta), log_tau.exp(), log_s.exp()
        effects = torch.randn(n, self.groups, generator=generator, dtype=theta.dtype)
        noise = torch.randn(n, self.dim_x, generator=generator, dtype=theta.dtype)
        z = mu + tau * effects
        x = z.repeat_interleave(SIZE, 1).addcmul_(s, noise)
        score = torch.cat(
            [
                effects.sum(1, keepdim=True) / tau,
                effects.square().sum(1, keepdim=True) - self.groups,
                noise.square().sum(1, keepdim=True) - self.dim_x,
            ],
            1,
        )
        return Outcome(x, score, latents=z)

    def log_joint(self, theta: Tensor, x: Tensor, latents: Any) -> Tensor:
        """Return log p(x, z | θ) up to a constant, (n,), for z (n, groups)."""
        mu, log_tau, log_s = theta.unsqueeze(2).unbind(1)
        of_groups = -0.5 * ((latents - mu) / log_tau.exp()).square() - log_tau
        of_noise = -0.5 * ((x - latents.repeat_interleave(SIZE, 1)) / log_s.exp()).square() - log_s
        return of_groups.sum(1) + of_noise.sum(1)

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the exact log p(x | θ), (n,), for θ (n, 3) and x (n or 1, dim_x)."""
        mu, log_tau, log_s = theta.unsqueeze(2).unbind(1)
        groups = x.reshape(-1, self.groups, SIZE)
        means = groups.mean(2)
        within = (groups - means.unsqueeze(2)).square().sum((1, 2))
        variance = (2 * log_tau).exp() + (2 * log_s).exp() / SIZE
        between = -0.5 * ((means - mu).square() / variance + variance.log()).sum(1)
        deviations = -0.5 * within * (-2 * log_s[:, 0]).exp() - self.groups * (SIZE - 1) * log_s[:, 0]
        constant = -0.5 * self.groups * (SIZE * math.log(2 * math.pi) + math.log(SIZE))
        return between + deviations + constant
