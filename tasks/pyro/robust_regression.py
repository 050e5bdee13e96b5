"""A line through readings with outliers, written as a pyro model."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import StudentT

from ..likelihood import LikelihoodTask
from ..prior import Normal
from ..structure import Items
from .model import PyroTask

POINTS, FREEDOM = 40, 4.0
AT = torch.linspace(-1, 1, POINTS, dtype=torch.float64)


class RobustRegression(LikelihoodTask, PyroTask):
    """Linear regression with Student-t noise, written as a scale mixture in pyro.

        λ_i ~ Gamma(ν/2, ν/2),   x_i ~ N(a + b t_i, s²/λ_i),   i = 1 … 40,   ν = 4,   θ = (a, b, log s)

    with equidistant t_i from −1 to 1. With r_i = x_i − a − b t_i,

        prior           a, b ~ N(0, 1),   log s ~ N(−1, ½²)
        joint score     Σ λ_i r_i/s²,   Σ λ_i r_i t_i/s²,   Σ (λ_i r_i²/s² − 1)
        likelihood      p(x | θ) = Π_i St_ν(r_i/s)/s, Student's t with ν degrees of freedom

    The marginal score has E[λ_i | x_i, θ] = (ν + 1)/(ν + r_i²/s²) in place of λ_i.
    """

    name: ClassVar[str] = "robust_regression"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "A line with outliers: 40 latent precisions, written as a pyro model."
    prior = Normal(mean=(0.0, 0.0, -1.0), std=(1.0, 1.0, 0.5))
    dim_theta = 3
    dim_x = POINTS
    structure = Items(POINTS, regressors=tuple(zip(AT.tolist(), strict=True)), independent=True)

    def model(self, theta: Tensor) -> None:
        """Draw a precision and a reading at each point."""
        import pyro
        from pyro import distributions as dist

        intercept, slope, log_scale = theta
        with pyro.plate("points", POINTS):
            precision = pyro.sample("precision", dist.Gamma(FREEDOM / 2, FREEDOM / 2))
            mean = intercept + slope * AT
            pyro.sample("x", dist.Normal(mean, torch.exp(log_scale) / precision.sqrt()))

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the Student-t log p(x | θ), (n,), for θ (n, 3) and x (n or 1, 40)."""
        intercept, slope, log_scale = theta.T.unsqueeze(2)
        mean = intercept + slope * AT
        return StudentT(FREEDOM, mean, torch.exp(log_scale)).log_prob(x).sum(1)
