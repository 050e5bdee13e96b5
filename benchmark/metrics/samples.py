"""Metrics that compare a sample of a posterior with a sample of its reference.

Both samples are (n, d) tensors of θ in float64. Each replicate has its own reference sample, so the values of
replicates are independent for a given observation, and their spread includes the noise of the reference.

Pairs of rows are handled `PART` at a time, so memory grows with n rather than n²: 10,000 samples take about
100 MB.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from ...tasks.errors import UserError
from ...tasks.seeding import derive_seed, generator
from .fitted import Fitted, Row, row
from .truth import FLOOR_PAIRS, ReferenceSample, Truth

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

BOOTSTRAP_DRAWS = 100
FOLDS = 5
UNITS_PER_DIMENSION = 10
PART = 1_000_000  # pairs
FEW, MIDDLE, EXACTLY = 2000, (0.4, 0.6), "donot_use_mm_for_euclid_dist"
FARTHEST = 1e6  # standard deviations; farther samples, from a score that diverged, overflow the classifier


class Estimate(NamedTuple):
    """A value and its standard error."""

    value: float
    stderr: float


def median_distance(sample: Tensor) -> float:
    """Compute the median Euclidean distance between the rows of a sample, (n, d).

    For an even number of pairs this is the lower of the two middle distances. Above `FEW` rows, the first
    rows give a bracket around the median. Distances below the bracket are counted, and only those inside it
    are kept.
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
    """Compute the unbiased estimate of MMD² for a Gaussian kernel.

        MMD² = Σ_{i≠j} h_ij / (n(n − 1)),    k(a, b) = exp(−‖a − b‖²/(2 bandwidth²))
        h_ij = k(x_i, x_j) + k(y_i, y_j) − k(x_i, y_j) − k(x_j, y_i)

    The standard error is the jackknife's over the pairs (x_i, y_i). It needs only the row sums of h.

    Args:
        sample: x, (n, d).
        reference: y, (n, d).
        bandwidth: standard deviation of the kernel, in units of θ.

    Source: Gretton et al., A kernel two-sample test, 2012, eq. 4.
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
    """Compute √max(MMD², 0) from an estimate of MMD².

    The standard error is the smaller of stderr(MMD²)/(2 MMD), by the delta method, and √stderr(MMD²).
    """
    value = math.sqrt(max(squared.value, 0.0))
    at_zero = math.sqrt(squared.stderr)
    return Estimate(value, min(at_zero, squared.stderr / (2 * value)) if value > 0 else at_zero)


def c2st_mlp(sample: Tensor, reference: Tensor, seed: int) -> Estimate:
    """Compute the five-fold accuracy of scikit-learn's MLP at telling two samples apart.

    The network has two hidden layers of 10 d units with ReLU
    and is trained by Adam, as in Lueckmann et al. Its steps are larger: batches of 500, rate 0.01, at most
    100 passes. Training is then three times as fast, and as accurate on pairs of normals with known Bayes
    accuracy. It overfits small differences in many dimensions, which `c2st_ensemble` finds.

    Args:
        sample: (n, d).
        reference: (n, d), with spread in every column.
        seed: the seed of the folds and of the network.

    Source: Lueckmann et al., Benchmarking simulation-based inference, 2021.
    """
    from sklearn.neural_network import MLPClassifier  # a second, which sweeps without C2ST should not wait

    units = UNITS_PER_DIMENSION * sample.shape[1]
    classifier = MLPClassifier(
        hidden_layer_sizes=(units, units),
        batch_size=min(500, len(sample)),
        learning_rate_init=0.01,
        max_iter=100,
        random_state=seed % 2**32,
    )
    return _held_out_accuracy(classifier, sample, reference, seed)


def c2st_ensemble(sample: Tensor, reference: Tensor, seed: int) -> Estimate:
    """Compute the five-fold accuracy of two classifiers together at telling two samples apart.

    The probability of a class is the mean of the two classifiers' probabilities. One is a logistic regression
    on all products of two columns, which finds differences of means, variances and correlations. The other is
    60 boosted trees of 8 leaves, which find other differences along the axes. Their settings are fixed, so
    that no choice makes the accuracy too high.

    Args:
        sample: (n, d).
        reference: (n, d), with spread in every column.
        seed: the seed of the folds.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, VotingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    quadratic = make_pipeline(
        PolynomialFeatures(2, include_bias=False), StandardScaler(), LogisticRegression(C=0.1, max_iter=300)
    )
    trees = HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_iter=60,
        max_leaf_nodes=8,
        min_samples_leaf=30,
        early_stopping=False,
        random_state=seed % 2**32,
    )
    ensemble = VotingClassifier([("quadratic", quadratic), ("trees", trees)], voting="soft")
    return _held_out_accuracy(ensemble, sample, reference, seed)


