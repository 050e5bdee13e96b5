"""The evidence of a conformance check: z statistics, and the functions of data that checks average over."""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

from ...tasks.seeding import generator

ROUNDING = 1e-6  # relative; simulators may compute in float32
LEAST_VARIED = 50
QUANTILE_ROWS = 10_000
CLIP = 4.0
FALSE_ALARMS = 5e-5


class Statistic(NamedTuple):
    """A named number that is standard normal for a correct task; infinite for a broken rule."""

    name: str
    z: float


class Evidence(NamedTuple):
    """The result of one check before the verdict.

    Attributes:
        statistics: the statistics of the check.
        diagnosis: what a too large statistic means, in a sentence.
        n: number of simulations or draws behind them.
        fresh: whether a repetition would use new random numbers; stored draws stay the same.
    """

    statistics: list[Statistic]
    diagnosis: str
    n: int
    fresh: bool = True


class NotApplicableError(Exception):
    """A check does not apply to a task or method; the message says why."""


def limit(count: int) -> float:
    """Return the |z| that one of `count` standard normal statistics exceeds with probability 1/20,000.

    The false-alarm rate of a check is the same for any number of statistics (Bonferroni).
    """
    return NormalDist().inv_cdf(1 - FALSE_ALARMS / (2 * count))


def of_rules(rules: Mapping[str, bool], diagnosis: str, n: int) -> Evidence:
    """Return evidence of rules that hold or do not; `{broken}` in the diagnosis becomes the broken rules."""
    statistics = [Statistic(rule, 0.0 if holds else math.inf) for rule, holds in rules.items()]
    broken = " and ".join(f"“{rule}”" for rule, holds in rules.items() if not holds)
    return Evidence(statistics, diagnosis.format(broken=broken), n)


def of_means(
    names: Sequence[str],
    terms: Tensor,
    *,
    scale: float = 1.0,
    effective_size: float = math.inf,
    allowance: float = 0.0,
) -> list[Statistic]:
    """Test whether columns have mean zero: z = mean/√(var (1/n + 1/effective_size) + allowance²).

    A column that is equal in nearly all rows is left out, as its variance cannot be estimated.

    Args:
        names: the name of each column, k of them.
        terms: (n, k), independent rows.
        scale: the size of the numbers whose differences the terms are; means within their rounding count as
            0.
        effective_size: number of independent draws behind the rows, if they were resampled.
        allowance: the accepted error of the mean.

    Returns:
        One statistic for each remaining column.
    """
    terms = terms.double()
    mean = terms.mean(0)
    mean = torch.where(mean.abs() < ROUNDING * scale, torch.zeros_like(mean), mean)
    variance = terms.var(0) * (1 / len(terms) + 1 / effective_size) + allowance**2
    z = torch.where(mean == 0, torch.zeros_like(mean), mean / variance.sqrt())
    # The median is the value of nearly all rows, if there is one.
    known = (terms != terms.median(0).values).sum(0) >= min(LEAST_VARIED, len(terms) // 2)
    known |= (mean == 0) | ~torch.isfinite(mean)
    return [Statistic(names[k], float(z[k])) for k in known.nonzero()[:, 0].tolist()]


def of_variance(name: str, ratio: float, freedom: int) -> Statistic:
    """Test whether the ratio of a sample variance to its true value is 1.

    The cube root of χ²_k/k is nearly normal (Wilson and Hilferty, 1931).

    Args:
        name: the name of the statistic.
        ratio: the sample variance divided by its true value.
        freedom: the degrees of freedom k.
    """
    spread = 2 / (9 * freedom)
    return Statistic(name, (ratio ** (1 / 3) - (1 - spread)) / math.sqrt(spread))


class Features:
    """Bounded functions h(x) of data: 1, and tanh and cos of standardised summaries of x.

    The summaries are the mean over components, the mean square, the first and the last component, and a
    random projection; for one component, x itself. All are centred by medians and scaled by quartiles of the
    data given, so that heavy tails do not flatten them.

    Args:
        x: the data that set location and scale, (n, dim_x).

    Attributes:
        names: the names of the k functions.
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
        """Return h(x), (n, k), for x (n, dim_x)."""
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
    """A bounded prediction of u from data: least squares of u on clipped x and its squares.

    Args:
        x: the data of the fit, (n, dim_x).
        u: the parameters of the fit, (n, d). For other simulations the prediction is a fixed function.
    """

    def __init__(self, x: Tensor, u: Tensor) -> None:
        self.location, self.scale = _location_scale(x.double())
        design = self._design(x)
        penalty = torch.eye(design.shape[1], dtype=torch.float64)
        self.coefficients = torch.linalg.solve(design.T @ design + penalty, design.T @ u)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the prediction of u, (n, d), for x (n, dim_x)."""
        return self._design(x) @ self.coefficients

    def _design(self, x: Tensor) -> Tensor:
        clipped = ((x.double() - self.location) / self.scale).clamp(-CLIP, CLIP)
        return torch.cat([torch.ones_like(clipped[:, :1]), clipped, clipped.square()], 1)


def _location_scale(columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return the median and the scale of each column.

    The scale is half the interquartile range; the standard deviation if that is 0; 1 if both are 0.
    """
    share = columns[:: max(1, len(columns) // QUANTILE_ROWS)]
    low, middle, high = torch.quantile(share, columns.new_tensor([0.25, 0.5, 0.75]), dim=0)
    scale = (high - low) / 2
    scale = torch.where(scale > 0, scale, columns.std(0))
    return middle, torch.where(scale > 0, scale, torch.ones_like(scale))
