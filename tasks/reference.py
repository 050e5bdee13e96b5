"""Reference posteriors p(u | x_o) and their scores after diffusion: Gaussian, mixture and grid."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .errors import UserError
from .seeding import derive_seed, generator

ROWS_AT_ONCE = 64


class Reference(ABC):
    """The posterior of one observation, exact or nearly exact.

    Diffusion turns a draw u_0 ~ p(u | x_o) into u_t = α u_0 + σ ε with ε ~ N(0, I); p_t is the law of u_t.
    All tensors are float64.

    Attributes:
        effective_size: number of independent draws that `sample` chooses from; infinite for densities.
    """

    effective_size: float = math.inf

    @abstractmethod
    def sample(self, n: int, seed: int) -> Tensor:
        """Draw n samples from p(u | x_o), (n, d)."""

    @abstractmethod
    def diffused_score(self, u_t: Tensor, alpha: float, sigma: float) -> Tensor:
        """Return ∇ log p_t(u_t | x_o), (n, d), for u_t (n, d), α and σ > 0."""

    def diffused_score_error(self, u_t: Tensor, alpha: float, sigma: float) -> float:
        """Estimate the error σ² E‖s − ∇ log p_t‖²/d of `diffused_score` s over points u_t, (n, d)."""
        return 0.0

    def log_prob(self, u: Tensor) -> Tensor:
        """Return the normalised log p(u | x_o), (...), for u (..., d).

        Raises:
            NotImplementedError: the reference has no density.
        """
        raise NotImplementedError(f"{type(self).__name__} has no log_prob")


class GaussianReference(Reference):
    """N(m, C) for a mean m (d,) and a covariance C (d, d).

    The diffused score is −(α² C + σ² I)⁻¹ (u_t − α m).
    """

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        self.mean = mean.to(torch.float64)
        self.covariance = covariance.to(torch.float64)

    def sample(self, n: int, seed: int) -> Tensor:
        factor, info = torch.linalg.cholesky_ex(self.covariance)
        if info:
            raise UserError("the reference has no spread in some direction: its covariance is not positive.")
        noise = torch.randn(n, len(self.mean), generator=generator(seed), dtype=torch.float64)
        return self.mean + noise @ factor.T

    def diffused(self, alpha: float, sigma: float) -> "GaussianReference":
        """Return the law of u_t, N(α m, α² C + σ² I)."""
        noise = sigma**2 * torch.eye(len(self.mean), dtype=torch.float64)
        return GaussianReference(alpha * self.mean, alpha**2 * self.covariance + noise)

    def diffused_score(self, u_t: Tensor, alpha: float, sigma: float) -> Tensor:
        law = self.diffused(alpha, sigma)
        return -torch.linalg.solve(law.covariance, (u_t - law.mean).T).T

    def log_prob(self, u: Tensor) -> Tensor:
        normal = torch.distributions.MultivariateNormal(self.mean, self.covariance)
        return normal.log_prob(u)


class MixtureReference(Reference):
    """A mixture of K Gaussians, Σ_k w_k N(m_k, C_k).

    The diffused score is Σ_k r_k s_k, where s_k are the scores of the diffused components and r_k their
    responsibilities for u_t.

    Args:
        weights: positive numbers proportional to w_k, (K,).
        components: the K Gaussians.
    """

    def __init__(self, weights: Tensor, components: Sequence[GaussianReference]) -> None:
        self.log_weights = torch.log_softmax(weights.to(torch.float64).log(), 0)
        self.components = list(components)

    def sample(self, n: int, seed: int) -> Tensor:
        random = generator(derive_seed(seed, "component"))
        chosen = torch.multinomial(self.log_weights.exp(), n, replacement=True, generator=random)
        draws = [c.sample(n, derive_seed(seed, k)) for k, c in enumerate(self.components)]
        return torch.stack(draws)[chosen, torch.arange(n)]

    def diffused_score(self, u_t: Tensor, alpha: float, sigma: float) -> Tensor:
        diffused = [c.diffused(alpha, sigma) for c in self.components]
        scores = torch.stack([c.diffused_score(u_t, alpha, sigma) for c in self.components])
        responsibilities = torch.softmax(self._log_terms(diffused, u_t), 0)
        return (responsibilities.unsqueeze(-1) * scores).sum(0)

    def log_prob(self, u: Tensor) -> Tensor:
        return torch.logsumexp(self._log_terms(self.components, u), 0)

    def _log_terms(self, components: Sequence[GaussianReference], u: Tensor) -> Tensor:
        """Return log w_k + log N_k(u), (K, ...), for u (..., d)."""
        terms = zip(self.log_weights, components, strict=True)
        return torch.stack([log_weight + component.log_prob(u) for log_weight, component in terms])


class GridReference(Reference):
    """A one-dimensional density, given by its unnormalised logarithm on an equidistant grid.

    The diffused score is (α E[u_0 | u_t] − u_t)/σ², with the expectation by the trapezoid rule on the grid.
    The rule integrates a Gaussian kernel of width σ with a relative error of 2 exp(−2π²σ²/step²): 5e-9 for a
    step equal to the smallest σ(t) in use, and below rounding for half that step.

    Args:
        grid: points, ascending and equidistant, (G,).
        log_density: log p(u | x_o) + constant at the points, (G,).
    """

    def __init__(self, grid: Tensor, log_density: Tensor) -> None:
        step = float(grid[1] - grid[0])
        self.grid = grid
        self.log_density = log_density - torch.logsumexp(log_density, 0) - math.log(step)
        density = self.log_density.exp().numpy()
        cumulative = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * step)])
        self._cumulative = cumulative / cumulative[-1]

    def sample(self, n: int, seed: int) -> Tensor:
        uniform = torch.rand(n, generator=generator(seed), dtype=torch.float64)
        return torch.from_numpy(np.interp(uniform, self._cumulative, self.grid)).unsqueeze(1)

    def diffused_score(self, u_t: Tensor, alpha: float, sigma: float) -> Tensor:
        means = [
            torch.softmax(self.log_density - (rows - alpha * self.grid) ** 2 / (2 * sigma**2), 1) @ self.grid
            for rows in u_t.split(ROWS_AT_ONCE)
        ]
        return (alpha * torch.cat(means).unsqueeze(1) - u_t) / sigma**2

    def log_prob(self, u: Tensor) -> Tensor:
        values = np.interp(u[..., 0], self.grid, self.log_density, left=-np.inf, right=-np.inf)
        return torch.as_tensor(values)
