"""A linear Gaussian model with everything in closed form, in any dimension."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import UserError
from ..plugin import require_flag, require_whole
from ..prior import Normal
from ..reference import GaussianReference, Reference
from ..seeding import derive_seed, generator
from ..structure import Items
from ..task import Outcome, Task

NOISE = 0.3


class LinearGaussian(Task):
    """Linear Gaussian latents and data: n independent draws of x, one after another in a row.

        θ ~ N(0, I),   z = A θ + τ ε₁,   x = B z + τ ε₂,   ε₁, ε₂ ~ N(0, I),   τ = 0.3

        joint score       ∇_θ log p(x, z | θ) = Σ Aᵀ (z − A θ)/τ²
        marginal score    ∇_θ log p(x | θ) = Σ (B A)ᵀ C⁻¹ (x − B A θ),   C = τ² (B Bᵀ + I)
        posterior         N(m, S),   S = (I + n (B A)ᵀ C⁻¹ B A)⁻¹,   m = S (B A)ᵀ C⁻¹ Σ x

    The sums run over the draws.

    A = diag(s) Qᵀ has singular values s from √`spread` down to 1/√`spread` in equal ratios. With a large
    spread, the data determine some directions of θ well and others badly. These directions are the axes, or
    the rows of a fixed random rotation Qᵀ with `rotated`. B = I + ½ N, with N_{i,i+1} = 1, couples
    neighbouring components of z.

    Args:
        dim: the number d of parameters, and of latents and data of a draw, at least 1.
        spread: the ratio of the largest to the smallest singular value of A, at least 1.
        rotated: rotate the directions of different scale away from the axes.
        draws: the number n of draws with the same θ, at least 1.
    """

    name: ClassVar[str] = "linear_gaussian"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = (
        "Linear Gaussian latents and data: everything is a closed form, at any dimension."
    )
    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score", "marginal_score", "reference"})
    items_option: ClassVar[str | None] = "draws"
    prior = Normal()

    dim: int = 2
    spread: float = 1.0
    rotated: bool = False
    draws: int = 1

    def __post_init__(self) -> None:
        require_whole("task linear_gaussian: dim", self.dim, 1)
        require_whole("task linear_gaussian: draws", self.draws, 1)
        if not self.spread >= 1:
            raise UserError(f"task linear_gaussian: spread must be at least 1, but is {self.spread}.")
        require_flag("task linear_gaussian: rotated", self.rotated)

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
        """Draw z, (n, draws, d), and x for each θ, (n, d)."""
        model, shape = _model(self), (len(theta), self.draws, self.dim)
        first, second = (NOISE * torch.randn(shape, generator=generator, dtype=theta.dtype) for _ in range(2))
        z = (theta @ model.into_z.T).unsqueeze(1) + first
        x = z @ model.into_x.T + second
        return Outcome(x.flatten(1), first.sum(1) @ model.into_z / NOISE**2, latents=z)

    def log_joint(self, theta: Tensor, x: Tensor, latents: Tensor) -> Tensor:
        """Return log N(z; A θ, τ² I) up to a constant, (n,); x depends on θ only through z."""
        mean = (theta @ _model(self).into_z.T).unsqueeze(1)
        return -(latents - mean).square().sum((1, 2)) / (2 * NOISE**2)

    def marginal_score(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return Σ (B A)ᵀ C⁻¹ (x − B A θ), (n, d)."""
        model = _model(self)
        return (self._total(x) - self.draws * (theta @ model.mean_of_x.T)) @ model.gain.T

    def reference(self, x_o: Tensor) -> Reference:
        """Return the exact posterior N(m, S) of x_o, (dim_x,)."""
        model = _model(self)
        mean = model.covariance @ model.gain @ self._total(x_o.double())
        return GaussianReference(mean, model.covariance)

    def _total(self, x: Tensor) -> Tensor:
        """Return the sum of the draws, (..., d)."""
        return x.unflatten(-1, (self.draws, self.dim)).sum(-2)


@dataclass(frozen=True)
class _Model:
    """The matrices A, B, B A, (B A)ᵀ C⁻¹ and S of a task."""

    into_z: Tensor
    into_x: Tensor
    mean_of_x: Tensor
    gain: Tensor
    covariance: Tensor


@lru_cache(maxsize=8)
def _model(task: LinearGaussian) -> _Model:
    d, eye = task.dim, torch.eye(task.dim, dtype=torch.float64)
    scales = task.spread ** torch.linspace(0.5, -0.5, d, dtype=torch.float64)
    into_z = torch.diag(scales)
    if task.rotated:
        random = generator(derive_seed("linear_gaussian", "rotation", d))
        into_z = into_z @ torch.linalg.qr(torch.randn(d, d, generator=random, dtype=torch.float64)).Q.T
    into_x = eye + 0.5 * torch.diag(torch.ones(d - 1, dtype=torch.float64), 1)
    mean_of_x = into_x @ into_z
    noise = NOISE**2 * (into_x @ into_x.T + eye)
    gain = torch.linalg.solve(noise, mean_of_x).T
    covariance = torch.linalg.inv(eye + task.draws * gain @ mean_of_x)
    return _Model(into_z, into_x, mean_of_x, gain, covariance)
