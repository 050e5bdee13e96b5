"""Metrics of a posterior's score and of its regression target, over diffusion time t (`truth.TIMES`)."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ...methods.score.gates.choice import Choice
from ...methods.score.gates.moments import second_moment
from ...methods.score.gates.of_time import optimal_weight
from ...methods.score.schedule import alpha_sigma, alpha_sigma_at
from ...tasks.simulations import Simulations
from .fitted import DoesNotApplyError, Fitted, Row, offers, row
from .truth import TIMES


@runtime_checkable
class HasTarget(Protocol):
    """A posterior whose score was fitted by regression on a target y."""

    def target(self, simulations: Simulations, eps: Tensor, t: float) -> Tensor:
        """Return y at time t, (n, d), for n simulations and noise ε, (n, d)."""


@runtime_checkable
class HasWeight(Protocol):
    """A posterior whose target may mix DSM's target with a score of the simulations, with weight w on DSM's.

    Attributes:
        mixed_field: the field of `Simulations` with that score, if w depends on t alone; otherwise None.
        learns_weight: whether w was trained together with the score.
    """

    @property
    def mixed_field(self) -> str | None: ...

    @property
    def learns_weight(self) -> bool: ...

    def weight(self, t: Tensor) -> Tensor:
        """Return w(t), (n, 1) or (n, d), for t, (n,)."""


@runtime_checkable
class HasChoice(Protocol):
    """A posterior that may have chosen its gate; `choice` is None if it did not."""

    choice: Choice | None


def score_error(fitted: Fitted) -> Iterator[Row]:
    """Yield the score error of each replicate and observation, at each t and averaged over t.

        σ² E‖ŝ(u_t, x_o, t) − ∇ log p_t(u_t | x_o)‖²/d,    u_t = α u_0 + σ ε

    u_0 is drawn from the reference, and ε is standard normal noise. The average is the trapezoid rule over
    the times at which the reference's own score error is at most `SCORE_TOLERANCE`; earlier times are
    skipped.

    Raises:
        DoesNotApplyError: the posterior has no score, or fewer than two times remain.
        ValueError: a score has the wrong shape.
    """
    if not offers(fitted.posteriors[0], "score"):
        raise DoesNotApplyError("the method has no score")
    truth, times = fitted.truth, fitted.truth.score_times()
    if len(times) < 2:
        raise DoesNotApplyError("the reference's score is too inaccurate at all times")
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
                raise ValueError(f"score of {type(posterior).__name__} returned shape {shapes}")
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
    """Yield E‖y − s‖²/d for each replicate at each t.

    y is the regression target and s = ∇ log p_t(u_t | x) the exact score of fresh simulations.

    Raises:
        DoesNotApplyError: the reference of the task is not exact, or the method has no target.
    """
    if fitted.truth.task.reference_kind != "exact":
        raise DoesNotApplyError("the task has no exact reference for every x; excess_variance needs none")
    for r, posterior in enumerate(_with_targets(fitted)):
        test = fitted.truth.test_simulations(r)
        for t in TIMES:
            points = fitted.truth.target_points(r, t)
            squared = (posterior.target(test, points.eps, t) - points.score).square().mean(1)
            yield row(squared.mean(), squared.std() / len(squared) ** 0.5, replicate=r, time=t, floor=0.0)


def excess_variance(fitted: Fitted) -> Iterator[Row]:
    """Yield σ² (E‖y‖² − E‖y_DSM‖²)/d for each replicate, averaged over t and at each t.

    This is σ² times the difference of the two target variances, because E‖y − s‖² = E‖y‖² − E‖s‖² for every
    unbiased target y. It needs no exact score. The average is the trapezoid rule.

    Raises:
        DoesNotApplyError: the method has no target.
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
    if any(own.x.shape[1] != fitted.truth.task.dim_x for own in fitted.simulations):
        raise DoesNotApplyError("the target is that of the single items that the method learns from")
    return with_targets


def best_weight(fitted: Fitted) -> Iterator[Row]:
    """Yield w*(t) for each replicate at each t: the weight of least variance on its training simulations.

    `methods.score.gates.of_time.optimal_weight` has the formula.

    Raises:
        DoesNotApplyError: the method does not mix targets by weights that depend on t alone.
    """
    alpha, sigma = alpha_sigma(torch.tensor(TIMES, dtype=torch.float64))
    for r, (posterior, own) in enumerate(zip(fitted.posteriors, fitted.simulations, strict=True)):
        if not isinstance(posterior, HasWeight) or posterior.mixed_field is None:
            raise DoesNotApplyError("the method mixes no targets by weights that depend on t alone")
        j = second_moment(getattr(own, posterior.mixed_field).unsqueeze(0))
        for time, weight in zip(TIMES, optimal_weight(j, alpha, sigma), strict=True):
            yield row(weight, None, replicate=r, time=time)


def learned_weight(fitted: Fitted) -> Iterator[Row]:
    """Yield the learned weight w(t) for each replicate at each t.

    Raises:
        DoesNotApplyError: the method does not learn a weight.
    """
    for r, posterior in enumerate(fitted.posteriors):
        if not isinstance(posterior, HasWeight) or not posterior.learns_weight:
            raise DoesNotApplyError("the method learns no weight")
        for time, weight in zip(TIMES, posterior.weight(torch.tensor(TIMES)), strict=True):
            yield row(weight, None, replicate=r, time=time)


def gate_gain(fitted: Fitted) -> Iterator[Row]:
    """Yield the gain of the gate that each replicate chose; the row's reason is the gate's name.

    The gain is the cost σ² E‖y‖²/d of DSM minus the cost of the gate, both estimated by the method.

    Raises:
        DoesNotApplyError: the method does not choose a gate.
    """
    for r, posterior in enumerate(fitted.posteriors):
        choice = posterior.choice if isinstance(posterior, HasChoice) else None
        if choice is None:
            raise DoesNotApplyError("the method chooses no gate")
        yield row(choice.gain, choice.stderr, replicate=r, reason=choice.gate)


def training_steps(fitted: Fitted) -> Iterator[Row]:
    """Yield the number of training steps of each replicate.

    Raises:
        DoesNotApplyError: the method counts no steps.
    """
    for r, posterior in enumerate(fitted.posteriors):
        if posterior.training_steps is None:
            raise DoesNotApplyError("the method counts no training steps")
        yield row(posterior.training_steps, None, replicate=r)


def _trapezoid_weights(grid: tuple[float, ...]) -> Tensor:
    times = torch.tensor(grid, dtype=torch.float64)
    step = times.diff()
    weights = torch.zeros_like(times)
    weights[1:] += step / 2
    weights[:-1] += step / 2
    return weights / weights.sum()
