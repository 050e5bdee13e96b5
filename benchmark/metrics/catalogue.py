"""The metrics: what is measured of the fitted posteriors of a cell, each as rows of the result table.

    mmd, mmd_squared, c2st_mlp,
    posterior_mean_error, posterior_std_error    distances of samples of θ, see `samples`
    score_error        σ² E‖ŝ − s‖²/d with u_t from the true diffused posterior, per t and averaged over t
    target_variance    v(t) = E‖y − s‖²/d over fresh prior-predictive simulations, per t
    excess_variance    σ² (v − v_DSM) = σ² (E‖y‖² − E‖y_DSM‖²)/d over the same, per t and averaged over t
    optimal_weight     w*(t) of the training simulations, per t
    learned_weight     the learned w(t), per t
    gate_gain          what `gate=auto` expects its choice, named in `reason`, to take from excess_variance
    sbc, coverage, expected_coverage,
    tarp, predictive_distance                    on fresh pairs (u, x), see `diagnostics`
    parameter_rmse, ess_fraction,
    log_likelihood_error                         at the parameters behind an observation, see `bridges`

The average over t is the trapezoid rule on the grid `truth.TIMES`; of score errors as far down in t as the
reference's own score is known to `SCORE_TOLERANCE`, and what is left out are skipped rows. `target_variance`
needs an exact score for every x; `excess_variance` needs none, as E‖y‖² − E‖s‖² = E‖y − s‖² for all
unbiased targets.

`floor` is what a perfect method would get with as many samples: for distances of samples, the reference
against itself, averaged over a few draws; for score errors, the estimated error of the reference's score, 0
if it is exact; 0 for target variances; `diagnostics` says it for its own; null for the others.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ...methods.method import Posterior
from ...methods.score.gates import LearnedWeight, OptimalWeight, optimal_weight
from ...methods.score.moments import second_moment
from ...methods.score.posterior import ScorePosterior
from ...methods.score.schedule import alpha_sigma, alpha_sigma_at
from ...tasks.seeding import derive_seed
from . import bridges, diagnostics, samples
from .metric import DoesNotApplyError, Fitted, Metric, Row, row
from .samples import Estimate
from .truth import TIMES, ReferenceSample, Truth

MIXING = (OptimalWeight, LearnedWeight)
SampleMetric = Callable[[Tensor, ReferenceSample, int], Estimate]


def _of_samples(distance: SampleMetric, finish: Callable[[Estimate], Estimate] | None = None) -> Metric:
    """Make a metric of a function of a sample (n, d), the reference sample, and a seed.

    Metrics that `finish` the same distance in different ways share it.
    """

    def finished(estimate: Estimate) -> Estimate:
        return finish(estimate) if finish else estimate

    def floor(truth: Truth, o: int) -> float:
        if (distance, o) not in truth.floor_estimates:
            reference = truth.reference_sample(o)
            draws = enumerate(reference.floor_draws)
            estimates = [distance(draw, reference, derive_seed("floor", k)) for k, draw in draws]
            truth.floor_estimates[distance, o] = estimates
        return float(np.mean([finished(estimate).value for estimate in truth.floor_estimates[distance, o]]))

    def measure(fitted: Fitted) -> Iterator[Row]:
        for r, o in np.ndindex(*fitted.samples.shape[:2]):
            sample, reference = fitted.samples[r, o], fitted.truth.reference_sample(o)
            value, stderr = float("nan"), float("nan")
            if torch.isfinite(sample).all():
                key = (distance, r, o)
                if key not in fitted.estimates:
                    fitted.estimates[key] = distance(sample, reference, derive_seed("metric", r, o))
                value, stderr = finished(fitted.estimates[key])
            yield row(value, stderr, replicate=r, observation=o, floor=floor(fitted.truth, o))

    return Metric(measure)


def _mmd_squared(sample: Tensor, reference: ReferenceSample, _: int) -> Estimate:
    return samples.mmd_squared(sample, reference.theta, reference.bandwidth)


def _c2st_mlp(sample: Tensor, reference: ReferenceSample, seed: int) -> Estimate:
    return samples.c2st_mlp(sample, reference.theta, seed)


def _mean_error(sample: Tensor, reference: ReferenceSample, seed: int) -> Estimate:
    return samples.mean_error(sample, reference.mean, reference.std, seed)


def _std_error(sample: Tensor, reference: ReferenceSample, seed: int) -> Estimate:
    return samples.std_error(sample, reference.mean, reference.std, seed)


def _score_error(fitted: Fitted) -> Iterator[Row]:
    if type(fitted.posteriors[0]).score is Posterior.score:
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
            place = {"replicate": r, "observation": o}
            for k, t in enumerate(times):
                yield row(value[o, k], error[o, k], **place, time=t, floor=float(floor[o, k]))
            spread = (average * error[o]).square().sum().sqrt()
            yield row(average @ value[o], spread, **place, floor=float(average @ floor[o]))


def _target_variance(fitted: Fitted) -> Iterator[Row]:
    if fitted.truth.task.reference_kind != "exact":
        raise DoesNotApplyError("the task has no exact score for every x; excess_variance needs none")
    for r, posterior in enumerate(_with_targets(fitted)):
        test = fitted.truth.test_simulations(r)
        for t in TIMES:
            points = fitted.truth.target_points(r, t)
            squared = (posterior.target(test, points.eps, t) - points.score).square().mean(1)
            yield row(squared.mean(), squared.std() / len(squared) ** 0.5, replicate=r, time=t, floor=0.0)


def _excess_variance(fitted: Fitted) -> Iterator[Row]:
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


def _with_targets(fitted: Fitted) -> list[ScorePosterior]:
    with_targets = [p for p in fitted.posteriors if isinstance(p, ScorePosterior)]
    if len(with_targets) < len(fitted.posteriors):
        raise DoesNotApplyError("the method has no regression target")
    return with_targets


def _optimal_weight(fitted: Fitted) -> Iterator[Row]:
    alpha, sigma = alpha_sigma(torch.tensor(TIMES, dtype=torch.float64))
    for r, (posterior, own) in enumerate(zip(fitted.posteriors, fitted.simulations, strict=True)):
        if not (isinstance(posterior, ScorePosterior) and isinstance(posterior.gate, MIXING)):
            raise DoesNotApplyError("the method mixes no targets by weights that depend on t alone")
        j = second_moment(getattr(own, str(posterior.score_field)).unsqueeze(0))
        for time, weight in zip(TIMES, optimal_weight(j, alpha, sigma), strict=True):
            yield row(weight, None, replicate=r, time=time)


def _learned_weight(fitted: Fitted) -> Iterator[Row]:
    for r, posterior in enumerate(fitted.posteriors):
        if not (isinstance(posterior, ScorePosterior) and posterior.gate.trained):
            raise DoesNotApplyError("the method learns no weight")
        for time, weight in zip(TIMES, posterior.weight(torch.tensor(TIMES)), strict=True):
            yield row(weight, None, replicate=r, time=time)


def _gate_gain(fitted: Fitted) -> Iterator[Row]:
    for r, posterior in enumerate(fitted.posteriors):
        choice = posterior.choice if isinstance(posterior, ScorePosterior) else None
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


METRICS: dict[str, Metric] = {
    "mmd": _of_samples(_mmd_squared, samples.mmd),
    "mmd_squared": _of_samples(_mmd_squared),
    "c2st_mlp": _of_samples(_c2st_mlp),
    "posterior_mean_error": _of_samples(_mean_error),
    "posterior_std_error": _of_samples(_std_error),
    "score_error": Metric(_score_error),
    "target_variance": Metric(_target_variance),
    "excess_variance": Metric(_excess_variance, needs=frozenset()),
    "optimal_weight": Metric(_optimal_weight, needs=frozenset()),
    "learned_weight": Metric(_learned_weight, needs=frozenset()),
    "gate_gain": Metric(_gate_gain, needs=frozenset()),
    "sbc": Metric(diagnostics.sbc, needs=frozenset()),
    "coverage": Metric(diagnostics.coverage, needs=frozenset()),
    "expected_coverage": Metric(diagnostics.expected_coverage, needs=frozenset()),
    "tarp": Metric(diagnostics.tarp, needs=frozenset(), version=2),
    "predictive_distance": Metric(diagnostics.predictive_distance, needs=frozenset()),
    "parameter_rmse": Metric(bridges.parameter_rmse, needs=frozenset()),
    "ess_fraction": Metric(bridges.ess_fraction, needs=frozenset({"sde_path"})),
    "log_likelihood_error": Metric(bridges.log_likelihood_error, needs=frozenset({"sde_path"})),
}
