"""Growth as a diffusion in age: `graybench shapes FILE --age COLUMN --id COLUMN`.

Between two consecutive ages the landmarks of each animal diffuse from the first shape to the second:

    y_i ~ p(X_{t+Δ} = · | X_t = x_i; a, ℓ),   i over the animals measured at both ages,   Δ in units of age

Each animal has its own x_0, and (a, ℓ) is fitted by maximum likelihood for each interval of ages; a is per
square root of a unit of age. Sizes are kept, as growth mostly changes size: the specimens of all ages are
aligned by position and orientation alone, and one factor makes their mean rms radius 1. Position and
orientation of y carry no information and are integrated out.

The diffusion has no drift, so a trend that the animals share counts as movement like any other. `trend_share`
measures it: |mean movement|² / mean |movement|². Without a trend it is 1/M on average for M animals; it is 1
if all animals move alike.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from ...methods.bridge.inference import maximise
from ...tasks.errors import UserError
from ...tasks.landmarks.sample import LandmarkSample
from ..running.pieces import Result
from .fits import Settings, likelihood_of, start_of, summary_of
from .specimens import FEWEST, aligned, label_of
from .tables import parameter_rows, worth


class Interval(NamedTuple):
    """The animals measured at two consecutive ages.

    Attributes:
        younger, older: the ages.
        before, after: their landmarks, (M, n, m).
    """

    younger: float
    older: float
    before: Tensor
    after: Tensor

    @property
    def name(self) -> str:
        return f"{self.younger:g}-{self.older:g}"


def intervals_of(sample: LandmarkSample, age: str, identity: str) -> list[Interval]:
    """Align all specimens, and return the intervals between consecutive ages.

    Raises:
        UserError: there is no such label, or a specimen has no value; an age is not a number; an animal
            occurs twice at one age; there are not two ages; or too few animals were measured at two
            consecutive ages.
    """
    animals, ages = label_of(sample, identity), _numbers(sample, age)
    shapes, _ = aligned(sample.coordinates, keep_size=True)
    at: dict[float, dict[str, Tensor]] = {}
    for animal, when, shape in zip(animals, ages, shapes, strict=True):
        if animal in at.setdefault(when, {}):
            raise UserError(f"{identity} {animal!r} occurs twice at {age} {when:g}; keep one of the two.")
        at[when][animal] = shape
    known = sorted(at)
    if len(known) < 2:
        raise UserError(f"growth needs two ages or more, but {age} is {known[0]:g} for all specimens.")
    return [_interval(younger, older, at, age) for younger, older in pairwise(known)]


def _interval(younger: float, older: float, at: dict[float, dict[str, Tensor]], age: str) -> Interval:
    both = [animal for animal in at[younger] if animal in at[older]]
    if len(both) < FEWEST:
        raise UserError(
            f"{len(both)} animals were measured at both {age} {younger:g} and {older:g}, and a fit needs "
            f"{FEWEST} or more; leave one of these ages out."
        )
    before, after = (torch.stack([at[when][animal] for animal in both]) for when in (younger, older))
    return Interval(younger, older, before, after)


def _numbers(sample: LandmarkSample, age: str) -> list[float]:
    numbers = []
    for specimen, value in zip(sample.specimens, label_of(sample, age), strict=True):
        try:
            numbers.append(float(value))
        except ValueError:
            numbers.append(math.nan)
        if not math.isfinite(numbers[-1]):
            raise UserError(f"{age} must be a finite number, but is {value!r} for specimen {specimen!r}.")
    return numbers


def fit_growth(interval: Interval, settings: Settings) -> Result:
    """Fit (log a, log ℓ) to the movements of one interval.

    Raises:
        UserError: no animal has changed.
    """
    before, moved = interval.before.flatten(-2), (interval.after - interval.before).flatten(-2)
    duration, stream = interval.older - interval.younger, f"growth {interval.name}"
    theta = start_of(moved, duration, stream)
    likelihood = likelihood_of(interval.after, replace(settings, keep_size=True), stream, duration=duration)
    found = summary_of(maximise(likelihood, theta, before.unsqueeze(1)))
    trend = float(moved.mean(0).square().sum() / moved.square().sum(-1).mean())
    return {**found, "trend_share": trend, "rms_movement": float(moved.square().mean().sqrt())}


def growth_table(intervals: Sequence[Interval], fits: Sequence[Result]) -> pd.DataFrame:
    """Return a, ℓ, the log-likelihood and two measures of the movement itself, for each interval of ages."""
    rows = []
    for interval, found in zip(intervals, fits, strict=True):
        where: dict[str, object] = {"younger": interval.younger, "older": interval.older}
        rows += parameter_rows(found, **where)
        rest = {
            "log_likelihood": (found["log_likelihood"], found["log_likelihood_stderr"]),
            "trend_share": (found["trend_share"], math.nan),
            "rms_movement": (found["rms_movement"], math.nan),
        }
        rows += [
            {**where, "quantity": name, "estimate": value, "stderr": stderr, **worth(found)}
            for name, (value, stderr) in rest.items()
        ]
    return pd.DataFrame(rows)
