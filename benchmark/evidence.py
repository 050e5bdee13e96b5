"""What a conformance check finds: z statistics, and a sentence for the case that one of them is too large."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from tasks.seeding import generator

ROUNDING = 1e-6  # relative; simulators may compute in float32


class Statistic(NamedTuple):
    """A named number that is standard normal for a correct task; infinite where a rule is plainly broken."""

    name: str
    z: float


class Evidence(NamedTuple):
    """The statistics of one check, and what it means if one of them is too large."""

    statistics: list[Statistic]
    diagnosis: str


class NotApplicableError(Exception):
    """A check has no meaning for a task; the message says why."""


def of_means(
    names: list[str], terms: Tensor, scale: float = 1.0, effective_size: float = math.inf
) -> list[Statistic]:
    """Test that columns have mean zero: z = mean/√(var/n + var/effective_size).

    Args:
        names: of the columns, k of them.
        terms: (n, k), independent rows.
        scale: what the terms are differences of; means within its rounding count as zero.
        effective_size: the number of independent draws behind the rows, if they were resampled.
    """
    terms = terms.double()
    stderr = terms.std(0) * math.sqrt(1 / len(terms) + 1 / effective_size)
    mean = terms.mean(0)
    mean = torch.where(mean.abs() < ROUNDING * scale, torch.zeros_like(mean), mean)
    z = torch.where(mean == 0, torch.zeros_like(mean), mean / stderr)
    return [Statistic(name, float(value)) for name, value in zip(names, z, strict=True)]


def of_variance(name: str, ratio: float, freedom: int) -> Statistic:
    """Test that a sample variance over its true value is 1: Wilson and Hilferty's cube root of χ²_k/k."""
    spread = 2 / (9 * freedom)
    return Statistic(name, (ratio ** (1 / 3) - (1 - spread)) / math.sqrt(spread))


class Features:
    """Bounded functions h(x) of data: tanh and cos of a few standardised summaries of x.

    The summaries are the mean over components, the mean square, the first and last component and a random
    direction; the standardisation is that of the data they are made from.
    """

    def __init__(self, x: Tensor) -> None:
        x = x.double()
        self.mean, self.std = x.mean(0), x.std(0)
        direction = torch.randn(x.shape[1], generator=generator(0), dtype=torch.float64)
        self.direction = direction / direction.norm()
        summaries = self._summaries(x)
        self.centre, self.spread = summaries.mean(0), summaries.std(0)

    names = (
        "1",
        *(f"{h} {s}" for h in ("tanh", "cos") for s in ("mean", "square", "first", "last", "random")),
    )

    def __call__(self, x: Tensor) -> Tensor:
        """Give h(x) for x (n, dim_x): (n, 11), the first of them 1."""
        summaries = (self._summaries(x.double()) - self.centre) / self.spread.clamp_min(1e-12)
        return torch.cat([torch.ones_like(summaries[:, :1]), torch.tanh(summaries), torch.cos(summaries)], 1)

    def _summaries(self, x: Tensor) -> Tensor:
        scaled = (x - self.mean) / torch.where(self.std > 0, self.std, torch.ones_like(self.std))
        columns = [
            scaled.mean(1),
            scaled.square().mean(1),
            scaled[:, 0],
            scaled[:, -1],
            scaled @ self.direction,
        ]
        return torch.stack(columns, 1)
