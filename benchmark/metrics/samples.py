"""Distances between a sample of a posterior and a sample of its reference, and the metrics made of them.

Both samples are (n, d) tensors of θ in float64. Each function returns a value and its standard error.
Distances are taken in parts of `PART` pairs, so memory grows with n and not with n²: with 10,000 samples,
about 100 MB.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from ...tasks.errors import UserError
from ...tasks.seeding import derive_seed, generator
from .metric import REFERENCE, Fitted, Metric, Row, row
from .truth import ReferenceSample, Truth

BOOTSTRAP_DRAWS = 100
FOLDS = 5
UNITS_PER_DIMENSION = 10
PART = 1_000_000  # pairs
FEW, MIDDLE, EXACTLY = 2000, (0.4, 0.6), "donot_use_mm_for_euclid_dist"
FARTHEST = 1e6  # in standard deviations; samples of a score that diverged would overflow the classifier


class Estimate(NamedTuple):
    """A value with its standard error."""

    value: float
    stderr: float


def median_distance(sample: Tensor) -> float:
    """Compute the median Euclidean distance between the rows of a sample, the lower of two.

    Of many rows, the distances that the first rows' say to be well off the middle are counted and not kept.
    """
    n = len(sample)
    few = torch.nn.functional.pdist(sample[:FEW])
    if n <= FEW:
        return float(few.median())
    rank = (n * (n - 1) // 2 - 1) // 2  # from 0
    for low, high in ((*few.quantile(few.new_tensor(MIDDLE)).tolist(),), (-math.inf, math.inf)):
        below, kept = 0, []
        for start, part in _parts(n):
            distances = torch.cdist(sample[part], sample[start:], compute_mode=EXACTLY)
            distances = distances[torch.ones_like(distances, dtype=torch.bool).triu_(1)]
            below += int((distances < low).sum())
            kept.append(distances[(distances >= low) & (distances <= high)])
        middle = torch.cat(kept)
        if below <= rank < below + len(middle):
            break
    return float(middle.kthvalue(rank - below + 1).values)


def mmd_squared(sample: Tensor, reference: Tensor, bandwidth: float) -> Estimate:
    """Compute the unbiased MMD² of two samples of the same size n [Gretton et al. 2012, eq. 4].

    MMD² = Σ_{i≠j} h_ij/(n(n − 1)), h_ij = k(x_i, x_j) + k(y_i, y_j) − k(x_i, y_j) − k(x_j, y_i). The standard
    error is the jackknife's over the pairs (x_i, y_i), which needs only the row sums of h.
    """
    n = len(sample)
    within, between = (torch.zeros(n, dtype=sample.dtype) for _ in range(2))
    for start, part in _parts(n):
        cross = _kernel(sample[part], reference, bandwidth)
        between[part] += cross.sum(1)
        between += cross.sum(0)
        between[part] -= 2 * cross[:, start:].diagonal()  # i = j
        for own in (sample, reference):  # k(x_i, x_j) for i < j, which is k(x_j, x_i)
            upper = _kernel(own[part], own[start:], bandwidth).triu_(1)
            within[part] += upper.sum(1)
            within[start:] += upper.sum(0)
    rows = within - between
    total = rows.sum()
    left_out = (total - 2 * rows) / ((n - 1) * (n - 2))
    stderr = math.sqrt((n - 1) * float(left_out.var(correction=0)))
    return Estimate(float(total) / (n * (n - 1)), stderr)


def mmd(squared: Estimate) -> Estimate:
    """Compute √max(MMD², 0); its standard error is the smaller of the delta method's and √stderr(MMD²)."""
    value = math.sqrt(max(squared.value, 0.0))
    at_zero = math.sqrt(squared.stderr)
    return Estimate(value, min(at_zero, squared.stderr / (2 * value)) if value > 0 else at_zero)


def c2st_mlp(sample: Tensor, reference: Tensor, seed: int) -> Estimate:
    """Compute the five-fold accuracy of scikit-learn's MLP on the two samples, standardised by the reference.

    Two hidden layers of 10 d units, ReLU and Adam as in Lueckmann et al. (2021), but with larger steps
    (batches of 500, rate 0.01, at most 100 passes): three times as fast, and as accurate on pairs of normals
    whose Bayes accuracy is known. The standard error is that of a binomial share of the 2n rows.
    """
    standardised = (torch.cat([sample, reference]) - reference.mean(0)) / reference.std(0)
    rows = standardised.clamp(-FARTHEST, FARTHEST).numpy()
    labels = np.repeat([0, 1], [len(sample), len(reference)])
    units = UNITS_PER_DIMENSION * rows.shape[1]
    state = seed % 2**32
    classifier = MLPClassifier(
        hidden_layer_sizes=(units, units),
        batch_size=min(500, len(sample)),
        learning_rate_init=0.01,
        max_iter=100,
        random_state=state,
    )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        accuracy = float(cross_val_score(classifier, rows, labels, cv=folds, error_score="raise").mean())
    return Estimate(accuracy, math.sqrt(accuracy * (1 - accuracy) / len(rows)))


def mean_error(sample: Tensor, mean: Tensor, std: Tensor, seed: int) -> Estimate:
    """Compute ‖(m − m_ref)/s_ref‖/√d, with a bootstrap standard error."""
    centred = (sample - mean) / std
    return Estimate(_rms(centred.mean(0)), float(_rms_rows(_resampled(centred, seed).mean(1)).std()))


def std_error(sample: Tensor, mean: Tensor, std: Tensor, seed: int) -> Estimate:
    """Compute ‖(s − s_ref)/s_ref‖/√d, with a bootstrap standard error."""
    scaled = (sample - mean) / std
    return Estimate(_rms(scaled.std(0) - 1), float(_rms_rows(_resampled(scaled, seed).std(1) - 1).std()))


