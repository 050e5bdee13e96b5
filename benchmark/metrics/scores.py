"""Metrics of a posterior's score and of the regression target it was trained on, over diffusion time.

The average over t is the trapezoid rule on the grid `truth.TIMES`.
"""

import math
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ...methods.score.gates import Choice, optimal_weight
from ...methods.score.moments import second_moment
from ...methods.score.schedule import alpha_sigma, alpha_sigma_at
from ...tasks.task import Simulations
from .metric import REFERENCE, DoesNotApplyError, Fitted, Metric, Row, offers, row
from .truth import TIMES

ANY = (-math.inf, math.inf)


@runtime_checkable
class HasTarget(Protocol):
    """A posterior whose score was regressed on a target."""

    def target(self, simulations: Simulations, eps: Tensor, t: float) -> Tensor:
        """Return the target y at time t of simulations with noise ε, (n, d)."""


@runtime_checkable
class HasWeight(Protocol):
    """A posterior whose target may mix DSM's with a score of the simulations.

    Attributes:
        mixed_field: the field of the simulations that is mixed in by a weight of t alone; None without.
        learns_weight: whether that weight was trained with the score.
    """

    @property
    def mixed_field(self) -> str | None: ...

    @property
    def learns_weight(self) -> bool: ...

    def weight(self, t: Tensor) -> Tensor:
        """Return w(t) for t (n,): (n, 1) or (n, d)."""


@runtime_checkable
class HasChoice(Protocol):
    """A posterior that may have chosen its gate."""

    choice: Choice | None


def score_error(fitted: Fitted) -> Iterator[Row]:
    """Yield the error of each score at each t where the reference knows its own, and on average."""
    if not offers(fitted.posteriors[0], "score"):
        raise DoesNotApplyError("the method has no score")
    truth, times = fitted.truth, fitted.truth.score_times()
    if len(times) < 2:
        raise DoesNotApplyError("the reference does not know its score well at any time")
    for t in TIMES[: len(TIMES) - len(times)]:
        uncertain = float(truth.score_points(t).error.max())
        reason = f"the reference's score has an error of {uncertain:.2g}"
        yield {"time": t, "status": "skipped", "reason": reason}
    floor = torch.stack([truth.score_points(t).error for t in times], 1)
    x_o = truth.observations.x
    average = _trapezoid_weights(times)
    cause = "the posterior's score is not finite"
    for r, posterior in enumerate(fitted.posteriors):
        values, errors = [], []
        for t in times:
            points = truth.score_points(t)
            estimate = posterior.score(points.u_t, x_o, t).double()
            if estimate.shape != points.score.shape:
                shapes = f"{tuple(estimate.shape)}, not {tuple(points.score.shape)}"
                raise ValueError(f"score of {type(posterior).__name__} gave a tensor of shape {shapes}")
            squared = alpha_sigma_at(t)[1] ** 2 * (estimate - points.score).square().mean(2)
            values.append(squared.mean(1))
            errors.append(squared.std(1) / squared.shape[1] ** 0.5)
        value, error = torch.stack(values, 1), torch.stack(errors, 1)
        for o in range(len(x_o)):
            place: dict[str, Any] = {"replicate": r, "observation": o, "cause": cause}
            for k, t in enumerate(times):
                yield row(value[o, k], error[o, k], **place, time=t, floor=float(floor[o, k]))
            spread = (average * error[o]).square().sum().sqrt()
            yield row(average @ value[o], spread, **place, floor=float(average @ floor[o]))


def target_variance(fitted: Fitted) -> Iterator[Row]:
    """Yield the variance of each target around the true score at each t."""
    if fitted.truth.task.reference_kind != "exact":
        raise DoesNotApplyError("the task has no exact score for every x; excess_variance needs none")
    for r, posterior in enumerate(_with_targets(fitted)):
        test = fitted.truth.test_simulations(r)
        for t in TIMES:
            points = fitted.truth.target_points(r, t)
            squared = (posterior.target(test, points.eps, t) - points.score).square().mean(1)
            yield row(squared.mean(), squared.std() / len(squared) ** 0.5, replicate=r, time=t, floor=0.0)


def excess_variance(fitted: Fitted) -> Iterator[Row]:
    """Yield σ² (E‖y‖² − E‖y_DSM‖²)/d of each target on average and at each t.

    It needs no score, as E‖y‖² − E‖s‖² = E‖y − s‖² for all unbiased targets.
    """
    average = _trapezoid_weights(TIMES)
    for r, posterior in enumerate(_with_targets(fitted)):
        test, excesses = fitted.truth.test_simulations(r), []
        for t in TIMES:
            eps, sigma = fitted.truth.target_noise(r, t), alpha_sigma_at(t)[1]
            target = posterior.target(test, eps, t)
            excesses.append(((sigma * target).square() - eps.square()).mean(1))
        excess = torch.stack([*excesses, average @ torch.stack(excesses)])
        stderr = excess.std(1) / excess.shape[1] ** 0.5
        yield row(excess[-1].mean(), stderr[-1], replicate=r)
        for k, t in enumerate(TIMES):
            yield row(excess[k].mean(), stderr[k], replicate=r, time=t)


