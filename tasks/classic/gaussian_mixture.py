"""A discrete latent and two scales: one draw from a mixture of a wide and a narrow Gaussian around θ."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from ..plugin import require_whole
from ..prior import Normal
from ..reference import GaussianReference, MixtureReference, Reference
from ..task import Outcome, Task

WIDE, NARROW = 1.0, 0.1


class GaussianMixture(Task):
    """One draw from a wide or a narrow Gaussian around θ.

        θ ~ N(0, I),   z uniform on {wide, narrow},   x ~ N(θ, s_z² I),   s = 1 or 0.1

        joint score       (x − θ)/s_z²
        marginal score    Σ_z r_z (x − θ)/s_z², with the responsibilities r_z of the two components for x
        posterior         a mixture of N(x/(1 + s_z²), s_z²/(1 + s_z²) I) with weights N(x; 0, (1 + s_z²) I)

    Args:
        dim: the number d of parameters and of data, at least 1.
    """

    name: ClassVar[str] = "gaussian_mixture"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "One draw from a wide or a narrow Gaussian: a discrete latent, two scales."
    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score", "marginal_score", "reference"})
    prior = Normal()

    dim: int = 2

    def __post_init__(self) -> None:
        require_whole("task gaussian_mixture: dim", self.dim, 1)

    @property
    def dim_theta(self) -> int:
        """The dimension d."""
        return self.dim

    @property
    def dim_x(self) -> int:
        """The dimension d."""
        return self.dim

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Choose a component and draw x for each θ, (n, d). The latent is s_z, (n, 1)."""
        wide = torch.rand(len(theta), 1, generator=generator, dtype=theta.dtype) < 0.5
        scale = torch.where(wide, theta.new_tensor(WIDE), theta.new_tensor(NARROW))
        noise = torch.randn(theta.shape, generator=generator, dtype=theta.dtype)
        return Outcome(theta + scale * noise, noise / scale, latents=scale)

    def log_joint(self, theta: Tensor, x: Tensor, latents: Tensor) -> Tensor:
        """Return log N(x; θ, s_z² I) up to a constant in θ, (n,), for latents s_z, (n, 1)."""
        return -((x - theta) / latents).square().sum(1) / 2

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the exact log p(x | θ), (n,), for θ and x (n, d)."""
        return torch.logsumexp(self._log_terms(theta, x), 1)

    def marginal_score(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return Σ_z r_z (x − θ)/s_z², (n, d)."""
        precisions = torch.tensor([WIDE**-2, NARROW**-2], dtype=theta.dtype)
        mean_precision = torch.softmax(self._log_terms(theta, x), 1) @ precisions
        return mean_precision.unsqueeze(1) * (x - theta)

    def reference(self, x_o: Tensor) -> Reference:
        """Return the exact posterior of x_o, (d,), a mixture of two Gaussians."""
        x, eye = x_o.double(), torch.eye(self.dim, dtype=torch.float64)
        variances = torch.tensor([WIDE**2, NARROW**2], dtype=torch.float64)
        log_evidence = -0.5 * (x.square().sum() / (1 + variances) + self.dim * torch.log1p(variances))
        components = [GaussianReference(x / (1 + v), v / (1 + v) * eye) for v in variances]
        return MixtureReference(torch.softmax(log_evidence, 0), components)

    def _log_terms(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return log ½ + log N(x; θ, s_z² I) for both z, (n, 2)."""
        scales = torch.tensor([WIDE, NARROW], dtype=theta.dtype)
        distance = (x - theta).square().sum(1, keepdim=True)
        normal = -distance / (2 * scales**2) - self.dim * (scales.log() + 0.5 * math.log(2 * math.pi))
        return normal + math.log(0.5)
