"""What a metric is: a function of a cell's fitted posteriors that yields rows of the result table."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ...methods.method import Posterior
from ...tasks.task import Simulations
from .samples import Estimate
from .truth import Truth

Row = dict[str, Any]


@dataclass(frozen=True)
class Fitted:
    """What a cell's metrics are measured on.

    Attributes:
        truth: of the cell's task.
        simulations: the training simulations of each replicate.
        posteriors: one for each replicate.
        samples: of θ, (replicates, observations, n, d), in float64.
        estimates: distances of samples that several metrics share, filled by the metrics.
        pairs: u, x and draws of each replicate that several diagnostics share, filled by them.
    """

    truth: Truth
    simulations: list[Simulations]
    posteriors: list[Posterior]
    samples: Tensor
    estimates: dict[Any, Estimate] = field(default_factory=dict)
    pairs: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)


class DoesNotApplyError(Exception):
    """A metric has no meaning for a method: the row is `skipped`, with the message as its reason."""


class Metric(NamedTuple):
    """A metric: `measure` yields its rows; `needs` are capabilities of the task.

    `version` grows when values change for the same posterior, so that stored cells are measured anew.
    """

    measure: Callable[[Fitted], Iterator[Row]]
    needs: frozenset[str] = frozenset({"reference"})
    version: int = 1


def row(value: float | Tensor, stderr: float | Tensor | None, **place: Any) -> Row:
    """Make one row; a value that is not finite keeps its place in the table with that status."""
    made = {"value": float(value), "stderr": float("nan") if stderr is None else float(stderr), **place}
    if not np.isfinite(made["value"]):
        made |= {"status": "not_finite", "reason": "the posterior's samples or scores are not finite"}
    return made
