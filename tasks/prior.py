"""Priors, written as bijections θ = T(u) of a standard normal u, and the chain rule for scores."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import UserError

Numbers = float | Sequence[float]


class Prior(ABC):
    """A prior, written as a bijection θ = T(u) of a standard normal u ~ N(0, I_d).

    Methods learn in u, where the prior score is exactly −u. Scores and densities change variables by

        ∇_u log p(u, ·) = −u + (∂θ/∂u)ᵀ ∇_θ log p(· | θ),    log p(θ) = log p(u) − log |det ∂θ/∂u|.

    Maps keep a floating dtype, and convert whole numbers to float64. Parameters of a prior that are single
    numbers apply to all d components.
    """

    @abstractmethod
    def to_theta(self, u: Tensor) -> Tensor:
        """Return θ = T(u), (..., d), for u (..., d)."""

    @abstractmethod
    def to_u(self, theta: Tensor) -> Tensor:
        """Return u = T⁻¹(θ), (..., d), for θ (..., d)."""

    @abstractmethod
    def pull_back(self, u: Tensor, score: Tensor) -> Tensor:
        """Return (∂θ/∂u)ᵀ s, (..., d), for a gradient s with respect to θ, (..., d)."""

    def score_in_u(self, u: Tensor, score: Tensor) -> Tensor:
        """Return the score in u, −u + (∂θ/∂u)ᵀ s, for s = ∇_θ log p(· | θ); all (..., d)."""
        return self.pull_back(u, score) - u

    def push_forward(self, log_prob: Callable[[Tensor], Tensor], theta: Tensor) -> Tensor:
        """Return log p(θ), (...), for θ (..., d); −∞ outside the prior's support.

        Args:
            log_prob: a function that returns log p(u), (...), for u (..., d). It is never called outside the
                support.
            theta: θ, (..., d).
        """
        u = self.to_u(theta)
        inside = torch.isfinite(u).all(-1)
        u = torch.where(inside.unsqueeze(-1), u, torch.zeros_like(u))
        return torch.where(inside, log_prob(u) - self.log_det(u), -math.inf)

    def log_det(self, u: Tensor) -> Tensor:
        """Return log |det ∂θ/∂u|, (...), by pulling back the unit vectors of θ."""
        units = torch.eye(u.shape[-1], dtype=u.dtype, device=u.device)
        rows = [self.pull_back(u, unit.expand_as(u)) for unit in units]
        return torch.linalg.slogdet(torch.stack(rows, -2)).logabsdet


@dataclass(frozen=True)
class Normal(Prior):
    """Independent normals, θ_i ~ N(μ_i, σ_i²).

    T(u) = μ + σ u and (∂θ/∂u)ᵀ s = σ s.

    Args:
        mean: μ, a number or d numbers.
        std: σ, a number or d numbers, above 0.
    """

    mean: Numbers = 0.0
    std: Numbers = 1.0

    def __post_init__(self) -> None:
        _require_positive("Normal prior", "std", self.std)

    def to_theta(self, u: Tensor) -> Tensor:
        return _like(self.mean, u) + _like(self.std, u) * u

    def to_u(self, theta: Tensor) -> Tensor:
        return (theta - _like(self.mean, theta)) / _like(self.std, theta)

    def pull_back(self, u: Tensor, score: Tensor) -> Tensor:
        return _like(self.std, u) * score


@dataclass(frozen=True)
class LogNormal(Prior):
    """Independent log-normals, log θ_i ~ N(μ_i, σ_i²).

    T(u) = exp(μ + σ u) and (∂θ/∂u)ᵀ s = σ θ s.

    Args:
        mean: μ, a number or d numbers.
        std: σ, a number or d numbers, above 0.
    """

    mean: Numbers = 0.0
    std: Numbers = 1.0

    def __post_init__(self) -> None:
        _require_positive("LogNormal prior", "std", self.std)

    def to_theta(self, u: Tensor) -> Tensor:
        return torch.exp(_like(self.mean, u) + _like(self.std, u) * u)

    def to_u(self, theta: Tensor) -> Tensor:
        return (torch.log(_real(theta)) - _like(self.mean, theta)) / _like(self.std, theta)

    def pull_back(self, u: Tensor, score: Tensor) -> Tensor:
        return _like(self.std, u) * self.to_theta(u) * score


@dataclass(frozen=True)
class Uniform(Prior):
    """Independent uniforms, θ_i ~ U(low_i, high_i).

    T(u) = low + (high − low) Φ(u) and (∂θ/∂u)ᵀ s = (high − low) φ(u) s.

    Args:
        low: a number or d numbers.
        high: a number or d numbers, above `low`.
    """

    low: Numbers
    high: Numbers

    def __post_init__(self) -> None:
        _require_positive("Uniform prior", "high - low", (_like(self.high) - _like(self.low)).tolist())

    def to_theta(self, u: Tensor) -> Tensor:
        return _like(self.low, u) + self._width(u) * torch.special.ndtr(_real(u))

    def to_u(self, theta: Tensor) -> Tensor:
        return torch.special.ndtri((theta - _like(self.low, theta)) / self._width(theta))

    def pull_back(self, u: Tensor, score: Tensor) -> Tensor:
        return self._width(u) * torch.exp(-0.5 * _real(u) ** 2) / math.sqrt(2 * math.pi) * score

    def _width(self, like: Tensor) -> Tensor:
        return _like(self.high, like) - _like(self.low, like)


@dataclass(frozen=True)
class CorrelatedNormal(Prior):
    """A multivariate normal, θ ~ N(μ, L Lᵀ).

    T(u) = μ + L u and (∂θ/∂u)ᵀ s = Lᵀ s.

    Args:
        mean: μ, d numbers.
        factor: L, lower-triangular with a positive diagonal, d rows of d numbers.
    """

    mean: tuple[float, ...]
    factor: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        factor, d = _like(self.factor), len(self.mean)
        if factor.shape != (d, d) or not torch.equal(factor, factor.tril()):
            raise UserError(f"CorrelatedNormal prior: factor must be lower-triangular, of shape ({d}, {d}).")
        _require_positive("CorrelatedNormal prior", "diagonal", factor.diagonal().tolist())

    def to_theta(self, u: Tensor) -> Tensor:
        return _like(self.mean, u) + _real(u) @ _like(self.factor, u).T

    def to_u(self, theta: Tensor) -> Tensor:
        centred = theta - _like(self.mean, theta)
        solved = torch.linalg.solve_triangular(_like(self.factor, theta), centred.unsqueeze(-1), upper=False)
        return solved.squeeze(-1)

    def pull_back(self, u: Tensor, score: Tensor) -> Tensor:
        return score @ _like(self.factor, u)


def _like(value: object, tensor: Tensor | None = None) -> Tensor:
    dtype, device = (torch.float64, None) if tensor is None else (_real(tensor).dtype, tensor.device)
    return torch.as_tensor(value, dtype=dtype, device=device)


def _real(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_floating_point() else tensor.double()


def _require_positive(owner: str, field: str, value: object) -> None:
    if not bool((_like(value) > 0).all()):
        raise UserError(f"{owner}: {field} must be above 0, but is {value}.")
