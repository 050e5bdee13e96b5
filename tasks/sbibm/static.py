"""The tasks of sbibm without time: Gaussians, a mixture, Bernoulli regression and the two moons."""

import math
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..prior import CorrelatedNormal, Normal, Uniform
from ..structure import Items
from ..task import Outcome
from .base import SbibmFiles, SbibmTask

VARIANCE = 0.1
WIDE, NARROW = 1.0, 0.1
FILTER, DURATION = 9, 100
OFFSET_PRECISION = 0.5
STIMULUS_SEED = 42
RADIUS, RADIUS_STD, CENTRE = 0.1, 0.01, 0.25


class GaussianLinear(SbibmTask):
    """The mean of a Gaussian under a Gaussian prior.

        θ ~ N(0, 0.1 I₁₀),   x ~ N(θ, 0.1 I₁₀)

    Source: Lueckmann et al. 2021, task T.1.
    """

    name: ClassVar[str] = "sbibm_gaussian_linear"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "sbibm: the mean of a Gaussian in 10 dimensions, Gaussian prior."
    folder: ClassVar[str] = "gaussian_linear"
    prior = Normal(std=math.sqrt(VARIANCE))
    dim_theta = 10
    dim_x = 10

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Draw x ~ N(θ, 0.1 I), (n, 10)."""
        noise = torch.randn(theta.shape, generator=generator, dtype=theta.dtype)
        return self.without_latents(theta, theta + math.sqrt(VARIANCE) * noise)

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return log N(x; θ, 0.1 I), (n,)."""
        return _log_normal(x, theta, math.sqrt(VARIANCE))


class GaussianLinearUniform(GaussianLinear):
    """The mean of a Gaussian under a uniform prior.

        θ ~ U(−1, 1)¹⁰,   x ~ N(θ, 0.1 I₁₀)

    Source: Lueckmann et al. 2021, task T.2.
    """

    name: ClassVar[str] = "sbibm_gaussian_linear_uniform"
    summary: ClassVar[str] = "sbibm: the mean of a Gaussian in 10 dimensions, uniform prior."
    folder: ClassVar[str] = "gaussian_linear_uniform"
    prior = Uniform(-1.0, 1.0)  # type: ignore[assignment]


class GaussianMixture(SbibmTask):
    """The mean of a wide or a narrow Gaussian under a uniform prior; the component is latent.

        θ ~ U(−10, 10)²,   x ~ ½ N(θ, I₂) + ½ N(θ, 0.01 I₂)

    Source: Lueckmann et al. 2021, task T.7.
    """

    name: ClassVar[str] = "sbibm_gaussian_mixture"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "sbibm: the mean of a wide or a narrow Gaussian; a discrete latent."
    folder: ClassVar[str] = "gaussian_mixture"
    prior = Uniform(-10.0, 10.0)
    dim_theta = 2
    dim_x = 2

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Choose a component and draw x for each θ; the joint score is (x − θ)/s²."""
        wide = torch.rand(len(theta), generator=generator, dtype=theta.dtype) < 0.5
        scale = torch.where(wide, theta.new_tensor(WIDE), theta.new_tensor(NARROW)).unsqueeze(1)
        noise = torch.randn(theta.shape, generator=generator, dtype=theta.dtype)
        return Outcome(theta + scale * noise, noise / scale, latents=wide)

    def log_joint(self, theta: Tensor, x: Tensor, latents: Any) -> Tensor:
        """Return log p(x, component | θ), (n,)."""
        return torch.where(latents, _log_normal(x, theta, WIDE), _log_normal(x, theta, NARROW)) - math.log(2)

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the logarithm of the mean of the two densities, (n,)."""
        terms = torch.logaddexp(_log_normal(x, theta, WIDE), _log_normal(x, theta, NARROW))
        return terms - math.log(2)


def _smooth_prior() -> CorrelatedNormal:
    """Return sbibm's prior of the offset and the filter, with precisions ½ and Fᵀ F.

    F = D² + diag(√(i/9), i = 0 … 8), with the matrix D of first differences.
    """
    eye, shifted = torch.eye(FILTER, dtype=torch.float64), torch.ones(FILTER - 1, dtype=torch.float64)
    differences = eye - torch.diag(shifted, -1)
    root = torch.arange(FILTER, dtype=torch.float64).div(FILTER).sqrt()
    smooth = differences @ differences + torch.diag(root)
    covariance = torch.block_diag(
        torch.tensor([[1 / OFFSET_PRECISION]], dtype=torch.float64), torch.linalg.inv(smooth.T @ smooth)
    )
    factor = torch.linalg.cholesky(covariance)
    return CorrelatedNormal((0.0,) * (FILTER + 1), tuple(tuple(row) for row in factor.tolist()))


