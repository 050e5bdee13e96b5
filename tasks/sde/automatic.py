"""SDEs from two functions of (x, θ): the derivatives and the factor come from automatic differentiation."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.func import jvp

from ..errors import UserError
from .sde import SDE, Coefficients, CorrelatedNoise, IndependentNoise, cholesky

Function = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class AutomaticSDE(SDE):
    """dX = f(X, θ) dt + Q(X, θ) dW, with f and Q as functions.

    Both functions take states x, (..., D), and parameters θ, (..., d), with the same batch dimensions. They
    use PyTorch and work for any batch dimensions, and for none. Derivatives in x are computed in the forward
    mode, and remain differentiable in θ and x.

    Args:
        drift: returns f, which broadcasts to (..., D).
        diffusion: returns the scales of independent noise, which broadcast to (..., D), or a matrix Q,
            (..., D, m) with m ≥ D. Σ is diag(scales²) or Q Qᵀ; it must be positive definite.
        theta: the parameters, (..., d); their batch dimensions broadcast with those of x.
        dim: D.

    Raises:
        UserError: while coefficients are computed, if a function returns another shape.
    """

    drift: Function
    diffusion: Function
    theta: Tensor
    dim: int

    @property
    def parameters(self) -> Tensor:
        return self.theta

    @cached_property
    def constant_covariance(self) -> bool:  # type: ignore[override]
        """Whether `diffusion` computes its result without x."""
        return not self._noise[1]

    @property
    def independent(self) -> bool:
        """Whether `diffusion` returns scales, and not a matrix."""
        return self._noise[0] < 2

    @cached_property
    def _noise(self) -> tuple[int, bool]:
        """The dimensions of Q at a state without batch dimensions, and whether x is part of its graph."""
        theta = self.theta.detach().reshape(-1, self.theta.shape[-1])[0]
        with torch.enable_grad():
            zero = torch.zeros(self.dim, dtype=theta.dtype, requires_grad=True)
            at_zero = self.evaluate("diffusion", zero, theta)
        return at_zero.ndim, at_zero.requires_grad

    def evaluate(self, name: str, x: Tensor, theta: Tensor) -> Tensor:
        """Return the result of the function `name`."""
        value = getattr(self, name)(x, theta)
        if not isinstance(value, Tensor):
            kind = type(value).__name__
            raise UserError(f"{name}(x, theta) must return a tensor, but returns a {kind}.")
        return value

    def at(self, x: Tensor) -> Coefficients:
        batch = torch.broadcast_shapes(x.shape[:-1], self.theta.shape[:-1])
        states, theta = x.expand(*batch, -1), self.theta.expand(*batch, -1)
        return (Scales if self.independent else Matrix)(self, states, theta)


class AutomaticCoefficients(Coefficients):
    """The coefficients of an `AutomaticSDE` at states x, each computed when it is first used.

        (div Σ)_i = Σ_j ∂_j Σ_ij,    c = ½ Σ_ij ∂_i ∂_j Σ_ij − div f = div (½ div Σ − f)

    Args:
        sde: the model.
        x: states, (..., D).
        theta: parameters with the same batch dimensions, (..., d).
    """

    def __init__(self, sde: AutomaticSDE, x: Tensor, theta: Tensor) -> None:
        self.sde, self.x, self.theta = sde, x, theta

    @cached_property
    def drift(self) -> Tensor:  # type: ignore[override]
        return _shaped("drift", self.sde.evaluate("drift", self.x, self.theta), self.x.shape)

    @cached_property
    def divergence(self) -> Tensor:  # type: ignore[override]
        if self.sde.constant_covariance:
            return torch.zeros_like(self.x)
        slopes = self._slopes(lambda here: here.covariance)
        # Independent noise has the one Σ_ii for each direction i; otherwise row i has a Σ_ij for each j.
        if self.sde.independent:
            return slopes.diagonal(dim1=-2, dim2=-1)
        return slopes.diagonal(dim1=-3, dim2=-1).sum(-1)

    @cached_property
    def second_order(self) -> Tensor:  # type: ignore[override]
        if self.sde.constant_covariance:
            slopes = self._slopes(lambda here: -here.drift)
        else:
            slopes = self._slopes(lambda here: 0.5 * here.divergence - here.drift)
        return slopes.diagonal(dim1=-2, dim2=-1).sum(-1)

    @cached_property
    def covariance(self) -> Tensor:
        """The variances (..., D) of independent noise, or the matrix Σ, (..., D, D)."""
        raise NotImplementedError

    def _slopes(self, field: Callable[["AutomaticCoefficients"], Tensor]) -> Tensor:
        """Return the derivatives of a field, (..., *), along each axis, (..., D, *)."""
        dim = self.x.shape[-1]
        copies = self.x.unsqueeze(-2).expand(*self.x.shape, dim).contiguous()
        axes = torch.eye(dim, dtype=self.x.dtype).expand_as(copies).contiguous()
        theta = self.theta.unsqueeze(-2).expand(*self.x.shape, -1)
        return jvp(lambda x: field(type(self)(self.sde, x, theta)), (copies,), (axes,))[1]


class Scales(AutomaticCoefficients, IndependentNoise):
    """Independent noise: Σ = diag(scale²)."""

    @cached_property
    def scale(self) -> Tensor:  # type: ignore[override]
        return _shaped("diffusion", self.sde.evaluate("diffusion", self.x, self.theta), self.x.shape)

    @cached_property
    def covariance(self) -> Tensor:
        return self.scale.square()


class Matrix(AutomaticCoefficients, CorrelatedNoise):
    """Correlated noise: Σ = Q Qᵀ. The factor is NaN where Σ is not positive definite."""

    columns = 1

    @cached_property
    def covariance(self) -> Tensor:
        q = self.sde.evaluate("diffusion", self.x, self.theta)
        q = _shaped("diffusion", q, (*self.x.shape, *q.shape[-1:]))
        return q @ q.mT

    @property
    def kernel(self) -> Tensor:  # type: ignore[override]
        return self.covariance

    @cached_property
    def factor(self) -> Tensor:  # type: ignore[override]
        return cholesky(self.covariance)


def _shaped(name: str, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the result of a function, expanded to a shape."""
    try:
        return value.expand(shape)
    except RuntimeError:
        raise UserError(
            f"{name}(x, theta) must return shape {tuple(shape)} for these x, or one that broadcasts to it, "
            f"but returns {tuple(value.shape)}."
        ) from None
