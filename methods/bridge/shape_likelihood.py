"""The likelihood of a shape: of landmarks up to translation, rotation and, if wanted, scale."""

import math
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from ...tasks.landmarks.procrustes import rigid_moves
from ...tasks.sde.sde import SDE, Coefficients, cholesky
from ...tasks.seeding import derive_seed, generator
from .inference import Likelihood
from .likelihood import Estimate, average
from .proposals import Bridges

SMALL = 1e-8  # added to squared angles, to avoid 0/0 in sin(x)/x


@dataclass(frozen=True)
class ShapeLikelihood(Likelihood):
    """The log-likelihood of shapes: translation, rotation and scale are integrated out.

    The diffusion of landmarks also moves shapes as a whole, and more so for larger ℓ. Alignment removes this
    movement from the data, so the density of aligned landmarks in all D = n m dimensions underestimates a and
    ℓ. Here the transformations g y = e^s y R + τ are integrated out, with Haar's measure dR:

        p(shape of y | x_0) = ∫ p(X_T = g y | X_0 = x_0) e^{(D − m) s} dτ dR ds
                            ≈ mean over n of w_n e^{(D − m) s_n} / q(g_n)

    with w_n the weight of one bridge from x_0 to g_n y. The result omits a factor that depends only on y, so
    likelihoods of different y are not comparable. If `keep_size`, s = 0. The proposal q is the normal
    approximation at g = 1, where g y ≈ y + B c with c = (τ, Ω, s), R = exp Ω, f = f(x_0) and Σ = Σ(x_0):

        q(c) = N(−P⁻¹ Bᵀ (TΣ)⁻¹ (y − x_0 − T f), P⁻¹),    P = Bᵀ (TΣ)⁻¹ B

    Each rotation has one Ω with |Ω| ≤ π; other draws have weight 0.

    The result does not depend on how y was aligned, except for its size. It does not depend on the position
    and orientation of x_0 either, nor on its size if s is free: a, ℓ and x_0 in another unit give the same
    shapes. To find a diffusion mean, `reference` holds them by a penalty that is 0 at the reference.

    Args:
        make, y, grid, sampler, seed: see `Likelihood`.
        dimensions: number m of coordinates of a landmark, 2 or 3.
        keep_size: True does not integrate the size out.
        reference: landmarks (D,) that hold the position, orientation and size of x_0; None for a fixed x_0.
        slack: standard deviation of the penalty, in units of x_0.

    Source: the marginal approach to shape densities of Dryden and Mardia, Statistical Shape Analysis, 2nd
    edition, Wiley 2016.
    """

    dimensions: int
    keep_size: bool
    reference: Tensor | None = None
    slack: float = 1.0

    def estimate(self, theta: Tensor, x_0: Tensor, rows: slice, noise: tuple[Tensor, ...]) -> Estimate:
        """Estimate log p(shape of y_m | x_0, θ) for end points of some rows, less a share of the penalty."""
        sde, shape = self.make(theta), self.y[rows].shape[:-1]
        normals, uniforms, places = noise
        placed, log_density = self._placed(sde, x_0, self.y[rows], places[rows])
        # Each bridge has its own end: a pair with one particle.
        start = x_0 if x_0.dim() == 1 else x_0.unsqueeze(-2)
        sampler = self.settled(theta, x_0).sampler
        own = normals[:, rows].unsqueeze(-2), uniforms[:, rows]
        drawn = sampler.bridges(sde, start, placed, self.grid, own, base=self.base)
        log_weights = drawn.log_weights.squeeze(-1) - log_density
        origins = torch.arange(self.sampler.particles).expand(log_weights.shape)
        found = average(Bridges(log_weights, origins, None, torch.zeros(shape), drawn.lost.sum(-1)))
        return found._replace(value=found.value - self._penalty(x_0) / len(self.y))

    def noise(self) -> tuple[Tensor, ...]:
        """Draw the noise of all end points: that of the bridges, and normals (M, N, q) of transformations."""
        random = generator(derive_seed(self.seed, "places"))
        size = (len(self.y), self.sampler.particles, self._directions(self.y).shape[-2])
        return *super().noise(), torch.randn(size, generator=random, dtype=torch.float64)

    def normal(self, theta: Tensor, x_0: Tensor) -> Tensor:
        """Compute log p(shape of y_m | x_0, θ) for each end point (M,) as if X_T were normal; no penalty.

            g y ≈ y + B c,    y + B c ~ N(x_0 + T f, TΣ),    c integrated out,    B at x_0
            d = y − x_0 − T f,    Q = (TΣ)⁻¹ − (TΣ)⁻¹ B (Bᵀ (TΣ)⁻¹ B)⁻¹ Bᵀ (TΣ)⁻¹
            log p = −½ dᵀ Q d − ½ log det(TΣ) − ½ log det(Bᵀ (TΣ)⁻¹ B) − (D − q)/2 log 2π

        It holds for small movements, and costs next to nothing.
        """
        here, quotient, factor = self._quotient(theta, x_0)
        moved = self.y - x_0 - here.drift * self.grid.duration
        volume = here.half_log_det + len(x_0) / 2 * math.log(self.grid.duration)
        volume = volume + factor.diagonal().log().sum()
        free = len(x_0) - len(factor)
        return -0.5 * ((moved @ quotient) * moved).sum(-1) - volume - free / 2 * math.log(2 * math.pi)

    def start_information(self, theta: Tensor, x_0: Tensor) -> Tensor | None:
        """Return M Q plus the curvature of the penalty, (D, D): the information in the mean of `normal`.

        Σ(x_0) tells of x_0 too, but less by a factor of the order of (a/ℓ)², and so it is left out. None
        without a reference, as the position of x_0 is then unknown.
        """
        if self.reference is None or x_0.dim() > 1:
            return None
        _, quotient, _ = self._quotient(theta, x_0)
        held = self._held(self.reference)
        return len(self.y) * quotient + held.mT @ held / self.slack**2

    def _quotient(self, theta: Tensor, x_0: Tensor) -> tuple[Coefficients, Tensor, Tensor]:
        """Return the coefficients at x_0, Q (D, D), and the Cholesky factor of Bᵀ (TΣ)⁻¹ B (q, q)."""
        here, directions = self.make(theta).at(x_0), self._directions(x_0)
        solved = here.solve(directions) / self.grid.duration
        factor = cholesky(solved @ directions.mT)
        inverse = here.solve(torch.eye(len(x_0), dtype=torch.float64)) / self.grid.duration
        return here, inverse - solved.mT @ torch.cholesky_solve(solved, factor), factor

    def _placed(self, sde: SDE, x_0: Tensor, y: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Draw N transformations g for each y (M, D), with normals `noise` (M, N, q).

        Returns:
            g y (M, N, D), and log q − (D − m) s − the log-density of Haar's measure (M, N).
        """
        m = self.dimensions
        directions = self._directions(y)
        start = sde.at(x_0)
        solved = start.solve(directions) / self.grid.duration
        precision = solved @ directions.mT
        ahead = x_0 + start.drift * self.grid.duration
        back = (ahead if ahead.dim() > 1 else ahead.unsqueeze(0)) - y.unsqueeze(-2)
        pulled = (solved @ back.mT).squeeze(-1)
        factor = cholesky(precision)
        centre = torch.cholesky_solve(pulled.unsqueeze(-1), factor).squeeze(-1)
        spread = torch.linalg.solve_triangular(factor.mT, noise.mT, upper=True).mT
        place = centre.unsqueeze(-2) + spread
        half_log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        log_q = half_log_det - 0.5 * noise.square().sum(-1) - noise.shape[-1] / 2 * math.log(2 * math.pi)
        turn = place[..., m : m + m * (m - 1) // 2]
        grown = torch.zeros_like(log_q) if self.keep_size else place[..., -1]
        points = y.unflatten(-1, (-1, m)).unsqueeze(-3) @ torch.matrix_exp(_generator(turn, m))
        moved = grown.exp()[..., None, None] * points + place[..., None, :m]
        return moved.flatten(-2), log_q - (y.shape[-1] - m) * grown - _log_haar(turn, m)

    def _directions(self, y: Tensor) -> Tensor:
        """Return Bᵀ (..., q, D), the derivatives of g y with respect to c at g = 1, for y (..., D)."""
        points = y.unflatten(-1, (-1, self.dimensions))
        moves = rigid_moves(points)
        return moves if self.keep_size else torch.cat([moves, points.flatten(-2).unsqueeze(-2)], -2)

    def _penalty(self, x_0: Tensor) -> Tensor | float:
        if self.reference is None:
            return 0.0
        return 0.5 * (self._held(self.reference) @ (x_0 - self.reference)).square().sum() / self.slack**2

    def _held(self, reference: Tensor) -> Tensor:
        """Return the directions (q, D), of length 1, along which the penalty holds x_0."""
        directions = self._directions(reference)
        return directions / directions.norm(dim=-1, keepdim=True)


def _generator(turn: Tensor, m: int) -> Tensor:
    """Return the skew-symmetric Ω (..., m, m) with y Ω = Σ ω_ij (y_i e_j − y_j e_i)."""
    omega = torch.zeros((*turn.shape[:-1], m, m), dtype=torch.float64)
    for k, (i, j) in enumerate(combinations(range(m), 2)):
        unit = torch.zeros((m, m), dtype=torch.float64)
        unit[i, j], unit[j, i] = 1.0, -1.0
        omega = omega + turn[..., k, None, None] * unit
    return omega


def _log_haar(turn: Tensor, m: int) -> Tensor:
    """Return the log-density of Haar's measure in Ω: of 1 for m = 2, of (2 sin(|ω|/2)/|ω|)² for m = 3.

    For |ω| > π it is −∞, because the same rotations occur at |ω| ≤ π.
    """
    squared = turn.square().sum(-1)
    once = squared <= math.pi**2
    if m == 2:
        log_density = torch.zeros_like(squared)
    else:
        half = 0.5 * (torch.where(once, squared, 0.0) + SMALL).sqrt()
        log_density = 2 * (half.sin() / half).log()
    return torch.where(once, log_density, -math.inf)
