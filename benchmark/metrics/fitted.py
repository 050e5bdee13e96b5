"""What metrics are computed on, the fits of one cell, and the rows that they yield."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from ...methods.method import Posterior
from ...tasks.simulations import Simulations
from .truth import Once, Truth

LARGEST = float(np.finfo(np.float32).max)

Row = dict[str, Any]


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
    """Return one row. A value that is not finite in float32 stays in the table, with `cause` as its reason.

    Args:
        value: the value of the metric.
        stderr: its standard error; None if it has none.
        cause: the reason, if the value is not finite.
        place: further columns, such as replicate, observation, time and floor.
    """
    made = {"value": float(value), "stderr": float("nan") if stderr is None else float(stderr), **place}
    if not abs(made["value"]) <= LARGEST:
        made |= {"status": "not_finite", "reason": cause}
    return made
