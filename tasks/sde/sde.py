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

from ..errors import UserError


class TimeGrid(NamedTuple):
    """K steps from time 0 to T, of equal length unless `at` made the grid.

    Attributes:
        duration: T.
        steps: K.
        uneven: the clock, if the steps differ; otherwise empty.
    """

    duration: float
    steps: int
    uneven: tuple[float, ...] = ()

    @property
    def clock(self) -> Sequence[float]:
        """The times t_0 … t_K in units of T/K: 0 … K if the steps are equal."""
        return self.uneven or range(self.steps + 1)

    @property
    def times(self) -> Tensor:
        """The times t_0 … t_K, (K + 1,)."""
        return torch.tensor(self.clock, dtype=torch.float64) * self._unit

    @property
    def lengths(self) -> Tensor:
        """The lengths t_{k+1} − t_k of the steps, (K,)."""
        return torch.tensor(self.clock, dtype=torch.float64).diff() * self._unit

    @property
    def dt(self) -> float:
        """The length of each step.

        Raises:
            UserError: the steps differ.
        """
        if self.uneven:
            raise UserError(
                "time grid: this needs steps of equal length, but they differ: use TimeGrid(T, K)."
            )
        return self._unit

    @property
    def mirrored(self) -> "TimeGrid":
        """The grid of the times T − t_k, in increasing order."""
        return self._replace(uneven=tuple(self.steps - t for t in reversed(self.uneven)))

    @property
    def _unit(self) -> float:
        return self.duration / self.steps

    def time(self, k: int) -> float:
        """Return t_k."""
        return self.clock[k] * self._unit

    def step(self, k: int) -> float:
        """Return t_{k+1} − t_k."""
        return (self.clock[k + 1] - self.clock[k]) * self._unit

    def repeated(self, m: int) -> "TimeGrid":
        """Return the grid of m such grids, one after the other."""
        rounds = (i * self.steps + t for i in range(m) for t in self.uneven[1:])
        uneven = (0.0, *rounds) if self.uneven else ()
        return TimeGrid(m * self.duration, m * self.steps, uneven)

    @staticmethod
    def at(times: Sequence[float]) -> "TimeGrid":
        """Return the grid of the times 0 = t_0 < t_1 < … < t_K = T.

        The clock is rounded to 12 decimals, so that equidistant times make the grid `TimeGrid(T, K)`.

        Raises:
            UserError: there are fewer than 2 steps, or the times do not increase from 0.
        """
        duration, steps = float(times[-1]) if len(times) else 0.0, len(times) - 1
        if steps < 2:
            raise UserError(
                f"time grid: there must be 3 times or more, from 0 to T, but there are {steps + 1}."
            )
        if times[0] != 0 or not 0 < duration < math.inf:
            raise UserError(
                f"time grid: times must go from 0 to a finite T above 0, not from {times[0]} to {duration}."
            )
        clock = tuple(round(float(t) * steps / duration, 12) for t in times)
        for k, (before, after) in enumerate(pairwise(clock), 1):
            if not before < after:
                raise UserError(
                    f"time grid: times must increase, but time {k} is {times[k]} after {times[k - 1]}."
                )
        return TimeGrid(duration, steps, () if clock == tuple(range(steps + 1)) else clock)

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

    def log_normal(self, deviation: Tensor, dt: float | Tensor) -> Tensor:
        """Return log N(deviation; 0, Σ dt), (...), for deviations (..., D) and dt that broadcasts."""
        squared = self.whiten(deviation).square().sum(-1) / dt
        log_variance = torch.as_tensor(2 * math.pi * dt, dtype=torch.float64).log()
        return -0.5 * squared - self.half_log_det - deviation.shape[-1] / 2 * log_variance


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
    """Run the Euler-Maruyama scheme, X_{k+1} = X_k + f(X_k) dt + √dt L(X_k) ε_k, dt = t_{k+1} − t_k.

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
    for k, eps in enumerate(noise):
        here, dt = sde.at(x), grid.step(k)
        x = x + here.drift * dt + math.sqrt(dt) * here.colour(eps)
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
    here, dt = sde.at(before), grid.lengths
    return here.log_normal(after - before - here.drift * dt.unsqueeze(-1), dt).sum(-1)
