"""Maximum mean discrepancy of a posterior sample from a reference sample.

Pairs of rows are handled `PART` at a time, so memory grows with n rather than n²: 10,000 samples take about
100 MB.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ...tasks.errors import UserError
from .distance import Estimate, measure
from .fitted import Fitted, Row
from .truth import Truth

PART = 1_000_000  # pairs
FEW, MIDDLE, EXACTLY = 2000, (0.4, 0.6), "donot_use_mm_for_euclid_dist"


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


def _parts(n: int) -> list[tuple[int, slice]]:
    """Return the start and slice of each part of n rows; a part against all rows has `PART` pairs."""
    size = max(1, PART // n)
    return [(start, slice(start, start + size)) for start in range(0, n, size)]


def _kernel(a: Tensor, b: Tensor, bandwidth: float) -> Tensor:
    return torch.cdist(a, b).square_().div_(-2 * bandwidth**2).exp_()


def _bandwidth(truth: Truth, o: int, r: int) -> float:
    bandwidth = median_distance(truth.reference_sample(o, r).theta)
    if bandwidth == 0:
        raise UserError(
            f"the reference of {truth.task.label}, observation {o}, has no spread: most of its draws are "
            "equal, so the bandwidth of MMD is 0."
        )
    return bandwidth


def _mmd_squared_of(sample: Tensor, truth: Truth, o: int, r: int, _: int) -> Estimate:
    bandwidth = truth.once(("bandwidth", o, r), _bandwidth, truth, o, r)
    return mmd_squared(sample, truth.reference_sample(o, r).theta, bandwidth)


def measure_mmd(fitted: Fitted) -> Iterator[Row]:
    """Yield √max(MMD², 0) for each replicate and observation."""
    return measure(fitted, _mmd_squared_of, mmd)


def measure_mmd_squared(fitted: Fitted) -> Iterator[Row]:
    """Yield the unbiased estimate of MMD² for each replicate and observation."""
    return measure(fitted, _mmd_squared_of)
