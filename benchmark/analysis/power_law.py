"""Exponents of power laws, fitted on log-log axes."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import stats


class Exponent(NamedTuple):
    """The exponent of a power law, and its 95 % interval."""

    value: float
    low: float
    high: float


def exponent(points: Mapping[int, float]) -> Exponent:
    """Fit y ∝ x^b to three points or more.

    b is the least-squares slope of log y over log x, with its 95 % interval by Student's t. The interval is
    wide if the points do not lie on a line.

    Args:
        points: y > 0 of each x > 0.
    """
    x, y = np.log(list(points)), np.log(list(points.values()))
    fitted = stats.linregress(x, y)
    reach = float(stats.t.ppf(0.975, len(x) - 2) * fitted.stderr)
    return Exponent(float(fitted.slope), float(fitted.slope) - reach, float(fitted.slope) + reach)
