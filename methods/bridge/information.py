"""Standard errors from the curvature of an estimated log-likelihood at its maximum, with checks.

A likelihood estimated from few effective bridges is rough, and its highest point is often a spike of its
noise, with standard errors a hundred times too small. So the curvature is that of a likelihood estimated with
other noise at the same point, over a quarter of the standard error that it implies.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Objective = Callable[[Floats], tuple[float, Floats]]

FIRST_STEP, SHARE, ROUNDS = 1e-3, 0.25, 8
SAME_STEP, SAME_CURVATURE = 1.5, 1.4  # ratios within which two steps or two curvatures are the same
AT_THE_TOP, SAME_TOP = (
    0.1,
    0.5,
)  # standard errors from the climb's own maximum, and from that with other noise


class Information(NamedTuple):
    """What the curvature tells about a maximum.

    Attributes:
        stderr: standard errors (d,), NaN if there is a fault.
        fault: why the standard errors are not known; empty if they are.
    """

    stderr: Floats
    fault: str


def observed_information(fresh: Objective, point: Floats, slope: Floats) -> Information:
    """Compute standard errors from the Hessian H of a negative log-likelihood ℓ at its minimum p.

        stderr_i = √((H⁻¹)_ii),    H_ij = (∂_j ℓ(p + h_i e_i) − ∂_j ℓ(p − h_i e_i))/(2 h_i)
        c_i = (ℓ(p + h_i e_i) + ℓ(p − h_i e_i) − 2 ℓ(p))/h_i²,    h_i = 1/(4 √c_i), by iteration

    They are known only if all of this holds: the steps h settle; H_ii and c_i differ by less than a factor of
    1.4, since values and gradients of a rough function do not belong together; H is positive definite; and by
    Newton's step the minimum of the climb is within 0.1 standard errors of p, and that of ℓ within 0.5.

    Args:
        fresh: ℓ, which returns value and gradient (d,), estimated with other noise than the climb's.
        point: p (d,), where the climb ended.
        slope: the gradient (d,) of the climb's own objective at p.
    """
    value, other_slope = fresh(point)
    steps = np.full(len(point), FIRST_STEP)
    for _ in range(ROUNDS):
        hessian, curvatures = _differences(fresh, point, steps, value)
        if not (np.isfinite(hessian).all() and np.isfinite(curvatures).all()):
            return _unknown(point, "the likelihood is not finite near the maximum")
        positive = curvatures > 0
        wanted = np.where(positive, SHARE / np.sqrt(np.where(positive, curvatures, 1.0)), 4 * steps)
        if positive.all() and (np.abs(np.log(wanted / steps)) < math.log(SAME_STEP)).all():
            break
        steps = wanted
    else:
        return _unknown(point, "its curvature depends on the step over which it is measured")
    own = hessian.diagonal()
    if (own <= 0).any() or (np.abs(np.log(own / curvatures)) > math.log(SAME_CURVATURE)).any():
        return _unknown(point, "the likelihood is rough: its values and its gradients do not agree")
    if np.linalg.eigvalsh(hessian)[0] <= 0:
        return _unknown(point, "the observed information is not positive definite")
    inverse = np.linalg.inv(hessian)
    if not slope @ inverse @ slope < AT_THE_TOP**2:
        return _unknown(point, "the climb ended before the maximum")
    moved = (other_slope @ inverse @ other_slope) ** 0.5
    if moved > SAME_TOP:
        return _unknown(point, f"other bridges put the maximum {moved:.1f} standard errors away")
    return Information(np.sqrt(inverse.diagonal()), "")


def _differences(objective: Objective, point: Floats, steps: Floats, value: float) -> tuple[Floats, Floats]:
    """Return the Hessian (d, d) from differences of gradients, and its diagonal (d,) from those of values."""
    rows, curvatures = [], []
    for step, move in zip(steps, np.diag(steps), strict=True):
        (above, up), (below, down) = objective(point + move), objective(point - move)
        rows.append((up - down) / (2 * step))
        curvatures.append((above + below - 2 * value) / step**2)
    hessian = np.array(rows)
    return 0.5 * (hessian + hessian.T), np.array(curvatures)


def _unknown(point: Floats, fault: str) -> Information:
    return Information(np.full(len(point), math.nan), fault)