def _with_targets(fitted: Fitted) -> list[HasTarget]:
    with_targets: list[HasTarget] = [
        posterior for posterior in fitted.posteriors if isinstance(posterior, HasTarget)
    ]
    if len(with_targets) < len(fitted.posteriors):
        raise DoesNotApplyError("the method has no regression target")
    return with_targets


def best_weight(fitted: Fitted) -> Iterator[Row]:
    """Yield the weight of least variance of each replicate's training simulations at each t."""
    alpha, sigma = alpha_sigma(torch.tensor(TIMES, dtype=torch.float64))
    for r, (posterior, own) in enumerate(zip(fitted.posteriors, fitted.simulations, strict=True)):
        if not isinstance(posterior, HasWeight) or posterior.mixed_field is None:
            raise DoesNotApplyError("the method mixes no targets by weights that depend on t alone")
        j = second_moment(getattr(own, posterior.mixed_field).unsqueeze(0))
        for time, weight in zip(TIMES, optimal_weight(j, alpha, sigma), strict=True):
            yield row(weight, None, replicate=r, time=time)


def learned_weight(fitted: Fitted) -> Iterator[Row]:
    """Yield the weight that each replicate learned at each t."""
    for r, posterior in enumerate(fitted.posteriors):
        if not isinstance(posterior, HasWeight) or not posterior.learns_weight:
            raise DoesNotApplyError("the method learns no weight")
        for time, weight in zip(TIMES, posterior.weight(torch.tensor(TIMES)), strict=True):
            yield row(weight, None, replicate=r, time=time)


def gate_gain(fitted: Fitted) -> Iterator[Row]:
    """Yield the gain that each replicate expects of the gate it chose, which is the row's reason."""
    for r, posterior in enumerate(fitted.posteriors):
        choice = posterior.choice if isinstance(posterior, HasChoice) else None
        if choice is None:
            raise DoesNotApplyError("the method chooses no gate")
        yield row(choice.gain, choice.stderr, replicate=r, reason=choice.gate)


def _trapezoid_weights(grid: tuple[float, ...]) -> Tensor:
    times = torch.tensor(grid, dtype=torch.float64)
    step = times.diff()
    weights = torch.zeros_like(times)
    weights[1:] += step / 2
    weights[:-1] += step / 2
    return weights / weights.sum()


SCORE_ERROR = Metric(
    "score_error",
    "Score error",
    "σ² E‖ŝ − s‖²/d, ŝ the learned and s the true score, with u_t from the true diffused posterior, "
    "averaged over diffusion time; 0 is perfect.",
    score_error,
    needs=REFERENCE,
    scale="log",
    axis="score error\n" r"$\sigma^2\,\mathrm{E}\|\hat s - s\|^2/d$",
    floor="the estimated error of the reference's own score, 0 if that is exact; times where it is above "
    "0.001 are skipped",
)
TARGET_VARIANCE = Metric(
    "target_variance",
    "Target variance",
    "v = E‖y − s‖²/d of the regression target y around the true score s, on fresh simulations; 0 is perfect.",
    target_variance,
    needs=REFERENCE,
    ranked=False,
    scale="log",
    axis="target variance\n" r"$\mathrm{E}\|y - s\|^2/d$",
    floor="0",
)
EXCESS_VARIANCE = Metric(
    "excess_variance",
    "Excess variance",
    "σ² (v − v of DSM), v the variance of the regression target, averaged over diffusion time: below 0 "
    "the target is less noisy than DSM's.",
    excess_variance,
    perfect=None,
    bounds=ANY,
    scale="symlog",
)
OPTIMAL_WEIGHT = Metric(
    "optimal_weight",
    "Optimal weight",
    "The weight w*(t) of DSM in a mixture that has the least variance on the training simulations.",
    best_weight,
    perfect=None,
    ranked=False,
    bounds=(0.0, 1.0),
)
LEARNED_WEIGHT = Metric(
    "learned_weight",
    "Learned weight",
    "The weight w(t) of DSM in a mixture that was learned with the score.",
    learned_weight,
    perfect=None,
    ranked=False,
    bounds=(0.0, 1.0),
)
GATE_GAIN = Metric(
    "gate_gain",
    "Gate's gain",
    "What the chosen gate is expected to take from the excess variance.",
    gate_gain,
    perfect=None,
    ranked=False,
    bounds=ANY,
)
