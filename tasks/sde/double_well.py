"""A particle that moves between two wells."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from ..likelihood import LikelihoodTask
from ..prior import Normal
from .diffusion_task import EquidistantDiffusion
from .quadrature import log_transition

SPACING, MULTIPLE, MOST_POINTS = 0.9, 8, 1024
NUMBERS_AT_ONCE = 500_000
FARTHEST_WELL, FARTHEST_STEP = 7.0, 6.0  # standard deviations


class DoubleWell(EquidistantDiffusion, LikelihoodTask):
    """The Euler scheme of a particle between wells at −1 and 1, observed once or at m times, without noise.

        dX = k (X − X³) dt + σ dW,   X_0 = −1,   x = (X_T, X_2T, …, X_mT),   θ = (log k, log σ)
        prior           log k ~ N(0, 0.5²),   log σ ~ N(−0.4, 0.3²)
        likelihood      the product over intervals of the scheme's transition density, by quadrature; a
                        relative error below 1e-5 within 4 standard deviations of the prior
        stationary      p(x) ∝ exp(−k (x² − 1)²/(2 σ²)) as dt → 0

    Within T = 1 few particles change the well, within T = 4 a fifth do. So p(X_T | X_0) has two modes, and a
    bridge that ends in the other well has passed a place of unstable drift.

    Args:
        duration: T.
        steps: number of steps of the latent path in each interval.
        observed: m.
    """

    name: ClassVar[str] = "double_well"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "A particle between two wells, seen once or along its path; exact by quadrature."
    capabilities: ClassVar[frozenset[str]] = LikelihoodTask.capabilities | {"sde_path"}
    rows_at_once: ClassVar[int] = 250

    prior = Normal((0.0, -0.4), (0.5, 0.3))
    dim_theta = 2
    start = torch.tensor([-1.0], dtype=torch.float64)

    def drift(self, x: Tensor, theta: Tensor) -> Tensor:
        return theta[..., :1].exp() * (x - x**3)

    def diffusion(self, x: Tensor, theta: Tensor) -> Tensor:
        return theta[..., 1:].exp()

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the log-density of the scheme, (n,), for θ (n, 2) and x (n or 1, m)."""
        x = x.double().expand(len(theta), -1)
        starts = torch.cat([self.start.expand(len(x), -1), x[:, :-1]], 1)
        reach, points = self._grid_points(theta.detach(), torch.cat([starts, x], 1))
        found = torch.zeros(len(theta), dtype=torch.float64)
        for count in points.unique().tolist():
            for rows in (points == count).nonzero()[:, 0].split(max(1, NUMBERS_AT_ONCE // count**2)):
                sde = self.sde(theta[rows].unsqueeze(1))
                each = log_transition(sde, starts[rows], x[rows], self.grid, reach[rows], count)
                found = found.index_add(0, rows, each.sum(1))
        return found

    def _grid_points(self, theta: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far each row of θ and states reaches, (n, 1), and its number of points there, (n,).

        Beyond the reach, exp(−k (x² − 1)²/(2 σ²)) is below 1e-10. The spacing is at most 0.9 √(σ² dt).
        """
        k, sigma = theta.exp().split(1, 1)
        width = sigma * math.sqrt(self.grid.dt)
        well = (1 + FARTHEST_WELL * sigma / k.sqrt()).sqrt()
        reach = torch.maximum(well, states.abs().amax(1, keepdim=True)) + FARTHEST_STEP * width
        points = MULTIPLE * (2 * reach / (SPACING * width * MULTIPLE)).ceil()
        return reach, points.clamp(MULTIPLE, MOST_POINTS).long().squeeze(1)
