"""What a metric is: a record that says what its values mean, and a function that yields rows of the table."""

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
    """What a cell's metrics are measured on.

    Attributes:
        truth: of the cell's task.
        simulations: the training simulations of each replicate.
        posteriors: one for each replicate.
        samples: of θ, (replicates, observations, n, d), in float64.
        once: what several metrics of the cell share, computed by the first that asks.
    """

    truth: Truth
    simulations: list[Simulations]
    posteriors: list[Posterior]
    samples: Tensor
    once: Once = field(default_factory=Once)


class DoesNotApplyError(Exception):
    """A metric has no meaning for a method: the row is `skipped`, with the message as its reason."""


@dataclass(frozen=True)
class Metric:
    """One metric. Tables, comparisons, ranks, figures, reports and documentation read this record.

    Attributes:
        name: in sweep files and result tables.
        title: in headings.
        definition: one sentence or two for readers.
        compute: yields the rows of a cell.
        needs: the capabilities that a task must have.
        perfect: the value of a perfect method; None if no value is perfect, and less is better.
        ranked: whether a value nearer to perfect makes a method better.
        bounds: the least and the largest value that is possible.
        scale: of its axis; "symlog" is linear around 0. Means over tasks of metrics with a "log" axis are
            geometric, as such values differ by orders of magnitude.
        axis: the label of its axis in figures, for Matplotlib; empty for the title.
        floor: what the column `floor` of the result table holds; empty if it is null.
        same_as: a metric that says the same and is reported in place of this one; empty if there is none.
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
        """Whether the ratio of two values says which is better: 0 is perfect, and nothing is below."""
        return self.ranked and self.perfect == 0 and not self.signed

    @property
    def geometric(self) -> bool:
        """Whether means over tasks are geometric."""
        return self.scale == "log"

    @property
    def axis_label(self) -> str:
        """The label of its axis in figures."""
        return self.axis or self.title

    def distance(self, values: Values) -> Values:
        """Compute how far values are from perfect, elementwise: the less, the better, if it is ranked."""
        return values if self.perfect is None else np.abs(values - self.perfect)


def offers(posterior: Posterior, what: str) -> bool:
    """Say whether a posterior has an optional function of the contract: "score" or "log_prob"."""
    return getattr(type(posterior), what) is not getattr(Posterior, what)


def row(
    value: float | Tensor,
    stderr: float | Tensor | None,
    *,
    cause: str = "the metric overflows",
    **place: Any,
) -> Row:
    """Make one row; a value that is not finite keeps its place in the table, with `cause` as its reason."""
    made = {"value": float(value), "stderr": float("nan") if stderr is None else float(stderr), **place}
    if not np.isfinite(made["value"]):
        made |= {"status": "not_finite", "reason": cause}
    return made
