"""The tables of `graybench shapes FILE --tree TREE`, tidy: one row for each number.

Intervals are 95 % intervals. For Brownian motion those of parameters are symmetric in the logarithm, and
those of nodes hold the parameters at their estimates. For the diffusion they are quantiles of the posterior.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp

from ...methods.bridge.trees.brownian import TreeSample
from ...tasks.landmarks.trees import Tree
from ..analysis.statistics import Array
from ..running.pieces import Result
from .tables import AXES

QUANTITIES = {"log_a": "a", "log_length": "length", "log_within": "within"}
QUALITY = ("root_ess", "root_rhat", "theta_ess", "theta_rhat", "acceptance")
TAILS = 0.05  # outside a band
RELATIVE = "nearest_relative"


def node_labels(tree: Tree) -> list[str]:
    """Return a label for each node: its name, else "root" or "node 2", counted over the inner nodes."""
    inner = {node: place for place, node in enumerate(tree.inner, start=1)}
    return [name or ("root" if node == 0 else f"node {inner[node]}") for node, name in enumerate(tree.names)]


def unknown_nodes(sample: TreeSample) -> list[int]:
    """Return the nodes whose shape is estimated: the ancestors, and species whose specimens scatter."""
    return [node for node in range(len(sample.tree)) if sample.within or node not in sample.tree.tips]


def parameter_table(fits: Mapping[str, Result]) -> pd.DataFrame:
    """Return a, ℓ and w of each model with the quality of its fit: of chains, or of a maximum."""
    rows: list[dict[str, object]] = []
    for method, found in fits.items():
        worth = {name: found.get(name) for name in ("log_likelihood", "converged", *QUALITY)}
        columns = (found[part] for part in ("names", "theta", "low", "high"))
        for name, *logs in zip(*columns, strict=True):
            with np.errstate(over="ignore"):
                estimate, low, high = np.exp(logs)
            rows.append({"method": method, "quantity": QUANTITIES[name], "estimate": estimate, "low": low,
                         "high": high, **worth})  # fmt: skip
    return pd.DataFrame(rows)


def node_table(sample: TreeSample, fits: Mapping[str, Result]) -> pd.DataFrame:
    """Return the coordinates of the shape at each node under each model; `time` is from the root."""
    labels, rows = node_labels(sample.tree), []
    for method, found in fits.items():
        mean, lower, upper = (np.array(found[part]) for part in ("mean", "lower", "upper"))
        for node in unknown_nodes(sample):
            for landmark, axis in np.ndindex(*mean.shape[1:]):
                at = (node, landmark, axis)
                rows.append({"node": labels[node], "time": sample.tree.ages[node], "landmark": landmark + 1,
                             "axis": AXES[axis], "method": method, "mean": mean[at], "lower": lower[at],
                             "upper": upper[at]})  # fmt: skip
    return pd.DataFrame(rows)


def held_out_table(tree: Tree, folds: Sequence[Sequence[int]], found: Sequence[Result]) -> pd.DataFrame:
    """Return how well each species is predicted from the others by each model, and by its nearest relative.

    * rms_error: of the coordinates of the species' mean specimen.
    * coverage: the share of them inside the 95 % bands.
    * interval_score: the width of the bands plus 40 times what a coordinate lies outside, on average; lower
      is better [Gneiting & Raftery 2007].
    * root_ess, root_rhat: of the chains behind the diffusion's prediction.
    """
    rows: list[dict[str, object]] = []
    for tips, result in zip(folds, found, strict=True):
        for tip, species in zip(tips, result["species"], strict=True):
            truth = np.array(species["truth"])
            for method, predicted in species.items():
                if method == "truth":
                    continue
                row: dict[str, object] = {"species": tree.names[tip], "method": method}
                row |= score(truth, predicted)
                if method == "diffusion":
                    row |= {name: result[name] for name in ("root_ess", "root_rhat")}
                rows.append(row)
    return pd.DataFrame(rows)


def score(truth: Array, predicted: Any) -> dict[str, object]:
    """Return the scores of a prediction: a shape, or mean, lower and upper."""
    if not isinstance(predicted, dict):
        return {"rms_error": rms(np.array(predicted) - truth)}
    mean, lower, upper = (np.array(predicted[part]) for part in ("mean", "lower", "upper"))
    outside = np.clip(lower - truth, 0, None) + np.clip(truth - upper, 0, None)
    return {
        "rms_error": rms(mean - truth),
        "coverage": float((outside == 0).mean()),
        "interval_score": float((upper - lower + 2 / TAILS * outside).mean()),
    }


def rms(x: Array) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.square(x).mean()))


def held_out_summary(held: pd.DataFrame) -> pd.DataFrame:
    """Return means over species of each method's scores, and by how much the diffusion's error is smaller.

    `lower_by` is the mean of a method's rms error minus that of the diffusion, with its 95 % t interval over
    species.
    """
    errors = held.pivot(index="species", columns="method", values="rms_error")
    rows = []
    for method, own in held.groupby("method", sort=False):
        row = {"method": method, "species": len(own)}
        row |= {name: own[name].mean() for name in ("rms_error", "coverage", "interval_score")}
        if method != "diffusion":
            apart = errors[method] - errors["diffusion"]
            interval = ttest_1samp(apart, 0).confidence_interval()
            row |= {"lower_by": apart.mean(), "low": interval.low, "high": interval.high}
        rows.append(row)
    return pd.DataFrame(rows)


def root_distance(fits: Mapping[str, Result]) -> tuple[float, float]:
    """Return the rms distance between the roots of diffusion and baseline, and the baseline's sd."""
    mean, other = (np.array(fits[method]["mean"])[0] for method in ("diffusion", "brownian_gaussian"))
    variances = np.array(fits["brownian_gaussian"]["covariance"])[0].diagonal(axis1=-2, axis2=-1)
    return rms(mean - other), float(np.sqrt(variances.mean()))
