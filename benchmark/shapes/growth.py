"""Growth as a diffusion in age: `graybench shapes FILE --age COLUMN --id COLUMN`.

Between two consecutive ages the landmarks of each animal diffuse from the first shape to the second:

    y_i ~ p(X_{t+Δ} = · | X_t = x_i; a, ℓ),   i over the animals measured at both ages,   Δ in units of age

Each animal has its own x_0, and (a, ℓ) is fitted by maximum likelihood for each interval of ages; a is per
square root of a unit of age. Sizes are kept, as growth mostly changes size: the specimens of all ages are
aligned by position and orientation alone, and one factor makes their mean rms radius 1. Position and
orientation of y carry no information and are integrated out.

A trend that all animals share is either movement like any other, or a drift: a constant velocity v of each
landmark in each interval, fitted together with (a, ℓ). v has no part that moves the mean shape as a whole,
which the data cannot show. With M animals a is then too small by a share of about 1/(2M), as spreads around
a fitted mean are. `trend_share` measures the trend without a fit: |mean movement|² / mean |movement|². It is
1/M on average without a trend, and 1 if all animals move alike.

Standard errors are by animal, see `errors_by_animal`. v is held at its estimate there: a and ℓ are nearly
independent of it, as a spread is of a mean.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from ...methods.bridge.inference import Likelihood, maximise
from ...tasks.errors import UserError
from ...tasks.landmarks.diffusion import DriftingLandmarks
from ...tasks.landmarks.procrustes import rigid_moves
from ...tasks.landmarks.sample import LandmarkSample
from ..running.pieces import Result
from .fits import DIFFERENCE, Settings, likelihood_of, start_of, summary_of
from .specimens import FEWEST, aligned, label_of
from .tables import parameter_rows, worth

MODELS = {"no trend": False, "trend": True}


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


def fit_growth(interval: Interval, settings: Settings, trend: bool) -> Result:
    """Fit (log a, log ℓ), and a drift if there is a trend, to the movements of one interval.

    Raises:
        UserError: no animal has changed, or all have changed alike and there is a trend.
    """
    before, moved = interval.before.flatten(-2), (interval.after - interval.before).flatten(-2)
    duration, stream = interval.older - interval.younger, f"growth {interval.name}"
    theta = start_of(moved - moved.mean(0) if trend else moved, duration, stream)
    likelihood = likelihood_of(interval.after, replace(settings, keep_size=True), stream, duration=duration)
    starts, speed, own = before.unsqueeze(1), 0.0, likelihood
    if trend:
        velocity = moved.mean(0) / duration
        unit = float(theta[0].exp()) / math.sqrt(duration * len(moved))  # about the standard error of v
        ways = unit * _deformations(interval.before.mean(0))
        free = torch.linalg.lstsq(ways, velocity.unsqueeze(-1)).solution.squeeze(-1)
        likelihood = replace(likelihood, make=_with_drift(ways, interval.after.shape[-1], settings.nugget))
        theta = torch.cat([theta, free])
    found = maximise(likelihood, theta, starts, errors=False)
    best, drift = found.theta[:2], found.theta[2:]
    if trend:
        own = replace(likelihood, make=lambda theta: likelihood.make(torch.cat([theta, drift])))
        speed = float((ways @ drift).square().mean().sqrt())
    stderr = errors_by_animal(_values(own.settled(best, starts), starts), best)
    share = float(moved.mean(0).square().sum() / moved.square().sum(-1).mean())
    return {
        **summary_of(found),
        "theta": best.tolist(),
        "theta_stderr": stderr.tolist(),
        "trend_share": share,
        "rms_movement": float(moved.square().mean().sqrt()),
        "rms_velocity": speed,
    }


def _deformations(shape: Tensor) -> Tensor:
    """Return an orthonormal basis (D, q) of the movements orthogonal to those of a shape as a whole."""
    moves = rigid_moves(shape)
    whole, _ = torch.linalg.qr(moves.mT, mode="complete")
    return whole[:, len(moves) :]


def _with_drift(ways: Tensor, dimensions: int, nugget: float) -> Callable[[Tensor], DriftingLandmarks]:
    """Return the diffusion as a function of θ = (log a, log ℓ, w), with the velocity v = ways w."""
    return lambda theta: DriftingLandmarks(theta[0], theta[1], dimensions, nugget, ways @ theta[2:])


def _values(likelihood: Likelihood, starts: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the log-likelihoods (M,) of the animals as a function of θ."""

    def values(theta: Tensor) -> Tensor:
        with torch.no_grad():
            return likelihood(theta, starts).value

    return values


def errors_by_animal(values: Callable[[Tensor], Tensor], theta: Tensor) -> Tensor:
    """Return standard errors (d,) of a maximum of Σ_i ℓ_i(θ), from the scatter of the animals i.

        stderr² = M/(M − 1) Σ_i (H⁻¹ s_i)²

    This is the infinitesimal jackknife, or sandwich estimate. The gradients s_i of ℓ_i and the Hessian H of
    the sum are differences of values.

    Args:
        values: the ℓ_i (M,) as a function of θ (d,).
        theta: the maximum (d,).

    Returns:
        NaN if the Hessian is not negative definite.
    """
    d, units = len(theta), DIFFERENCE * torch.eye(len(theta), dtype=torch.float64)
    here, up, down = values(theta), [values(theta + e) for e in units], [values(theta - e) for e in units]
    slopes = torch.stack([(a - b) / (2 * DIFFERENCE) for a, b in zip(up, down, strict=True)], -1)
    hessian = torch.zeros(d, d, dtype=torch.float64)
    for i in range(d):
        hessian[i, i] = (up[i] + down[i] - 2 * here).sum() / DIFFERENCE**2
        for j in range(i):
            corners = values(theta + units[i] + units[j]) + values(theta - units[i] - units[j])
            mixed = corners + 2 * here - up[i] - down[i] - up[j] - down[j]
            hessian[i, j] = hessian[j, i] = mixed.sum() / (2 * DIFFERENCE**2)
    if not (torch.linalg.eigvalsh(hessian) < 0).all():
        return torch.full_like(theta, math.nan)
    moves = torch.linalg.solve(hessian, slopes.mT)
    count = len(here)
    return (count / (count - 1) * moves.square().sum(-1)).sqrt()


def growth_table(intervals: Sequence[Interval], fits: Sequence[dict[str, Result]]) -> pd.DataFrame:
    """Return a, ℓ and the log-likelihood of each model, and measures of the movement, for each interval."""
    rows = []
    for interval, models in zip(intervals, fits, strict=True):
        for model, found in models.items():
            where: dict[str, object] = {
                "younger": interval.younger,
                "older": interval.older,
                "model": model,
            }
            rows += parameter_rows(found, **where)
            rest = {
                "log_likelihood": (found["log_likelihood"], found["log_likelihood_stderr"]),
                "trend_share": (found["trend_share"], math.nan),
                "rms_movement": (found["rms_movement"], math.nan),
                "rms_velocity": (found["rms_velocity"], math.nan),
            }
            rows += [
                {**where, "quantity": name, "estimate": value, "stderr": stderr, **worth(found)}
                for name, (value, stderr) in rest.items()
            ]
    return pd.DataFrame(rows)