def _held_out_accuracy(
    classifier: "ClassifierMixin", sample: Tensor, reference: Tensor, seed: int
) -> Estimate:
    """Return the five-fold accuracy a of a classifier, and its binomial standard error √(a(1 − a)/(2n)).

    Both samples, (n, d), are standardised by the reference.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    standardised = (torch.cat([sample, reference]) - reference.mean(0)) / reference.std(0)
    rows = standardised.clamp(-FARTHEST, FARTHEST).numpy()
    labels = np.repeat([0, 1], [len(sample), len(reference)])
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings(), threadpool_limits(1):  # threads would change the sums of the trees
        warnings.simplefilter("ignore", ConvergenceWarning)
        accuracy = float(cross_val_score(classifier, rows, labels, cv=folds, error_score="raise").mean())
    return Estimate(accuracy, math.sqrt(accuracy * (1 - accuracy) / len(rows)))


def mean_error(sample: Tensor, mean: Tensor, std: Tensor, seed: int) -> Estimate:
    """Compute ‖(m − m_ref)/s_ref‖/√d, with a bootstrap standard error.

    Args:
        sample: (n, d), with mean m.
        mean: m_ref, (d,).
        std: s_ref, (d,).
        seed: the seed of the bootstrap.
    """
    centred = (sample - mean) / std
    return Estimate(_rms(centred.mean(0)), float(_rms_rows(_resampled(centred, seed).mean(1)).std()))


def std_error(sample: Tensor, mean: Tensor, std: Tensor, seed: int) -> Estimate:
    """Compute ‖(s − s_ref)/s_ref‖/√d, with a bootstrap standard error.

    Args:
        sample: (n, d), with standard deviations s.
        mean: m_ref, (d,).
        std: s_ref, (d,).
        seed: the seed of the bootstrap.
    """
    scaled = (sample - mean) / std
    return Estimate(_rms(scaled.std(0) - 1), float(_rms_rows(_resampled(scaled, seed).std(1) - 1).std()))


def _parts(n: int) -> list[tuple[int, slice]]:
    """Return the start and slice of each part of n rows; a part against all rows has `PART` pairs."""
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


Distance = Callable[[Tensor, Truth, int, int, int], Estimate]
"""A distance of a sample of θ, (n, d), from the reference of an observation and a replicate, with a seed."""


def _measure(
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


def _bandwidth(truth: Truth, o: int, r: int) -> float:
    bandwidth = median_distance(truth.reference_sample(o, r).theta)
    if bandwidth == 0:
        raise UserError(
            f"the reference of {truth.task.label}, observation {o}, has no spread: most of its draws are "
            "equal, so the bandwidth of MMD is 0."
        )
    return bandwidth


def _with_spread(truth: Truth, o: int, r: int) -> ReferenceSample:
    reference = truth.reference_sample(o, r)
    if not reference.std.all():
        parameter = int((reference.std == 0).nonzero()[0])
        raise UserError(
            f"the reference of {truth.task.label}, observation {o}, has no spread in parameter {parameter}."
        )
    return reference


def _mmd_squared_of(sample: Tensor, truth: Truth, o: int, r: int, _: int) -> Estimate:
    bandwidth = truth.once(("bandwidth", o, r), _bandwidth, truth, o, r)
    return mmd_squared(sample, truth.reference_sample(o, r).theta, bandwidth)


def _c2st_mlp_of(sample: Tensor, truth: Truth, o: int, r: int, seed: int) -> Estimate:
    return c2st_mlp(sample, _with_spread(truth, o, r).theta, seed)


def _c2st_ensemble_of(sample: Tensor, truth: Truth, o: int, r: int, seed: int) -> Estimate:
    return c2st_ensemble(sample, _with_spread(truth, o, r).theta, seed)


def _mean_error_of(sample: Tensor, truth: Truth, o: int, r: int, seed: int) -> Estimate:
    reference = _with_spread(truth, o, r)
    return mean_error(sample, reference.mean, reference.std, seed)


def _std_error_of(sample: Tensor, truth: Truth, o: int, r: int, seed: int) -> Estimate:
    reference = _with_spread(truth, o, r)
    return std_error(sample, reference.mean, reference.std, seed)


def measure_mmd(fitted: Fitted) -> Iterator[Row]:
    """Yield √max(MMD², 0) for each replicate and observation."""
    return _measure(fitted, _mmd_squared_of, mmd)


def measure_mmd_squared(fitted: Fitted) -> Iterator[Row]:
    """Yield the unbiased estimate of MMD² for each replicate and observation."""
    return _measure(fitted, _mmd_squared_of)


def measure_c2st_mlp(fitted: Fitted) -> Iterator[Row]:
    """Yield the accuracy of `c2st_mlp` for each replicate and observation."""
    return _measure(fitted, _c2st_mlp_of)


def measure_c2st_ensemble(fitted: Fitted) -> Iterator[Row]:
    """Yield the accuracy of `c2st_ensemble` for each replicate and observation."""
    return _measure(fitted, _c2st_ensemble_of)


def measure_posterior_mean_error(fitted: Fitted) -> Iterator[Row]:
    """Yield the error of the marginal means for each replicate and observation."""
    return _measure(fitted, _mean_error_of)


def measure_posterior_std_error(fitted: Fitted) -> Iterator[Row]:
    """Yield the error of the marginal standard deviations for each replicate and observation."""
    return _measure(fitted, _std_error_of)
