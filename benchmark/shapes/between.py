"""Diffusions between groups: from one shape to the means of all, and from an ancestor to those of two.

The means ȳ_g of G groups are taken as the end points of a diffusion from one shape, as specimens are of a
group's. Its a and ℓ say how groups differ, and beside those of the groups, how much more or less than
specimens do. A mean of M specimens is known to a_g/√M only, and spreads about fitted means are too small, so
that with a_m the amplitude fitted to the means

    within² = mean over g of a_g² M_g/(M_g − 1)
    between² = a_m² G/(G − 1) − mean over g of a_g²/(M_g − 1)

The second is 0 if groups differ by no more than their means' errors explain. It takes ℓ to be the same.

The ancestor of two groups is the diffusion mean of their two means, with the a and ℓ of the means of groups.
It is fitted even if the settings hold the starts of groups, and that of all means, at sample means.
"""

import math
from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
import torch

from ...methods.bridge.inference import maximise
from ..analysis.statistics import Array, Z
from ..running.pieces import Result
from .fits import Settings, fit, likelihood_of, slack_of, summary_of
from .specimens import FEWEST, Specimens
from .tables import AXES, group_table, worth

MEANS = "means of groups"  # what stands for a group in tables


def means_of(specimens: Specimens) -> Specimens | None:
    """Return the sample means of the groups as the specimens of one group, or None if they are too few."""
    names = specimens.group_names
    if len(names) < FEWEST:
        return None
    means = torch.stack([specimens.of(name).mean(0) for name in names])
    return Specimens(means, tuple(names), (MEANS,) * len(names))


def fit_means(means: Specimens, settings: Settings) -> Result:
    """Fit (log a, log ℓ) and the shape that all groups come from to their means."""
    return fit(means.shapes, settings, f"fit {MEANS}")


def fit_ancestors(means: Specimens, found: Result, settings: Settings) -> Result:
    """Fit the ancestor of each pair of groups, at the θ of the fit to all means.

    Returns:
        "pairs": what `summary_of` returns for each pair, with the names of both.
    """
    theta, rows = torch.tensor(found["theta"], dtype=torch.float64), []
    for i, j in combinations(range(len(means.names)), 2):
        first, second = means.names[i], means.names[j]
        ends = means.shapes[[i, j]]
        middle = ends.mean(0).flatten()
        likelihood = likelihood_of(
            ends, settings, f"ancestor {first} {second}", reference=middle, slack=slack_of(theta, 2)
        )
        rows.append(
            {
                "pair": [first, second],
                **summary_of(maximise(likelihood, theta, middle, free=("x_0",))),
                "start": "fitted",
            }
        )
    return {"pairs": rows}


def ancestor_tables(means: Specimens, over: Result, found: Result) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a row for the ancestor of each pair of groups and of all, and the coordinates of each.

    In the first, distances and standard errors are root mean squares over coordinates: between the means of
    two groups, and from the ancestor to the midpoint of its groups' means. The column `start` says whether
    the ancestor was fitted or held at the midpoint.
    """
    rows, points = [], []
    dimensions = means.shapes.shape[-1]
    at = dict(zip(means.names, means.shapes.flatten(1).numpy(), strict=True))
    for one in [*found["pairs"], {"pair": means.names, **over}]:
        groups, ends = " + ".join(one["pair"]), [at[name] for name in one["pair"]]
        middle, ancestor = np.mean(ends, axis=0), np.array(one["x_0"])
        apart, stderr = _rms(ancestor - middle), _rms(np.array(one["x_0_stderr"]))
        between = _rms(np.array([first - second for first, second in combinations(ends, 2)]))
        which = {"groups": groups, "start": one["start"]}
        rows.append({**which, "between_means": between, "ancestor_to_midpoint": apart,
                     "stderr": stderr, "in_stderr": apart / stderr, **worth(one)})  # fmt: skip
        for k, (value, error) in enumerate(zip(one["x_0"], one["x_0_stderr"], strict=True)):
            place = {**which, "landmark": k // dimensions + 1, "axis": AXES[k % dimensions]}
            points.append({**place, "ancestor": value, "stderr": error, "midpoint": middle[k]})
    return pd.DataFrame(rows), pd.DataFrame(points)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.square(values).mean()))


def between_table(
    specimens: Specimens, fits: Mapping[str, Result], means: Specimens, over: Result
) -> pd.DataFrame:
    """Return the rows of `group_table` for the means of groups, and those of `amplitude_rows`."""
    amplitudes = pd.DataFrame(amplitude_rows(specimens, fits, over))
    return pd.concat([group_table(means, {MEANS: over}), amplitudes]).drop(columns="group")


def amplitude_rows(specimens: Specimens, fits: Mapping[str, Result], over: Result) -> list[dict[str, object]]:
    """Return within, between and their quotient, with 95 % intervals of the squares; below 0 is 0."""
    counts = np.array([len(specimens.rows(name)) for name in fits])
    groups = len(counts)
    squares = np.array([math.exp(2 * found["theta"][0]) for found in fits.values()])
    errors = np.array([2 * found["theta_stderr"][0] for found in fits.values()]) * squares
    square = math.exp(2 * over["theta"][0]) * groups / (groups - 1)
    error = 2 * over["theta_stderr"][0] * square
    within = float((squares * counts / (counts - 1)).mean())
    within_error = float(np.linalg.norm(errors * counts / (counts - 1)) / groups)
    between = square - float((squares / (counts - 1)).mean())
    between_error = math.hypot(error, float(np.linalg.norm(errors / (counts - 1)) / groups))
    rows: list[dict[str, object]] = [
        _root_row("a_within", within, within_error, int(counts.sum())),
        _root_row("a_between", between, between_error, groups),
    ]
    quotient_error = math.hypot(between_error / within, between * within_error / within**2)
    return [*rows, _root_row("a_between_over_within", between / within, quotient_error, groups)]


def _root_row(name: str, square: float, error: float, n: int) -> dict[str, object]:
    """Return the row of the root of a square that is known to ± error."""
    value, low, high = np.sqrt(np.maximum([square, square - Z * error, square + Z * error], 0.0)).tolist()
    return {"quantity": name, "estimate": value, "low": low, "high": high, "n": n}
