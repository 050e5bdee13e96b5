"""The likelihood of a shape: of landmarks whose position, orientation and size tell nothing.

The diffusion moves a shape as a whole, too, the more the larger ℓ is; alignment has taken that movement out
of the data. The density of aligned landmarks in all their D = nm dimensions therefore finds a and ℓ too
small. Here their place is integrated out: with g y = e^s y R + τ, over all g = (τ, R, s),

    p(shape of y | x_0) = ∫ p(X_T = g y | X_0 = x_0) e^{(D − m) s} dτ dR ds
                        ≈ mean over n of w_n e^{(D − m) s_n} / q(g_n),   one bridge from x_0 to each g_n y

up to a factor that depends on y alone, so that likelihoods of one y compare. dR is Haar's measure; R = exp Ω.
With sizes kept, s = 0. The places are drawn from the normal approximation at g = 1, with g y ≈ y + B c,
c = (τ, Ω, s), Σ = Σ(x_0):

    q(c) = N(−P⁻¹ Bᵀ(TΣ)⁻¹(y − x_0), P⁻¹),   P = Bᵀ(TΣ)⁻¹B

Ω with |Ω| ≤ π gives every rotation once, and so those that are drawn beyond weigh nothing.

How y was aligned makes no difference to this, but for the size it was given. Nor do position and
orientation of x_0, nor its size where s is free, as a, ℓ and x_0 in another unit give the same shapes: to
find a diffusion mean they are held where a reference has them, by a penalty that is 0 there.

Source: integrating the similarity transformations out is I. L. Dryden and K. V. Mardia's marginal approach to
shape densities, Statistical Shape Analysis, 2nd edition, Wiley 2016.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from ...tasks.sde.sde import SDE
from ...tasks.seeding import derive_seed, generator
from .inference import Likelihood
from .likelihood import Estimate, average
from .proposals import Bridges

SMALL = 1e-8  # an angle below which sin(x)/x is 1


@dataclass(frozen=True)
class ShapeLikelihood(Likelihood):
    """The summed log-likelihood of shapes; see the module.

    Args:
        dimensions: m.
        keep_size: size is not integrated out.
        reference: where the position, orientation and size of x_0 are held, (D,), or None where x_0 is given.
        slack: how far x_0 may be from there: the standard deviation of the penalty.
    """

    dimensions: int
    keep_size: bool
    reference: Tensor | None = None
    slack: float = 1.0

    def __call__(self, theta: Tensor, x_0: Tensor) -> Estimate:
        sde, shape = self.make(theta), self.y.shape[:-1]
        normals, uniforms = self.sampler.noise(self.grid, shape, self.y.shape[-1], self.seed)
        placed, log_density = self._placed(sde, x_0)
        # Each bridge has an end of its own: a pair with one particle.
        start = x_0 if x_0.dim() == 1 else x_0.unsqueeze(-2)
        drawn = self.sampler.bridges(sde, start, placed, self.grid, (normals.unsqueeze(-2), uniforms))
        log_weights = drawn.log_weights.squeeze(-1) - log_density
        origins = torch.arange(self.sampler.particles).expand(log_weights.shape)
        found = average(Bridges(log_weights, origins, None, torch.zeros(shape)))
        return found._replace(value=found.value - self._penalty(x_0) / len(self.y))

    def _placed(self, sde: SDE, x_0: Tensor) -> tuple[Tensor, Tensor]:
        """Give each end point in N places, (M, N, D), and log q less log e^{(D − m)s} and Haar's, (M, N)."""
        m = self.dimensions
        directions = self._directions(self.y)
        solved = sde.at(x_0).solve(directions) / self.grid.duration
        precision = solved @ directions.mT
        back = (x_0 if x_0.dim() > 1 else x_0.unsqueeze(0)) - self.y.unsqueeze(-2)
        pulled = (solved @ back.mT).squeeze(-1)
        factor = torch.linalg.cholesky(precision)
        centre = torch.cholesky_solve(pulled.unsqueeze(-1), factor).squeeze(-1)
        random = generator(derive_seed(self.seed, "places"))
        size = (len(self.y), self.sampler.particles, directions.shape[-2])
        noise = torch.randn(size, generator=random, dtype=torch.float64)
        spread = torch.linalg.solve_triangular(factor.mT, noise.mT, upper=True).mT
        place = centre.unsqueeze(-2) + spread
        half_log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        log_q = half_log_det - 0.5 * noise.square().sum(-1) - size[-1] / 2 * math.log(2 * math.pi)
        turn = place[..., m : m + m * (m - 1) // 2]
        grown = torch.zeros_like(log_q) if self.keep_size else place[..., -1]
        points = self.y.unflatten(-1, (-1, m)).unsqueeze(-3) @ torch.matrix_exp(_generator(turn, m))
        moved = grown.exp()[..., None, None] * points + place[..., None, :m]
        return moved.flatten(-2), log_q - (self.y.shape[-1] - m) * grown - _log_haar(turn, m)

    def _directions(self, y: Tensor) -> Tensor:
        """Give B: how landmarks y (..., D) move with their place, (..., q, D)."""
        points = y.unflatten(-1, (-1, self.dimensions))
        units = torch.eye(self.dimensions, dtype=torch.float64)
        moves = [unit.expand_as(points) for unit in units]
        for i, j in combinations(range(self.dimensions), 2):
            moves.append(points[..., [i]] * units[j] - points[..., [j]] * units[i])
        if not self.keep_size:
            moves.append(points)
        return torch.stack([move.flatten(-2) for move in moves], -2)

    def _penalty(self, x_0: Tensor) -> Tensor | float:
        if self.reference is None:
            return 0.0
        directions = self._directions(self.reference)
        directions = directions / directions.norm(dim=-1, keepdim=True)
        return 0.5 * (directions @ (x_0 - self.reference)).square().sum() / self.slack**2


def _generator(turn: Tensor, m: int) -> Tensor:
    """Give the skew-symmetric Ω (..., m, m) with y Ω = Σ ω_ij (y_i e_j − y_j e_i)."""
    omega = torch.zeros((*turn.shape[:-1], m, m), dtype=torch.float64)
    for k, (i, j) in enumerate(combinations(range(m), 2)):
        unit = torch.zeros((m, m), dtype=torch.float64)
        unit[i, j], unit[j, i] = 1.0, -1.0
        omega = omega + turn[..., k, None, None] * unit
    return omega


def _log_haar(turn: Tensor, m: int) -> Tensor:
    """Give log of the density of Haar's measure in Ω: 1 in the plane, (2 sin(|ω|/2)/|ω|)² in space.

    It is −∞ where |ω| > π, since these rotations have been counted within.
    """
    squared = turn.square().sum(-1)
    once = squared <= math.pi**2
    if m == 2:
        log_density = torch.zeros_like(squared)
    else:
        half = 0.5 * (torch.where(once, squared, 0.0) + SMALL).sqrt()
        log_density = 2 * (half.sin() / half).log()
    return torch.where(once, log_density, -math.inf)
