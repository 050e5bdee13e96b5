"""Diffusions dX = f(X) dt + Q(X) dW with Σ = Q Qᵀ, and their Euler-Maruyama scheme.

    X_{k+1} = X_k + f(X_k) dt + √dt L(X_k) ε_k,    Σ = L Lᵀ,  dt = T/K
    log p(path) = Σ_k log N(X_{k+1}; X_k + f(X_k) dt, Σ(X_k) dt)

What a model says of a state x are its `Coefficients` there, with any number of leading batch dimensions:

    f, Σ v, L ε, L⁻¹ v, Σ⁻¹ v, ½ log det Σ,
    (div Σ)_i = Σ_j ∂_j Σ_ij,        c = ½ Σ_ij ∂_i ∂_j Σ_ij − div f

The parameters of a model are tensors that broadcast against the batch dimensions of x, and everything is
differentiable in the parameters and in x. All in float64.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
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


class Coefficients(ABC):
    """The coefficients of a diffusion at states x of shape (..., D).

    Attributes:
        drift: f(x), (..., D).
        divergence: div Σ(x), (..., D).
        second_order: c(x), (...).
        half_log_det: ½ log det Σ(x), (...).
        kernel: k with Σ = k ⊗ I_m, (..., n, n), n m = D.
    """

    drift: Tensor
    kernel: Tensor
    divergence: Tensor
    second_order: Tensor
    half_log_det: Tensor

    @abstractmethod
    def as_rows(self, v: Tensor) -> Tensor:
        """Unflatten v (..., D) to (..., n, m)."""

    @abstractmethod
    def times(self, v: Tensor) -> Tensor:
        """Give Σ v for v (..., D)."""

    @abstractmethod
    def colour(self, eps: Tensor) -> Tensor:
        """Give L ε for ε (..., D)."""

    @abstractmethod
    def whiten(self, v: Tensor) -> Tensor:
        """Give L⁻¹ v for v (..., D)."""

    @abstractmethod
    def solve(self, v: Tensor) -> Tensor:
        """Give Σ⁻¹ v for v (..., D)."""

    def log_normal(self, deviation: Tensor, dt: float) -> Tensor:
        """Give log N(deviation; 0, Σ dt) for deviations (..., D): (...)."""
        squared = self.whiten(deviation).square().sum(-1) / dt
        dim = deviation.shape[-1]
        return -0.5 * squared - self.half_log_det - dim / 2 * math.log(2 * math.pi * dt)


@dataclass(frozen=True)
class DiagonalCoefficients(Coefficients):
    """Σ = diag(scale²); the fields broadcast to (..., D), `second_order` to (...)."""

    drift: Tensor
    scale: Tensor
    divergence: Tensor
    second_order: Tensor

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


class SDE(ABC):
    """A diffusion with known coefficients.

    Attributes:
        constant_covariance: Σ does not depend on x.
    """

    constant_covariance: ClassVar[bool]

    @abstractmethod
    def at(self, x: Tensor) -> Coefficients:
        """Give the coefficients at states x, (..., D)."""

    def log_transition(self, x_0: Tensor, x: Tensor, t: float) -> Tensor:
        """Give the exact log p(X_t = x | X_0 = x_0), (...), where it is known in closed form."""
        raise NotImplementedError(f"{type(self).__name__} has no transition density in closed form")


def euler_path(sde: SDE, x_0: Tensor, grid: TimeGrid, noise: Tensor) -> Tensor:
    """Run the Euler-Maruyama scheme.

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
    """Give log p(X_1 … X_K | X_0) of the scheme for paths (..., K + 1, D): (...).

    The parameters of the model broadcast against (..., K): they end in a dimension of 1 for the steps.
    """
    before, after = path[..., :-1, :], path[..., 1:, :]
    here = sde.at(before)
    return here.log_normal(after - before - here.drift * grid.dt, grid.dt).sum(-1)
