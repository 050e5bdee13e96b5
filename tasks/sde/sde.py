"""Diffusions dX = f(X) dt + Q(X) dW with Σ = Q Qᵀ, and their Euler-Maruyama scheme. All float64."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor


class TimeGrid(NamedTuple):
    """K steps of equal length from time 0 to T."""

    duration: float
    steps: int

    @property
    def dt(self) -> float:
        return self.duration / self.steps

    @staticmethod
    def between(times: Sequence[float], steps: int) -> tuple["TimeGrid", ...]:
        """Return the grids of the intervals from 0 to the first time, and from each time to the next.

        Durations are rounded to 12 decimals, so that equidistant times make equal grids.
        """
        return tuple(TimeGrid(round(t - s, 12), steps) for s, t in pairwise([0.0, *times]))


class Coefficients(ABC):
    """The coefficients of a diffusion at states x of shape (..., D). L is a factor of Σ = L Lᵀ.

    Attributes:
        drift: f(x), (..., D).
        divergence: (div Σ)_i = Σ_j ∂_j Σ_ij, (..., D).
        second_order: c = ½ Σ_ij ∂_i ∂_j Σ_ij − div f, (...).
        half_log_det: ½ log det Σ(x), (...).
        kernel: k with Σ = k ⊗ I_m, (..., n, n), where n m = D.
    """

    drift: Tensor
    kernel: Tensor
    divergence: Tensor
    second_order: Tensor
    half_log_det: Tensor

    @abstractmethod
    def as_rows(self, v: Tensor) -> Tensor:
        """Return v, (..., D), as (..., n, m)."""

    @abstractmethod
    def times(self, v: Tensor) -> Tensor:
        """Return Σ v for v (..., D)."""

    @abstractmethod
    def colour(self, eps: Tensor) -> Tensor:
        """Return L ε for ε (..., D)."""

    @abstractmethod
    def whiten(self, v: Tensor) -> Tensor:
        """Return L⁻¹ v for v (..., D)."""

    @abstractmethod
    def solve(self, v: Tensor) -> Tensor:
        """Return Σ⁻¹ v for v (..., D)."""

    def log_normal(self, deviation: Tensor, dt: float) -> Tensor:
        """Return log N(deviation; 0, Σ dt), (...), for deviations (..., D)."""
        squared = self.whiten(deviation).square().sum(-1) / dt
        dim = deviation.shape[-1]
        return -0.5 * squared - self.half_log_det - dim / 2 * math.log(2 * math.pi * dt)


class IndependentNoise(Coefficients):
    """Coefficients for Σ = diag(scale²).

    Attributes:
        scale: broadcasts to (..., D).
    """

    scale: Tensor

    @property
    def half_log_det(self) -> Tensor:  # type: ignore[override]
        return self.scale.abs().log().sum(-1)

    @property
    def kernel(self) -> Tensor:  # type: ignore[override]
        return torch.diag_embed(self.scale.square())

    def as_rows(self, v: Tensor) -> Tensor:
        return v.unsqueeze(-1)

    def times(self, v: Tensor) -> Tensor:
        return self.scale.square() * v

    def colour(self, eps: Tensor) -> Tensor:
        return self.scale * eps

    def whiten(self, v: Tensor) -> Tensor:
        return v / self.scale

    def solve(self, v: Tensor) -> Tensor:
        return v / self.scale.square()


@dataclass(frozen=True)
class DiagonalCoefficients(IndependentNoise):
    """Coefficients for Σ = diag(scale²). Fields broadcast to (..., D), `second_order` to (...)."""

    drift: Tensor
    scale: Tensor
    divergence: Tensor
    second_order: Tensor


class CorrelatedNoise(Coefficients):
    """Coefficients for Σ = k ⊗ I_m.

    Attributes:
        factor: the Cholesky factor of k, (..., n, n).
        columns: m.
    """

    factor: Tensor
    columns: int

    @cached_property
    def half_log_det(self) -> Tensor:  # type: ignore[override]
        return self.columns * self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def as_rows(self, v: Tensor) -> Tensor:
        return v.unflatten(-1, (-1, self.columns))

    def times(self, v: Tensor) -> Tensor:
        return (self.kernel @ self.as_rows(v)).flatten(-2)

    def colour(self, eps: Tensor) -> Tensor:
        return (self.factor @ self.as_rows(eps)).flatten(-2)

    def whiten(self, v: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.factor, self.as_rows(v), upper=False).flatten(-2)

    def solve(self, v: Tensor) -> Tensor:
        return torch.cholesky_solve(self.as_rows(v), self.factor).flatten(-2)


class SDE(ABC):
    """A diffusion with known coefficients.

    Its parameters are tensors that broadcast with the batch dimensions of x. Everything is differentiable in
    the parameters and in x.

    Attributes:
        constant_covariance: whether Σ is the same at every x.
    """

    constant_covariance: ClassVar[bool]

    @abstractmethod
    def at(self, x: Tensor) -> Coefficients:
        """Return the coefficients at states x, (..., D)."""

    @property
    def parameters(self) -> Tensor:
        """The p parameters, (..., p): the tensor fields of the dataclass in order, broadcast together.

        Raises:
            NotImplementedError: the SDE is not a dataclass.
        """
        if not is_dataclass(self):
            raise NotImplementedError(f"{type(self).__name__} is not a dataclass: define its `parameters`")
        values = [getattr(self, field.name) for field in fields(self)]
        tensors = [value for value in values if isinstance(value, Tensor)]
        return torch.stack(torch.broadcast_tensors(*tensors), -1)

    def log_transition(self, x_0: Tensor, x: Tensor, t: float) -> Tensor:
        """Return log p(X_t = x | X_0 = x_0), (...).

        Raises:
            NotImplementedError: the density has no closed form.
        """
        raise NotImplementedError(f"{type(self).__name__} has no transition density in closed form")


def cholesky(matrix: Tensor) -> Tensor:
    """Return lower Cholesky factors of matrices (..., n, n), NaN for those not positive definite."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    return torch.where((info == 0)[..., None, None], factor, math.nan)


def euler_path(sde: SDE, x_0: Tensor, grid: TimeGrid, noise: Tensor) -> Tensor:
    """Run the Euler-Maruyama scheme, X_{k+1} = X_k + f(X_k) dt + √dt L(X_k) ε_k.

    Args:
        sde: the model.
        x_0: the start, broadcasts to (..., D).
        grid: the steps.
        noise: standard normal ε, (K, ..., D).

    Returns:
        The path with its start, (..., K + 1, D).
    """
    x = x_0.expand(noise.shape[1:])
    path = [x]
    for eps in noise:
        here = sde.at(x)
        x = x + here.drift * grid.dt + math.sqrt(grid.dt) * here.colour(eps)
        path.append(x)
    return torch.stack(path, -2)


def log_euler_path(sde: SDE, path: Tensor, grid: TimeGrid) -> Tensor:
    """Return the log-density of paths under the scheme, Σ_k log N(X_{k+1}; X_k + f(X_k) dt, Σ(X_k) dt).

    Args:
        sde: the model; its parameters broadcast with (..., K), so they end in a dimension of 1 for the steps.
        path: paths with their start, (..., K + 1, D).
        grid: the steps.

    Returns:
        log p(X_1 … X_K | X_0), (...).
    """
    before, after = path[..., :-1, :], path[..., 1:, :]
    here = sde.at(before)
    return here.log_normal(after - before - here.drift * grid.dt, grid.dt).sum(-1)
