"""sbibm's task SLCP, a simple likelihood with a complex posterior, plain and among distractors."""

import math
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..prior import Uniform
from ..structure import Items, Structure, Vector
from ..task import Outcome
from .base import SbibmTask

POINTS = 4
JITTER = 1e-6
DISTRACTORS, COMPONENTS, DISTRACTORS_SEED = 92, 20, 42


class Slcp(SbibmTask):
    """Four draws of a Gaussian with unknown mean and covariance.

        θ ~ U(−3, 3)⁵,   x = four draws of N(m, S),   m = (θ₁, θ₂)
        S = [s₁² + ε, ρ s₁ s₂; ρ s₁ s₂, s₂² + ε],   s₁ = θ₃²,   s₂ = θ₄²,   ρ = tanh θ₅,   ε = 10⁻⁶

    Source: Lueckmann et al. 2021, task T.3.
    """

    name: ClassVar[str] = "sbibm_slcp"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "sbibm: four draws of a Gaussian whose mean and covariance are inferred."
    folder: ClassVar[str] = "slcp"
    prior = Uniform(-3.0, 3.0)
    dim_theta = 5
    dim_x = 2 * POINTS
    structure: ClassVar[Structure] = Items(POINTS, 2, independent=True)

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Draw the four points, side by side in a row of x, (n, 8)."""
        return self.without_latents(theta, _points(theta, generator))

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return Σ_j log N(x_j; m, S) over the four points, (n,), in float64."""
        first, second, covariance, determinant = _covariance(theta.double())
        centred = x.double().unflatten(1, (POINTS, 2)) - theta[:, None, :2]
        dx, dy = centred[:, :, 0], centred[:, :, 1]
        distance = (second * dx**2 - 2 * covariance * dx * dy + first * dy**2) / determinant
        return -(distance + determinant.log()).sum(1) / 2 - POINTS * math.log(2 * math.pi)


class SlcpDistractors(Slcp):
    """SLCP among 92 numbers without information, all 100 shuffled by a fixed permutation.

    The distractors are one draw of a fixed mixture of 20 multivariate Student-t with two degrees of freedom.
    Their density does not depend on θ, so it drops out of the score and the posterior. The mixture and the
    permutation come from numpy's generator with the seed 42, as in sbibm.

    Source: Lueckmann et al. 2021, task T.4.
    """

    name: ClassVar[str] = "sbibm_slcp_distractors"
    summary: ClassVar[str] = "sbibm: SLCP among 92 numbers that say nothing of the parameters, shuffled."
    observed: ClassVar[str] = "observation_distractors.csv"
    dim_x = 2 * POINTS + DISTRACTORS
    structure: ClassVar[Structure] = Vector(dim_x)

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Draw the points and the distractors, and shuffle them."""
        ordered = torch.cat([_points(theta, generator), _distractors(len(theta), generator)], 1)
        return self.without_latents(theta, ordered[:, mixture().order])

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return log p(x | θ) without the distractors' density, (n,)."""
        return super().log_likelihood(theta, x[:, mixture().order.argsort()[: 2 * POINTS]])


class Mixture(NamedTuple):
    """The law of the distractors.

    Attributes:
        locations: of the components, (20, 92).
        scales: triangular scale matrices, (20, 92, 92).
        order: the permutation of all numbers, (100,).
    """

    locations: Tensor
    scales: Tensor
    order: Tensor


@lru_cache(maxsize=1)
def mixture() -> Mixture:
    """Return the distractors' law, made as sbibm makes it."""
    random, d = np.random.RandomState(DISTRACTORS_SEED), DISTRACTORS
    locations = np.array([15 * random.normal(size=d) for _ in range(COMPONENTS)])
    scales = [
        np.tril(random.normal(size=(d, d))) + np.diag(np.exp(random.normal(size=d)))
        for _ in range(COMPONENTS)
    ]
    order = random.permutation(d + 2 * POINTS)
    return Mixture(*(torch.from_numpy(array) for array in (locations, 3 * np.array(scales), order)))


def _distractors(n: int, generator: torch.Generator) -> Tensor:
    """Draw from the mixture of Student-t, (n, 92)."""
    law = mixture()
    chosen = torch.randint(COMPONENTS, (n,), generator=generator)
    # Half of a chi-squared variable with two degrees of freedom is a standard exponential.
    half_chi = torch.empty(n, 1, dtype=torch.float64).exponential_(generator=generator)
    noise = torch.randn(n, DISTRACTORS, generator=generator, dtype=torch.float64) / half_chi.sqrt()
    drawn = torch.empty_like(noise)
    for component in range(COMPONENTS):
        rows = chosen == component
        drawn[rows] = law.locations[component] + noise[rows] @ law.scales[component].T
    return drawn


def _points(theta: Tensor, generator: torch.Generator) -> Tensor:
    """Draw the four points, (n, 8), by the Cholesky factor of S."""
    variance, _, covariance, determinant = _covariance(theta)
    noise = torch.randn(len(theta), POINTS, 2, generator=generator, dtype=theta.dtype)
    scale = variance.sqrt()
    first = scale * noise[:, :, 0]
    second = covariance / scale * noise[:, :, 0] + determinant.sqrt() / scale * noise[:, :, 1]
    return (theta[:, None, :2] + torch.stack([first, second], 2)).flatten(1)


def _covariance(theta: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return S₁₁, S₂₂, S₁₂ and det S, (n, 1) each.

    The determinant uses 1 − ρ² = 1/cosh² θ₅ to avoid cancellation.
    """
    first, second, twist = theta[:, 2:3] ** 4, theta[:, 3:4] ** 4, theta[:, 4:5]
    covariance = twist.tanh() * theta[:, 2:3] ** 2 * theta[:, 3:4] ** 2
    determinant = first * second / twist.cosh() ** 2 + JITTER * (first + second) + JITTER**2
    return first + JITTER, second + JITTER, covariance, determinant
