"""Standard errors from the curvature of an estimated log-likelihood at its maximum, with checks.

A likelihood estimated from few effective bridges is rough, and its highest point is often a spike of its
noise, with standard errors a hundred times too small. So the curvature is that of likelihoods estimated with
other noise at the same point, over a quarter of the standard error that it implies. Two of them must agree.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag

Floats = NDArray[np.float64]
Objective = Callable[[Floats], tuple[float, Floats]]

FIRST_STEP, SHARE, ROUNDS = 1e-3, 0.25, 8
# The largest ratios of two steps, two curvatures and two standard errors that count as the same.
SAME_STEP, SAME_CURVATURE, SAME_STDERR = 1.5, 1.4, 1.25
# The largest distances, in standard errors, from the end of the climb to the maximum of its own objective,
# and to the maximum of an estimate with other noise.
AT_THE_TOP, SAME_TOP = 0.1, 0.5


class Information(NamedTuple):
    """What the curvature tells about a maximum.

    Attributes:
        stderr: standard errors (d,), NaN if there is a fault.
        fault: why the standard errors are not known; empty if they are.
    """

    stderr: Floats
    fault: str


def observed_information(
    fresh: tuple[Objective, Objective], point: Floats, slope: Floats, known: Floats | None = None
) -> Information:
    """Compute standard errors from the Hessian H of a negative log-likelihood ℓ at its minimum p.

        stderr_i = √((H⁻¹)_ii),    H_ij = (∂_j ℓ(p + h_i e_i) − ∂_j ℓ(p − h_i e_i))/(2 h_i)
        c_i = (ℓ(p + h_i e_i) + ℓ(p − h_i e_i) − 2 ℓ(p))/h_i²,    h_i = 1/(4 √c_i), by iteration

    H is the mean of those of two estimates of ℓ with other noise than the climb's. Standard errors are known
    only if all of this holds. For each estimate, the steps h settle; H_ii and c_i differ by less than a
    factor of 1.4, since values and gradients of a rough function do not belong together; H is positive
    definite; and Newton's step from p to its minimum is within 0.5 standard errors. The climb's own minimum
    is within 0.1, and the standard errors of the two estimates differ by less than a factor of 1.25.

    Args:
        fresh: two estimates of ℓ, which return value and gradient (d,).
        point: p (d,), where the climb ended.
        slope: the gradient (d,) of the climb's own objective at p.
        known: the part (k, k) of H that belongs to the last k coordinates, if it is known in closed form. It
            is not measured then, and what couples it with the other coordinates is taken as 0. Newton's step
            of these k is within 0.5 standard errors in the root mean square.
    """
    known = np.zeros((0, 0)) if known is None else known
    hessians = []
    for objective in fresh:
        found = _curvature(objective, point, known)
        if isinstance(found, str):
            return _unknown(point, found)
        hessians.append(found)
    inverse = np.linalg.inv(np.mean(hessians, axis=0))
    if not slope @ inverse @ slope < AT_THE_TOP**2:
        return _unknown(point, "the climb ended before the maximum")
    first, second = (np.sqrt(np.linalg.inv(hessian).diagonal()) for hessian in hessians)
    if (np.abs(np.log(first / second)) > math.log(SAME_STDERR)).any():
        return _unknown(point, "other bridges give other standard errors")
    return Information(np.sqrt(inverse.diagonal()), "")


def _curvature(objective: Objective, point: Floats, known: Floats) -> Floats | str:
    """Return H (d, d) of one estimate, or why it is not known."""
    value, slope = objective(point)
    steps = np.full(len(point) - len(known), FIRST_STEP)
    for _ in range(ROUNDS):
        hessian, curvatures = _differences(objective, point, steps, value)
        if not (np.isfinite(hessian).all() and np.isfinite(curvatures).all()):
            return "the likelihood is not finite near the maximum"
        positive = curvatures > 0
        wanted = np.where(positive, SHARE / np.sqrt(np.where(positive, curvatures, 1.0)), 4 * steps)
        if positive.all() and (np.abs(np.log(wanted / steps)) < math.log(SAME_STEP)).all():
            break
        steps = wanted
    else:
        return "its curvature depends on the step over which it is measured"
    own = hessian.diagonal()
    if (own <= 0).any() or (np.abs(np.log(own / curvatures)) > math.log(SAME_CURVATURE)).any():
        return "the likelihood is rough: its values and its gradients do not agree"
    if len(hessian) and np.linalg.eigvalsh(hessian)[0] <= 0:
        return "the observed information is not positive definite"
    measured, rest = np.split(slope, [len(steps)])
    moved = math.sqrt(measured @ np.linalg.solve(hessian, measured))
    # Of many coordinates the root mean square, as each has its share of the noise.
    moved = max(moved, math.sqrt(rest @ np.linalg.solve(known, rest) / max(len(rest), 1)))
    if moved > SAME_TOP:
        return f"other bridges put the maximum {moved:.1f} standard errors away"
    return block_diag(hessian, known)


def _differences(objective: Objective, point: Floats, steps: Floats, value: float) -> tuple[Floats, Floats]:
    """Return H (s, s) of the first s coordinates from gradients, and its diagonal (s,) from values."""
    rows, curvatures = [], []
    for step, way in zip(steps, np.eye(len(point)), strict=False):
        (above, up), (below, down) = objective(point + step * way), objective(point - step * way)
        rows.append((up - down)[: len(steps)] / (2 * step))
        curvatures.append((above + below - 2 * value) / step**2)
    hessian = np.array(rows).reshape(len(steps), len(steps))  # if none is measured, too
    return 0.5 * (hessian + hessian.T), np.array(curvatures)


def _unknown(point: Floats, fault: str) -> Information:
    return Information(np.full(len(point), math.nan), fault)
