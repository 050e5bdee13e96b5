"""The record of a metric. It imports nothing that computes one, so that a table is read in little time."""

import math
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .fitted import Fitted, Row

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """The record of a metric. Tables, comparisons, ranks, figures, reports and documentation read it.

    Attributes:
        name: the name in sweep files and result tables.
        title: the name in headings.
        definition: one or two sentences for readers.
        computed_by: the function that yields the rows of a cell, as `module:function`.
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
    computed_by: str
    needs: frozenset[str] = frozenset()
    perfect: float | None = 0.0
    ranked: bool = True
    bounds: tuple[float, float] = (0.0, math.inf)
    scale: Literal["linear", "log", "symlog"] = "linear"
    axis: str = ""
    floor: str = ""
    same_as: str = ""

    @property
    def module(self) -> str:
        """The module that computes the metric."""
        return self.computed_by.partition(":")[0]

    def compute(self, fitted: "Fitted") -> "Iterator[Row]":
        """Yield the rows of a cell; the module is imported first."""
        compute: Callable[[Fitted], Iterator[Row]] = resolve_name(self.computed_by)
        return compute(fitted)

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