@lru_cache(maxsize=1)
def design_matrix() -> Tensor:
    """Return V, (100, 10): a column of ones, and sbibm's stimulus delayed by 0 … 8 steps."""
    noise = np.random.RandomState(STIMULUS_SEED).randn(DURATION).astype(np.float32)
    stimulus = torch.from_numpy(noise).double()
    delayed = [torch.nn.functional.pad(stimulus, (lag, 0))[:DURATION] for lag in range(FILTER)]
    return torch.stack([torch.ones(DURATION, dtype=torch.float64), *delayed], 1)


class BernoulliGlm(SbibmTask):
    """Bernoulli regression on a stimulus, with the sufficient statistic as data.

        y_t ~ Bernoulli(sigmoid((V θ)_t)),   t = 1 … 100,   x = Vᵀ y
        log p(y | θ) = θᵀ Vᵀ y − Σ_t log(1 + exp((V θ)_t))

    θ holds an offset and a filter of 9 weights over the last values of one stimulus, 100 fixed draws of white
    noise, which fill V. The prior is normal and penalises second differences of the filter. Given Vᵀ y, the
    law of y does not depend on θ, so posterior and score are the same with y as data, see `BernoulliGlmRaw`.

    Source: Lueckmann et al. 2021, task T.5.
    """

    name: ClassVar[str] = "sbibm_bernoulli_glm"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "sbibm: Bernoulli regression on a stimulus, sufficient statistic, 10 weights."
    folder: ClassVar[str] = "bernoulli_glm"
    prior = _smooth_prior()
    dim_theta = FILTER + 1
    dim_x = FILTER + 1

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Draw y and return Vᵀ y, (n, 10)."""
        return self.without_latents(theta, _outcomes(theta, generator) @ design_matrix())

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return log p(y | θ), (n,), for any y with Vᵀ y = x.

        It is log p(x | θ) up to a constant, the logarithm of the number of such y.
        """
        failures = torch.nn.functional.logsigmoid(-theta @ design_matrix().T)
        return (theta * x.double()).sum(1) + failures.sum(1)


class BernoulliGlmRaw(BernoulliGlm):
    """Bernoulli regression on a stimulus, with the 100 outcomes as data.

        x_t = y_t ~ Bernoulli(sigmoid((V θ)_t)),   t = 1 … 100

    Prior and V are the same as in `BernoulliGlm`.

    Source: Lueckmann et al. 2021, task T.6.
    """

    name: ClassVar[str] = "sbibm_bernoulli_glm_raw"
    summary: ClassVar[str] = "sbibm: Bernoulli regression on a stimulus, all 100 outcomes, 10 weights."
    observed: ClassVar[str] = "observation_raw.csv"
    dim_x = DURATION
    structure = Items(
        DURATION, regressors=tuple(map(tuple, design_matrix()[:, 1:].tolist())), independent=True
    )

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Draw y, (n, 100)."""
        return self.without_latents(theta, _outcomes(theta, generator))

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return log p(y | θ), (n,)."""
        return super().log_likelihood(theta, x.double() @ design_matrix())


class TwoMoons(SbibmFiles):
    """The two moons, for methods that need no score.

        θ ~ U(−1, 1)²,   z = θ rotated by −45°,   a ~ U(−π/2, π/2),   r ~ N(0.1, 0.01²)
        x = (r cos a + ¼ − |z₀|, r sin a + z₁)

    The task has no score: p(x | θ) drops to zero at an edge that moves with θ, so E[∇ log p(x | θ)] = 0 and
    Fisher's identity do not hold.

    Source: Lueckmann et al. 2021, task T.8.
    """

    name: ClassVar[str] = "sbibm_two_moons"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = (
        "sbibm: a posterior of two crescents; no scores, as its density has a moving edge."
    )
    capabilities: ClassVar[frozenset[str]] = frozenset({"reference"})
    folder: ClassVar[str] = "two_moons"
    prior = Uniform(-1.0, 1.0)
    dim_theta = 2
    dim_x = 2

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Draw a point of the half-circle and shift it, for each θ, (n, 2)."""
        angle = math.pi * (torch.rand(len(theta), generator=generator, dtype=theta.dtype) - 0.5)
        radius = RADIUS + RADIUS_STD * torch.randn(len(theta), generator=generator, dtype=theta.dtype)
        across = (theta[:, 0] + theta[:, 1]) / math.sqrt(2)
        along = (theta[:, 1] - theta[:, 0]) / math.sqrt(2)
        x = (radius * angle.cos() + CENTRE - across.abs(), radius * angle.sin() + along)
        return Outcome(torch.stack(x, 1))


def _outcomes(theta: Tensor, generator: torch.Generator) -> Tensor:
    """Draw y for each θ, (n, 100)."""
    probability = torch.sigmoid(theta @ design_matrix().T)
    uniform = torch.rand(probability.shape, generator=generator, dtype=theta.dtype)
    return (uniform < probability).to(theta.dtype)


def _log_normal(x: Tensor, mean: Tensor, scale: float) -> Tensor:
    """Return log N(x; mean, scale² I), (n,)."""
    constant = mean.shape[1] * (math.log(scale) + math.log(2 * math.pi) / 2)
    return -((x.double() - mean) / scale).square().sum(1) / 2 - constant
