"""The contract of a metric: its record, the fits it is computed on, and the rows it yields."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...methods.method import Posterior
from ...tasks.task import Simulations
from .truth import Once, Truth

Row = dict[str, Any]
Values = NDArray[np.float64]
REFERENCE = frozenset({"reference"})


@dataclass(frozen=True)
class Fitted:
    """The fits of one cell, on which its metrics are computed.

    Attributes:
        truth: observations and references of the cell's task.
        simulations: the training simulations of each replicate.
        posteriors: the fitted posterior of each replicate.
        samples: posterior samples of θ, (replicates, observations, n, d), in float64.
        once: results that several metrics of the cell share. The first metric that asks computes them.
    """

    truth: Truth
    simulations: list[Simulations]
    posteriors: list[Posterior]
    samples: Tensor
    once: Once = field(default_factory=Once)


class DoesNotApplyError(Exception):
    """A metric is not defined for a method. The row is `skipped`, and the message is its reason."""


@dataclass(frozen=True)
class Metric:
    """The record of a metric. Tables, comparisons, ranks, figures, reports and documentation read it.

    Attributes:
        name: the name in sweep files and result tables.
        title: the name in headings.
        definition: one or two sentences for readers.
        compute: yields the rows of a cell.
        needs: the capabilities that a task must have.
        perfect: the value of a perfect method; None if no value is perfect and lower is better.
        ranked: whether a value nearer to perfect means a better method.
        bounds: the least and the largest possible value.
        scale: the scale of the axis; "symlog" is linear around 0. With "log", means over tasks are geometric,
            because values of such a metric differ by orders of magnitude.
        axis: the axis label in figures, for Matplotlib; empty to use the title.
        floor: what the column `floor` of the result table holds; empty if the column is null.
        same_as: name of the metric that is reported instead of this one; empty if there is none.
    """

    name: str
    title: str
    definition: str
    compute: Callable[[Fitted], Iterator[Row]]
    needs: frozenset[str] = frozenset()
    perfect: float | None = 0.0
    ranked: bool = True
    bounds: tuple[float, float] = (0.0, math.inf)
    scale: Literal["linear", "log", "symlog"] = "linear"
    axis: str = ""
    floor: str = ""
    same_as: str = ""

    @property
    def signed(self) -> bool:
        """Whether values may be negative."""
        return self.bounds[0] < 0

    @property
    def has_ratio(self) -> bool:
        """Whether the ratio of two values shows which is better: 0 is perfect and no value is negative."""
        return self.ranked and self.perfect == 0 and not self.signed

    @property
    def geometric(self) -> bool:
        """Whether means over tasks are geometric."""
        return self.scale == "log"

    @property
    def axis_label(self) -> str:
        """The axis label in figures."""
        return self.axis or self.title

    def distance(self, values: Values) -> Values:
        """Compute the distance of values from perfect, elementwise; a smaller distance is better if ranked.

        The distance is |value − perfect|, or the value itself if `perfect` is None.
        """
        return values if self.perfect is None else np.abs(values - self.perfect)


def offers(posterior: Posterior, what: str) -> bool:
    """Return whether a posterior implements an optional function of its contract: "score" or "log_prob"."""
    return getattr(type(posterior), what) is not getattr(Posterior, what)


def row(
    value: float | Tensor,
    stderr: float | Tensor | None,
    *,
    cause: str = "the metric overflows",
    **place: Any,
) -> Row:
    """Return one row. A value that is not finite stays in the table, with `cause` as its reason.

    Args:
        value: the value of the metric.
        stderr: its standard error; None if it has none.
        cause: the reason, if the value is not finite.
        place: further columns, such as replicate, observation, time and floor.
    """
    made = {"value": float(value), "stderr": float("nan") if stderr is None else float(stderr), **place}
    if not np.isfinite(made["value"]):
        made |= {"status": "not_finite", "reason": cause}
    return made
