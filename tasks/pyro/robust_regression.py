"""A line through readings with outliers, a pyro model: noise whose precision differs from point to point.

    λ_i ~ Gamma(ν/2, ν/2),  x_i ~ N(a + b t_i, s²/λ_i),  i = 1, ..., 40,  θ = (a, b, log s),  ν = 4,

at equidistant t_i from −1 to 1. The prior is a, b ~ N(0, 1), log s ~ N(−1, ½²). With r_i = x_i − a − b t_i,

    joint score       (Σ λ_i r_i/s²,  Σ λ_i r_i t_i/s²,  Σ (λ_i r_i²/s² − 1))
    likelihood        p(x | θ) = Π_i St_ν(r_i/s)/s, Student's t with ν degrees of freedom

so that the marginal score has E[λ_i | x_i, θ] = (ν + 1)/(ν + r_i²/s²) in place of λ_i.
"""

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import StudentT

from ..likelihood import LikelihoodTask
from ..prior import Normal
from .model import PyroTask

POINTS, FREEDOM = 40, 4.0


class RobustRegression(LikelihoodTask, PyroTask):
    """Linear regression with Student-t noise as a scale mixture; see the module. It needs pyro."""

    name: ClassVar[str] = "robust_regression"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "A line with outliers: 40 latent precisions, written as a pyro model."
    prior = Normal(mean=(0.0, 0.0, -1.0), std=(1.0, 1.0, 0.5))
    dim_theta = 3
    dim_x = POINTS

    def model(self, theta: Tensor) -> None:
        """Draw a precision and a reading at each point."""
        import pyro
        from pyro import distributions as dist

        intercept, slope, log_scale = theta
        with pyro.plate("points", POINTS):
            precision = pyro.sample("precision", dist.Gamma(FREEDOM / 2, FREEDOM / 2))
            mean = intercept + slope * _design(theta)
            pyro.sample("x", dist.Normal(mean, torch.exp(log_scale) / precision.sqrt()))

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Give the Student-t log p(x | θ), for θ (n, 3) and x (n or 1, 40): (n,)."""
        intercept, slope, log_scale = theta.T.unsqueeze(2)
        mean = intercept + slope * _design(theta)
        return StudentT(FREEDOM, mean, torch.exp(log_scale)).log_prob(x).sum(1)


def _design(like: Tensor) -> Tensor:
    """Give the points t_i, (40,)."""
    return torch.linspace(-1, 1, POINTS, dtype=like.dtype)