def _parts(n: int) -> list[tuple[int, slice]]:
    """Part n rows so that a part against all rows is `PART` pairs: where each starts, and its rows."""
    size = max(1, PART // n)
    return [(start, slice(start, start + size)) for start in range(0, n, size)]


def _kernel(a: Tensor, b: Tensor, bandwidth: float) -> Tensor:
    return torch.cdist(a, b).square_().div_(-2 * bandwidth**2).exp_()


def _resampled(sample: Tensor, seed: int) -> Tensor:
    n = len(sample)
    return sample[torch.randint(n, (BOOTSTRAP_DRAWS, n), generator=generator(seed))]


def _rms(vector: Tensor) -> float:
    return float(vector.square().mean().sqrt())


def _rms_rows(rows: Tensor) -> Tensor:
    return rows.square().mean(1).sqrt()


Distance = Callable[[Tensor, Truth, int, int], Estimate]
"""A function of a sample of θ, (n, d), the truth, an observation, and a seed."""


def _measure(
    fitted: Fitted, distance: Distance, finish: Callable[[Estimate], Estimate] | None = None
) -> Iterator[Row]:
    """Yield the distance of each replicate and observation, and the reference's own as its floor.

    Metrics that `finish` the same distance in different ways share it.
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
            yield row(*finished(fitted.once((distance, r, o), distance, sample, truth, o, seed)), **place)
        else:
            yield row(math.nan, None, cause="the posterior's samples are not finite", **place)


def _floor_estimates(distance: Distance, truth: Truth, o: int) -> list[Estimate]:
    draws = enumerate(truth.reference_sample(o).floor_draws)
    return [distance(draw, truth, o, derive_seed("floor", k)) for k, draw in draws]


def _bandwidth(truth: Truth, o: int) -> float:
    bandwidth = median_distance(truth.reference_sample(o).theta)
    if bandwidth == 0:
        raise UserError(
            f"the reference of {truth.task.label}, observation {o}, has no spread: most pairs of its draws "
            "are the same, so that MMD has no bandwidth."
        )
    return bandwidth


def _with_spread(truth: Truth, o: int) -> ReferenceSample:
    reference = truth.reference_sample(o)
    if not reference.std.all():
        parameter = int((reference.std == 0).nonzero()[0])
        raise UserError(
            f"the reference of {truth.task.label}, observation {o}, has no spread in parameter {parameter}."
        )
    return reference


def _mmd_squared_of(sample: Tensor, truth: Truth, o: int, _: int) -> Estimate:
    bandwidth = truth.once(("bandwidth", o), _bandwidth, truth, o)
    return mmd_squared(sample, truth.reference_sample(o).theta, bandwidth)


def _c2st_mlp_of(sample: Tensor, truth: Truth, o: int, seed: int) -> Estimate:
    return c2st_mlp(sample, _with_spread(truth, o).theta, seed)


def _mean_error_of(sample: Tensor, truth: Truth, o: int, seed: int) -> Estimate:
    reference = _with_spread(truth, o)
    return mean_error(sample, reference.mean, reference.std, seed)


def _std_error_of(sample: Tensor, truth: Truth, o: int, seed: int) -> Estimate:
    reference = _with_spread(truth, o)
    return std_error(sample, reference.mean, reference.std, seed)


def _mmd(fitted: Fitted) -> Iterator[Row]:
    return _measure(fitted, _mmd_squared_of, mmd)


def _mmd_squared(fitted: Fitted) -> Iterator[Row]:
    return _measure(fitted, _mmd_squared_of)


def _c2st_mlp(fitted: Fitted) -> Iterator[Row]:
    return _measure(fitted, _c2st_mlp_of)


def _posterior_mean_error(fitted: Fitted) -> Iterator[Row]:
    return _measure(fitted, _mean_error_of)


def _posterior_std_error(fitted: Fitted) -> Iterator[Row]:
    return _measure(fitted, _std_error_of)


FLOOR = "the value of the reference against itself, averaged over five draws of the same size"
MMD = Metric(
    "mmd",
    "MMD",
    "√max(MMD², 0), the maximum mean discrepancy between samples of the learned and of the reference "
    "posterior of θ: Gaussian kernel, bandwidth the reference's median distance; 0 is perfect.",
    _mmd,
    needs=REFERENCE,
    bounds=(0.0, math.sqrt(2.0)),
    scale="symlog",
    axis="MMD (asinh scale)",
    floor=FLOOR,
)
MMD_SQUARED = Metric(
    "mmd_squared",
    "MMD²",
    "The unbiased estimate of MMD², which may be negative; 0 is perfect.",
    _mmd_squared,
    needs=REFERENCE,
    bounds=(-2.0, 2.0),
    floor=FLOOR,
    same_as="mmd",
)
C2ST_MLP = Metric(
    "c2st_mlp",
    "C2ST",
    "Held-out accuracy of scikit-learn's MLP at telling samples from the reference; 0.5 is perfect.",
    _c2st_mlp,
    needs=REFERENCE,
    perfect=0.5,
    bounds=(0.0, 1.0),
    axis="C2ST accuracy",
    floor=FLOOR,
)
POSTERIOR_MEAN_ERROR = Metric(
    "posterior_mean_error",
    "Error of the mean",
    "Error of the marginal means, in units of the reference's standard deviations; 0 is perfect.",
    _posterior_mean_error,
    needs=REFERENCE,
    scale="log",
    floor=FLOOR,
)
POSTERIOR_STD_ERROR = Metric(
    "posterior_std_error",
    "Error of the standard deviation",
    "Relative error of the marginal standard deviations; 0 is perfect.",
    _posterior_std_error,
    needs=REFERENCE,
    scale="log",
    floor=FLOOR,
)
