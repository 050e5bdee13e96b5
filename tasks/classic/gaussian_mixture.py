"""A discrete latent and two scales: draws from a mixture of a wide and a narrow Gaussian around θ."""

import math
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor

from ..likelihood import LikelihoodTask
from ..plugin import require_whole
from ..prior import Normal
from ..reference import GaussianReference, MixtureReference, Reference
from ..structure import Items
from ..task import Outcome

WIDE, NARROW = 1.0, 0.1
MOST_ENUMERATED, LEAST_WEIGHT = 10, 1e-12


class GaussianMixture(LikelihoodTask):
    """Independent draws of x from a wide or a narrow Gaussian around θ, one after another in a row.

        θ ~ N(0, I),   z uniform on {wide, narrow},   x ~ N(θ, s_z² I),   s = 1 or 0.1

        joint score       Σ (x − θ)/s_z²
        marginal score    Σ Σ_z r_z (x − θ)/s_z², with the responsibilities r_z of the two components for x
        posterior         a mixture over the latents z_1 … z_n of all draws, of N(m, I/P) with
                          P = 1 + Σ 1/s_z²,   m = Σ (x/s_z²)/P,   and weights ∝ p(x, z_1 … z_n)

    The outer sums run over the draws. The posterior has 2^n components. For n ≤ 10 the reference lists them,
    and is exact. For more draws, it is sampled: draws of the narrow component then agree on one mode. With
    fewer than about 20 draws they may not, and such a posterior is refused.

    Args:
        dim: the number d of parameters, and of data of a draw, at least 1.
        draws: the number n of draws with the same θ, at least 1.
    """

    name: ClassVar[str] = "gaussian_mixture"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "One draw from a wide or a narrow Gaussian: a discrete latent, two scales."
    reference_kind: ClassVar[str] = "exact"
    items_option: ClassVar[str | None] = "draws"
    prior = Normal()

    dim: int = 2
    draws: int = 1

    def __post_init__(self) -> None:
        require_whole("task gaussian_mixture: dim", self.dim, 1)
        require_whole("task gaussian_mixture: draws", self.draws, 1)
        if self.draws > MOST_ENUMERATED:
            object.__setattr__(self, "reference_kind", "sampled")

    @property
    def dim_theta(self) -> int:
        """The dimension d."""
        return self.dim

    @property
    def dim_x(self) -> int:
        """The dimension d of a draw, times the number of draws."""
        return self.draws * self.dim

    @property
    def structure(self) -> Items:
        """Independent draws of d numbers."""
        return Items(self.draws, self.dim, independent=True)

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Choose components and draw x for each θ, (n, d). The latents are the s_z, (n, draws)."""
        wide = torch.rand(len(theta), self.draws, generator=generator, dtype=theta.dtype) < 0.5
        scale = torch.where(wide, theta.new_tensor(WIDE), theta.new_tensor(NARROW)).unsqueeze(2)
        shape = (len(theta), self.draws, self.dim)
        noise = torch.randn(shape, generator=generator, dtype=theta.dtype)
        x = theta.unsqueeze(1) + scale * noise
        return Outcome(x.flatten(1), (noise / scale).sum(1), latents=scale.squeeze(2))

    def log_joint(self, theta: Tensor, x: Tensor, latents: Tensor) -> Tensor:
        """Return Σ log N(x; θ, s_z² I) up to a constant in θ, (n,), for latents s_z, (n, draws)."""
        return -(self._deviations(theta, x) / latents.unsqueeze(2)).square().sum((1, 2)) / 2

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the exact log p(x | θ), (n,), for θ (n, d) and x (n or 1, dim_x)."""
        return torch.logsumexp(self._log_terms(theta, x), 2).sum(1)

    def marginal_score(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return Σ Σ_z r_z (x − θ)/s_z², (n, d)."""
        precisions = torch.tensor([WIDE**-2, NARROW**-2], dtype=theta.dtype)
        mean_precision = torch.softmax(self._log_terms(theta, x), 2) @ precisions
        return (mean_precision.unsqueeze(2) * self._deviations(theta, x)).sum(1)

    def reference(self, x_o: Tensor) -> Reference:
        """Return the posterior of x_o, (dim_x,): the exact mixture, or draws if there are over 10 draws of x.

        Raises:
            ArithmeticError: there are over 10 draws of x, and the posterior has several modes.
        """
        if self.draws > MOST_ENUMERATED:
            return super().reference(x_o)
        x, eye = x_o.double().reshape(self.draws, self.dim), torch.eye(self.dim, dtype=torch.float64)
        precisions = torch.tensor([*product([WIDE**-2, NARROW**-2], repeat=self.draws)], dtype=torch.float64)
        total = 1 + precisions.sum(1)
        mean = precisions @ x / total.unsqueeze(1)
        quadratic = precisions @ x.square().sum(1) - total * mean.square().sum(1)
        log_evidence = -0.5 * (quadratic + self.dim * (total.log() - precisions.log().sum(1)))
        weights = torch.softmax(log_evidence, 0)
        components = [
            (weights[k], GaussianReference(mean[k], eye / total[k]))
            for k in (weights > LEAST_WEIGHT * weights.max()).nonzero()[:, 0].tolist()
        ]
        return MixtureReference(torch.stack([w for w, _ in components]), [c for _, c in components])

    def _deviations(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return x − θ for each draw, (n, draws, d)."""
        return x.reshape(-1, self.draws, self.dim) - theta.unsqueeze(1)

    def _log_terms(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return log ½ + log N(x; θ, s_z² I) for each draw and both z, (n, draws, 2)."""
        scales = torch.tensor([WIDE, NARROW], dtype=theta.dtype)
        distance = self._deviations(theta, x).square().sum(2, keepdim=True)
        normal = -distance / (2 * scales**2) - self.dim * (scales.log() + 0.5 * math.log(2 * math.pi))
        return normal + math.log(0.5)
