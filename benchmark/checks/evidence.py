"""What a conformance check finds: z statistics, and a sentence for the case that one of them is too large."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...tasks.seeding import generator

ROUNDING = 1e-6  # relative; simulators may compute in float32
LEAST_VARIED = 50
QUANTILE_ROWS = 10_000
CLIP = 4.0


class Statistic(NamedTuple):
    """A named number that is standard normal for a correct task; infinite where a rule is plainly broken."""

    name: str
    z: float


class Evidence(NamedTuple):
    """The statistics of one check, what it means if one of them is too large, and what they were made from.

    `fresh` says whether a repetition would look at new random numbers; stored draws stay the same.
    """

    statistics: list[Statistic]
    diagnosis: str
    n: int
    fresh: bool = True


class NotApplicableError(Exception):
    """A check has no meaning for a task; the message says why."""


def of_means(
    names: Sequence[str],
    terms: Tensor,
    *,
    scale: float = 1.0,
    effective_size: float = math.inf,
    allowance: float = 0.0,
) -> list[Statistic]:
    """Test that columns have mean zero: z = mean/√(var (1/n + 1/effective_size) + allowance²).

    A column of which all but a few rows are alike says too little of its own variance, and is left out.

    Args:
        names: of the columns, k of them.
        terms: (n, k), independent rows.
        scale: what the terms are differences of; means within its rounding count as zero.
        effective_size: the number of independent draws behind the rows, if they were resampled.
        allowance: an error of the mean that is known and accepted.
    """
    terms = terms.double()
    mean = terms.mean(0)
    mean = torch.where(mean.abs() < ROUNDING * scale, torch.zeros_like(mean), mean)
    variance = terms.var(0) * (1 / len(terms) + 1 / effective_size) + allowance**2
    z = torch.where(mean == 0, torch.zeros_like(mean), mean / variance.sqrt())
    known = (terms != terms.mode(0).values).sum(0) >= min(LEAST_VARIED, len(terms) // 2)
    known |= (mean == 0) | ~torch.isfinite(mean)
    return [Statistic(names[k], float(z[k])) for k in known.nonzero()[:, 0].tolist()]


def of_variance(name: str, ratio: float, freedom: int) -> Statistic:
    """Test that a sample variance over its true value is 1: Wilson and Hilferty's cube root of χ²_k/k."""
    spread = 2 / (9 * freedom)
    return Statistic(name, (ratio ** (1 / 3) - (1 - spread)) / math.sqrt(spread))


class Features:
    """Bounded functions h(x) of data: 1, and tanh and cos of a few standardised summaries of x.

    The summaries are the mean over components, the mean square, the first and last component and a random
    direction, or x itself if it has one component. Everything is centred by medians and scaled by quartiles
    of the data that the features are made from, so that heavy tails do not flatten it.

    Attributes:
        names: of the functions, k of them.
    """

    def __init__(self, x: Tensor) -> None:
        x = x.double()
        self.location, self.scale = _location_scale(x)
        direction = torch.randn(x.shape[1], generator=generator(0), dtype=torch.float64)
        self.direction = direction / direction.norm()
        self.centre, self.spread = _location_scale(self._summaries(x))
        of = ("mean", "square", "first", "last", "random") if x.shape[1] > 1 else ("x",)
        self.names = ("1", *(f"{h} {summary}" for h in ("tanh", "cos") for summary in of))

    def __call__(self, x: Tensor) -> Tensor:
        """Give h(x) for x (n, dim_x): (n, k)."""
        summaries = (self._summaries(x.double()) - self.centre) / self.spread
        return torch.cat([torch.ones_like(summaries[:, :1]), torch.tanh(summaries), torch.cos(summaries)], 1)

    def _summaries(self, x: Tensor) -> Tensor:
        scaled = (x - self.location) / self.scale
        if x.shape[1] == 1:
            return scaled
        columns = [
            scaled.mean(1),
            scaled.square().mean(1),
            scaled[:, 0],
            scaled[:, -1],
            scaled @ self.direction,
        ]
        return torch.stack(columns, 1)


class Prediction:
    """The bounded function of data that tells most of u: least squares of u on clipped x and its squares.

    Fitted to simulations of its own, it is a fixed function for others.
    """

    def __init__(self, x: Tensor, u: Tensor) -> None:
        self.location, self.scale = _location_scale(x.double())
        design = self._design(x)
        penalty = torch.eye(design.shape[1], dtype=torch.float64)
        self.coefficients = torch.linalg.solve(design.T @ design + penalty, design.T @ u)

    def __call__(self, x: Tensor) -> Tensor:
        """Give the prediction of u for x (n, dim_x): (n, d)."""
        return self._design(x) @ self.coefficients

    def _design(self, x: Tensor) -> Tensor:
        clipped = ((x.double() - self.location) / self.scale).clamp(-CLIP, CLIP)
        return torch.cat([torch.ones_like(clipped[:, :1]), clipped, clipped.square()], 1)


def _location_scale(columns: Tensor) -> tuple[Tensor, Tensor]:
    """Give medians and half the distance of the quartiles; standard deviations where that is 0, or 1."""
    share = columns[:: max(1, len(columns) // QUANTILE_ROWS)]
    low, middle, high = torch.quantile(share, columns.new_tensor([0.25, 0.5, 0.75]), dim=0)
    scale = (high - low) / 2
    scale = torch.where(scale > 0, scale, columns.std(0))
    return middle, torch.where(scale > 0, scale, torch.ones_like(scale))
