"""The distance of a sample of a posterior from a sample of its reference, for each replicate and observation.

Both samples are (n, d) tensors of θ in float64. Each replicate has its own reference sample, so the values of
replicates are independent for a given observation, and their spread includes the noise of the reference.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...tasks.errors import UserError
from ...tasks.seeding import derive_seed
from .fitted import Fitted, Row, row
from .truth import FLOOR_PAIRS, ReferenceSample, Truth


class Estimate(NamedTuple):
    """A value and its standard error."""

    value: float
    stderr: float


Distance = Callable[[Tensor, Truth, int, int, int], Estimate]
"""A distance of a sample of θ, (n, d), from the reference of an observation and a replicate, with a seed."""


def measure(
    fitted: Fitted, distance: Distance, finish: Callable[[Estimate], Estimate] | None = None
) -> Iterator[Row]:
    """Yield a distance for each replicate and observation.

    The floor is the mean distance of two reference samples, over `FLOOR_PAIRS` pairs. `finish` transforms an
    estimate; metrics with different `finish` share the distance itself.
    """

    def finished(estimate: Estimate) -> Estimate:
        return finish(estimate) if finish else estimate

    truth = fitted.truth
    for r, o in np.ndindex(*fitted.samples.shape[:2]):
        sample = fitted.samples[r, o]
        floor = truth.once((distance, o), _floor_estimates, distance, truth, o)
        mean = float(np.mean([finished(estimate).value for estimate in floor]))
        place = {"replicate": r, "observation": o, "floor": mean}
        if torch.isfinite(sample).all():
            seed = derive_seed("metric", r, o)
            yield row(*finished(fitted.once((distance, r, o), distance, sample, truth, o, r, seed)), **place)
        else:
            yield row(math.nan, None, cause="the posterior's samples are not finite", **place)


def _floor_estimates(distance: Distance, truth: Truth, o: int) -> list[Estimate]:
    return [
        distance(truth.reference_sample(o, k).second, truth, o, k, derive_seed("floor", k))
        for k in range(FLOOR_PAIRS)
    ]


def with_spread(truth: Truth, o: int, r: int) -> ReferenceSample:
    """Return the reference of an observation and a replicate.

    Raises:
        UserError: its draws of a parameter are all equal.
    """
    reference = truth.reference_sample(o, r)
    if not reference.std.all():
        parameter = int((reference.std == 0).nonzero()[0])
        raise UserError(
            f"the reference of {truth.task.label}, observation {o}, has no spread in parameter {parameter}."
        )
    return reference
