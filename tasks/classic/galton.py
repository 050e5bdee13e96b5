"""The generalized Galton board of Brehmer et al."""

import math
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import UserError
from ..plugin import require_flag, require_whole
from ..prior import Normal
from ..reference import GridReference, Reference
from ..structure import Items, Structure, Vector
from ..task import Outcome, Task

STEEPNESS = 10.0
# The prior has a mass of 3e-12 outside the grid. The step is half of the smallest σ(t) of the diffusion, and
# also a quarter of the posterior's standard deviation for MOST_BALLS balls with an information near 2 each.
GRID_LIMIT, GRID_POINTS = 7.0, 2801
MOST_BALLS = 1000


class Galton(Task):
    """Balls that fall through rows of nails, tilted by θ.

    A ball starts in the middle. At row r and position p, with z_v = r/(rows − 1) and
    z_h = 2p/(nails − 1) − 1, it goes left with probability

        P(θ) = (1 − sin πz_v)/2 + sin(πz_v) · sigmoid(10 θ z_h).

    On an even row, left keeps p and right leads to p + 1. On an odd row, left leads to p − 1 and right keeps
    p; the walls force the ball inwards, with P = 0 at p = 0 and P = 1 at p = nails.

        prior           θ ~ N(0, 1)
        latents         all decisions of all balls
        data            the final position of one ball, or the number of balls at each final position;
                        with `positions`, the final position of each ball
        joint score     Σ over decisions, of d log P/dθ to the left and d log(1 − P)/dθ to the right
        likelihood      exact, by a forward recursion over the rows; it gives marginal score and posterior

    The counts are a vector, as each final position has a meaning of its own.

    Source: J. Brehmer et al., Mining gold from implicit models to improve likelihood-free inference, PNAS
    2020.

    Args:
        rows: rows of nails, at least 2.
        nails: nails in a row, at least 2.
        balls: balls thrown with the same θ, from 1 to 1000.
        positions: True lists the final position of each ball, as independent items, and counts nothing.
    """

    name: ClassVar[str] = "galton"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Balls fall through nails that θ tilts; discrete latents, everything exact."
    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score", "marginal_score", "reference"})
    n_observations: ClassVar[int] = 5
    items_option: ClassVar[str | None] = "balls"
    prior = Normal()
    dim_theta = 1

    rows: int = 20
    nails: int = 31
    balls: int = 1
    positions: bool = False

    def __post_init__(self) -> None:
        for option, least in (("rows", 2), ("nails", 2), ("balls", 1)):
            require_whole(f"task galton: {option}", getattr(self, option), least)
        if self.balls > MOST_BALLS:
            raise UserError(f"task galton: balls must be at most {MOST_BALLS}, as the grid resolves no more.")
        require_flag("task galton: positions", self.positions)

    @property
    def bins(self) -> int:
        """The number of final positions: `nails`, plus 1 after an odd number of rows."""
        return self.nails + self.rows % 2

    @property
    def dim_x(self) -> int:
        """The number of balls if x lists positions, the number of `bins` if it counts balls."""
        return self.balls if self._lists else self.bins

    @property
    def structure(self) -> Structure:
        """Independent positions, or a vector of counts."""
        return Items(self.balls, independent=True) if self.positions else Vector(self.dim_x)

    @property
    def _lists(self) -> bool:
        return self.positions or self.balls == 1

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Throw `balls` balls for each θ, (n, 1)."""
        flat = theta.to(torch.float32).expand(-1, self.balls).flatten()
        position, score = self._throw(flat, generator)
        x = position.reshape(-1, self.balls)
        if not self._lists:
            counts = torch.zeros(len(theta), self.bins)
            x = counts.scatter_add(1, x.long(), torch.ones_like(x))
        return Outcome(x, score.reshape(-1, self.balls).sum(1, keepdim=True))

    def paths(self, theta: Tensor, generator: torch.Generator) -> Tensor:
        """Return the position of one ball per θ, (n,), before each row and at the end: (n, rows + 1)."""
        history: list[Tensor] = []
        final = self._throw(theta.to(torch.float32), generator, history)[0]
        return torch.stack([*history, final], 1)

    def pmf(self, theta: Tensor) -> Tensor:
        """Return the exact probability of each final position of one ball, (n, bins), for θ (n,)."""
        places = torch.arange(self.nails + 1, dtype=theta.dtype)
        mass = (places == self.nails // 2).to(theta.dtype).expand(len(theta), -1)
        for row in range(self.rows):
            left = mass * self._left(row, theta.unsqueeze(1), places)[0]
            right = mass - left
            if row % 2 == 0:
                mass = left + torch.nn.functional.pad(right[:, :-1], (1, 0))
            else:
                mass = right + torch.nn.functional.pad(left[:, 1:], (0, 1))
        return mass[:, : self.bins]

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the exact log p(x | θ), (n,), in float64, for θ (n, 1) and x (n or 1, dim_x)."""
        counts = self._counts(x)
        ways = 0.0 if self._lists else math.lgamma(self.balls + 1) - torch.lgamma(counts + 1).sum(1)
        return ways + torch.xlogy(counts, self.pmf(theta[:, 0].double())).sum(1)

    def marginal_score(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the exact d log p(x | θ)/dθ, (n, 1), by forward differentiation of the recursion."""
        flat = theta[:, 0].double().contiguous()
        differentiated = torch.func.jvp(self.pmf, (flat,), (torch.ones_like(flat),))
        pmf, slope = differentiated[0], differentiated[1]
        counts = self._counts(x)
        terms = torch.where(counts > 0, counts * slope / pmf, torch.zeros_like(pmf))
        return terms.sum(1, keepdim=True)

    def reference(self, x_o: Tensor) -> Reference:
        """Return the exact posterior of one observation, (dim_x,), on a grid.

        Raises:
            UserError: no throw can produce x_o.
        """
        return _reference(self, tuple(x_o.tolist()))

    def _possible(self, x: Tensor) -> bool:
        """Return whether x, (dim_x,), holds whole numbers that this board can produce."""
        most = x.max() < self.bins if self._lists else x.sum() == self.balls
        return bool(most and x.min() >= 0 and x.equal(x.round()))

    def _counts(self, x: Tensor) -> Tensor:
        """Return the number of balls at each final position, (n, bins)."""
        if not self._lists:
            return x.double()
        return torch.nn.functional.one_hot(x.long(), self.bins).sum(1).double()

    def _left(self, row: int, theta: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Return P and dP/dθ at a row, for θ and positions that broadcast."""
        swing = math.sin(math.pi * row / (self.rows - 1))
        slope = STEEPNESS * (2 / (self.nails - 1) * position - 1)
        tilt = torch.sigmoid(theta * slope)
        left = (1 - swing) / 2 + swing * tilt
        derivative = swing * slope * tilt * (1 - tilt)
        if row % 2 == 1:
            wall = (position == 0) | (position == self.nails)
            left = torch.where(wall, (position > 0).to(left.dtype), left)
            derivative = torch.where(wall, torch.zeros_like(derivative), derivative)
        return left, derivative

    def _throw(
        self, theta: Tensor, generator: torch.Generator, history: list[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Drop one ball per θ, (n,); return final positions and joint scores, (n,) each."""
        position = torch.full_like(theta, self.nails // 2)
        score = torch.zeros_like(theta)
        for row in range(self.rows):
            if history is not None:
                history.append(position)
            left, derivative = self._left(row, theta, position)
            goes_left = torch.rand(len(theta), generator=generator) < left
            score = score + torch.where(goes_left, derivative / left, -derivative / (1 - left))
            position = position - goes_left.to(position.dtype) + (row % 2 == 0)
        return position, score


@lru_cache(maxsize=4)
def _log_pmf_on_grid(task: Galton) -> tuple[Tensor, Tensor]:
    grid = torch.linspace(-GRID_LIMIT, GRID_LIMIT, GRID_POINTS, dtype=torch.float64)
    return grid, task.pmf(grid).log()


@lru_cache(maxsize=256)
def _reference(task: Galton, x_o: tuple[float, ...]) -> GridReference:
    grid, log_pmf = _log_pmf_on_grid(task)
    impossible = UserError(f"task {task.label}: the observation {x_o} is not possible on this board.")
    if not task._possible(torch.tensor(x_o)):
        raise impossible
    counts = task._counts(torch.tensor([x_o]))[0]
    likelihood = torch.where(counts > 0, counts * log_pmf, torch.zeros_like(log_pmf)).sum(1)
    if not likelihood.isfinite().any():
        raise impossible
    return GridReference(grid, likelihood - grid**2 / 2)
