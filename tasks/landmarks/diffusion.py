"""The diffusion of landmarks in 2-D or 3-D by a Gaussian kernel."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from ..sde.sde import SDE, CorrelatedNoise, cholesky


class LandmarkCoefficients(CorrelatedNoise):
    """The coefficients of `LandmarkDiffusion` at landmarks x. Only the n × n matrix k is factorised.

    Args:
        x: positions, (..., n, m).
        kernel: k with its nugget, (..., n, n).
        length: ℓ, broadcasts to (..., 1, 1).
        velocity: the drift, broadcasts to (..., D).
    """

    def __init__(self, x: Tensor, kernel: Tensor, length: Tensor, velocity: Tensor | float = 0.0) -> None:
        self.positions, self.kernel, self.length = x, kernel, length
        self.columns = x.shape[-1]
        self.drift = torch.zeros_like(x).flatten(-2) + velocity

    @cached_property
    def factor(self) -> Tensor:  # type: ignore[override]
        return cholesky(self.kernel)

    @cached_property
    def divergence(self) -> Tensor:  # type: ignore[override]
        return self.weighted_differences(self.kernel)

    @cached_property
    def second_order(self) -> Tensor:  # type: ignore[override]
        m, squared_length = self.positions.shape[-1], self.length.square()
        terms = self.kernel * (m - squared_distances(self.positions) / squared_length) / squared_length
        return 0.5 * (terms.sum((-2, -1)) - terms.diagonal(dim1=-2, dim2=-1).sum(-1))

    def weighted_differences(self, weights: Tensor) -> Tensor:
        """Return Σ_j w_ij (x_i − x_j)/ℓ², flattened to (..., D), for w (..., n, n)."""
        moved = weights.sum(-1, keepdim=True) * self.positions - weights @ self.positions
        return (moved / self.length.square()).flatten(-2)


@dataclass(frozen=True)
class LandmarkDiffusion(SDE):
    """A diffusion of n landmarks in R^m that move together; the state X is flattened to D = n m.

        dX = L(X) dW,   Σ(X) = k(X) ⊗ I_m,   k_ij = a² (exp(−|x_i − x_j|²/(2 ℓ²)) + nugget δ_ij),   k = L Lᵀ
        (div Σ)_i = Σ_j k_ij (x_i − x_j)/ℓ²,   c = ½ Σ_{i≠j} k_ij (m/ℓ² − |x_i − x_j|²/ℓ⁴)

    Close landmarks move together and never pass through each other. a is the distance that a landmark moves
    until time 1; ℓ is the range within which others move with it.

    Source: Boserup et al., arXiv 2411.08993.

    Args:
        log_a: log of the amplitude a, broadcasts with the batch dimensions of x.
        log_length: log of the length-scale ℓ, likewise.
        dimensions: m, 2 or 3.
        nugget: the addition to the diagonal, in units of a².
    """

    log_a: Tensor
    log_length: Tensor
    dimensions: int
    nugget: float

    constant_covariance: ClassVar[bool] = False

    def at(self, x: Tensor) -> LandmarkCoefficients:
        return self._coefficients(x, 0.0)

    def _coefficients(self, x: Tensor, velocity: Tensor | float) -> LandmarkCoefficients:
        positions = x.unflatten(-1, (-1, self.dimensions))
        length = self.log_length.exp()[..., None, None]
        amplitude = (2 * self.log_a).exp()[..., None, None]
        diagonal = self.nugget * torch.eye(positions.shape[-2], dtype=x.dtype)
        shape = torch.exp(-0.5 * squared_distances(positions) / length.square())
        return LandmarkCoefficients(positions, amplitude * (shape + diagonal), length, velocity)


@dataclass(frozen=True)
class DriftingLandmarks(LandmarkDiffusion):
    """A diffusion of landmarks with a trend: dX = v dt + L(X) dW, with the rest as in `LandmarkDiffusion`.

    Args:
        velocity: v (..., D), the same at every x and at all times.
    """

    velocity: Tensor

    @property
    def parameters(self) -> Tensor:
        """(log a, log ℓ, v), (..., 2 + D)."""
        return torch.cat([torch.stack([self.log_a, self.log_length], -1), self.velocity], -1)

    def at(self, x: Tensor) -> LandmarkCoefficients:
        return self._coefficients(x, self.velocity)


def squared_distances(x: Tensor) -> Tensor:
    """Return |x_i − x_j|², (..., n, n), for positions (..., n, m)."""
    centred = x - x.mean(-2, keepdim=True)
    squares = centred.square().sum(-1)
    # As |x_i|² + |x_j|² − 2 x_i·x_j, four times as fast as by the (..., n, n, m) differences.
    return squares.unsqueeze(-1) + squares.unsqueeze(-2) - 2 * centred @ centred.mT
