"""Weighted points of a posterior, drawn in rounds from densities that are fitted to the points before."""

import math
from dataclasses import dataclass

import torch
from scipy.stats import multivariate_t
from torch import Tensor

from ...tasks.importance import FREEDOM, draw_student_t, weighted_moments
from ...tasks.seeding import generator
from .likelihood import Estimate

FARTHEST = 7.0  # prior standard deviations


@dataclass(frozen=True)
class WeightedPoints:
    """Weighted points of the posterior for one observation.

    Attributes:
        u: the points (J, d).
        log_weights: log W, not normalised (J,).
        estimate: the likelihood at each point, fields (J,).
    """

    u: Tensor
    log_weights: Tensor
    estimate: Estimate

    @property
    def effective_size(self) -> float:
        """The effective sample size 1/Σ_j W_j² of the normalised weights."""
        return 1 / float(torch.softmax(self.log_weights, 0).square().sum())

    def draw(self, n: int, seed: int) -> Tensor:
        """Draw n points (n, d) in proportion to W by systematic resampling, in random order."""
        random = generator(seed)
        shift = torch.rand((), generator=random, dtype=torch.float64)
        levels = (torch.randperm(n, generator=random) + shift) / n
        reached = torch.softmax(self.log_weights, 0).cumsum(0)
        return self.u[torch.searchsorted(reached, levels).clamp_max(len(self.u) - 1)]


class Mixture:
    """The densities from which points are drawn, one after another: the prior N(0, I), then Student-t's.

    A Student-t has 5 degrees of freedom, and the weighted mean m and covariance C of all points before:

        scale = (1 − a) C + a I,    a = 1/(1 + ESS)

    so that the prior counts as one point. The weights W of a point come from the mixture of all densities, in
    proportion to the numbers n_k of their points, J in all:

        W_j ∝ N(u_j; 0, I) p̂(x_o | u_j) / Σ_k (n_k/J) q_k(u_j)

    While no likelihood is finite, points are drawn from the prior.

    Sources: Cappé et al., Population Monte Carlo, 2004; Cornuet et al., Adaptive multiple importance
    sampling, 2012.

    Args:
        dim: number d of parameters.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.numbers: list[int] = []
        self.fitted: list[tuple[Tensor, Tensor] | None] = []  # mean and scale, or None for the prior
        self.next: tuple[Tensor, Tensor] | None = None

    def draw(self, n: int, seed: int) -> Tensor:
        """Draw n points (n, d) from the density that was fitted last."""
        self.fitted.append(self.next)
        self.numbers.append(n)
        if self.next is None:
            return torch.randn(n, self.dim, generator=generator(seed), dtype=torch.float64)
        return draw_student_t(*self.next, n, seed)[0]

    def weigh(self, u: Tensor, estimate: Estimate) -> WeightedPoints:
        """Return all points drawn so far (J, d) with their weights."""
        log_prior = -0.5 * u.square().sum(1) - self.dim / 2 * math.log(2 * math.pi)
        densities = [log_prior if each is None else _log_student_t(u, *each) for each in self.fitted]
        shares = torch.tensor(self.numbers, dtype=torch.float64) / len(u)
        drawn_from = torch.logsumexp(torch.stack(densities) + shares.log().unsqueeze(1), 0)
        log_weights = log_prior + estimate.value - drawn_from
        log_weights[u.abs().amax(1) > FARTHEST] = -math.inf
        return WeightedPoints(u, log_weights, estimate)

    def fit(self, points: WeightedPoints) -> None:
        """Fit the density of the next points."""
        if points.log_weights.isfinite().any():
            mean, covariance = weighted_moments(points.u, points.log_weights)
            share = 1 / (1 + points.effective_size)
            self.next = mean, (1 - share) * covariance + share * torch.eye(self.dim, dtype=torch.float64)


def _log_student_t(u: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return the log-density (J,) of the Student-t at points (J, d)."""
    values = multivariate_t(mean.numpy(), scale.numpy(), FREEDOM).logpdf(u.numpy())
    return torch.from_numpy(values).reshape(len(u))
