"""Tall data: many independent draws of a mixture of two Gaussians, each with its own latent."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..likelihood import LikelihoodTask
from ..plugin import require_whole
from ..prior import Normal
from ..structure import Items
from ..task import Outcome


class IidMixture(LikelihoodTask):
    """Independent draws of a mixture of two Gaussians with unit variance.

        z_k ~ Bernoulli(w),   x_k ~ N(m + z_k e^δ, 1),   k = 1 … draws,   θ = (logit w, m, δ)

        prior           logit w ~ N(0, 0.7²),   m ~ N(0, 1),   δ ~ N(0.9, 0.3²)
        joint score     Σ (z_k − w),   Σ ε_k,   e^δ Σ z_k ε_k,   with ε_k = x_k − m − z_k e^δ
        likelihood      Π [(1 − w) N(x_k; m, 1) + w N(x_k; m + e^δ, 1)]

    The draws are exchangeable; x and z, (n, draws), hold them in the order drawn. The second component lies
    above the first, so the two cannot be swapped.

    Args:
        draws: the number of draws with the same θ, at least 1.
    """

    name: ClassVar[str] = "iid_mixture"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "200 independent draws of a mixture of two Gaussians: tall data, binary latents."
    prior = Normal((0.0, 0.0, 0.9), (0.7, 1.0, 0.3))
    items_option: ClassVar[str | None] = "draws"
    dim_theta = 3

    draws: int = 200

    def __post_init__(self) -> None:
        require_whole("task iid_mixture: draws", self.draws, 1)

    @property
    def dim_x(self) -> int:
        """The number of draws."""
        return self.draws

    @property
    def structure(self) -> Items:
        """Independent draws."""
        return Items(self.draws, independent=True)

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Draw components and values for each θ, (n, 3)."""
        logit, m, delta = theta.unsqueeze(2).unbind(1)
        weight, gap = torch.sigmoid(logit), delta.exp()
        shape = (len(theta), self.draws)
        z = (torch.rand(shape, generator=generator, dtype=theta.dtype) < weight).to(theta.dtype)
        noise = torch.randn(shape, generator=generator, dtype=theta.dtype)
        second = z.sum(1, keepdim=True) - self.draws * weight
        score = torch.cat([second, noise.sum(1, keepdim=True), gap * (z * noise).sum(1, keepdim=True)], 1)
        return Outcome(m + gap * z + noise, score, latents=z)

    def log_joint(self, theta: Tensor, x: Tensor, latents: Any) -> Tensor:
        """Return log p(x, z | θ), (n,), for z of zeros and ones, (n, draws)."""
        first, second = self._log_terms(theta, x)
        return torch.where(latents > 0, second, first).sum(1)

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the exact log p(x | θ), (n,), for θ (n, 3) and x (n or 1, draws)."""
        return torch.logaddexp(*self._log_terms(theta, x)).sum(1)

    def _log_terms(self, theta: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x_k, z_k | θ) at z_k = 0 and at z_k = 1, (n, draws) each."""
        logit, m, delta = theta.unsqueeze(2).unbind(1)
        constant = 0.5 * math.log(2 * math.pi)
        first = logsigmoid(-logit) - 0.5 * (x - m).square() - constant
        second = logsigmoid(logit) - 0.5 * (x - m - delta.exp()).square() - constant
        return first, second
