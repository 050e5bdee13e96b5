"""The tables of `graybench shapes`, tidy: one row for each number, with its standard error and its ESS/N.

Intervals are 95 % intervals: symmetric in the logarithm for a and ℓ, Wilson's for shares. The p-value for two
equally good classifiers is McNemar's exact one: a specimen that only one of them classifies right is as
likely to be right by the first as by the second.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from ..analysis.statistics import Array, Z, share_interval
from ..running.pieces import Result
from .fits import PARAMETERS
from .specimens import Specimens

AXES = ("x", "y", "z")


def parameter_rows(found: Result, **where: object) -> list[dict[str, object]]:
    """Return the rows of a and ℓ of a fit: estimate, stderr by the delta method, and interval."""
    rows = []
    for name, log, stderr in zip(PARAMETERS, found["theta"], found["theta_stderr"], strict=True):
        value = math.exp(log)
        with np.errstate(over="ignore"):
            low, high = np.exp([log - Z * stderr, log + Z * stderr])
        rows.append({**where, "quantity": name, "estimate": value, "stderr": value * stderr, "low": low,
                     "high": high, **worth(found)})  # fmt: skip
    return rows


def worth(found: Result) -> dict[str, object]:
    """Return the columns that say how reliable a fit is."""
    return {name: found[name] for name in ("ess_fraction", "ess_least", "n", "converged")}


def group_table(specimens: Specimens, fits: Mapping[str, Result]) -> pd.DataFrame:
    """Return a, ℓ, the log-likelihood, and the distance of the diffusion mean from the sample mean.

    The column `start` says whether x_0 was fitted or held at the sample mean.
    """
    rows = []
    for group, found in fits.items():
        where = {"group": group, "start": found["start"]}
        rows += parameter_rows(found, **where)
        shapes = specimens.of(group).flatten(-2).numpy()
        mean = shapes.mean(0)
        apart = float(np.linalg.norm(np.array(found["x_0"]) - mean))
        # the standard error of the mean, in the same measure
        known = float(np.sqrt(np.sum(np.square(found["x_0_stderr"]))))
        spread = float(np.sqrt(np.square(shapes - mean).mean()))
        rest: list[tuple[str, float, float]] = [
            ("log_likelihood", found["log_likelihood"], found["log_likelihood_stderr"]),
            ("distance_of_means", apart, math.nan),
            ("mean_stderr", known, math.nan),
            ("rms_spread", spread, math.nan),
        ]
        rows += [
            {**where, "quantity": name, "estimate": value, "stderr": stderr, **worth(found)}
            for name, value, stderr in rest
        ]
    return pd.DataFrame(rows)


def mean_table(specimens: Specimens, fits: Mapping[str, Result]) -> pd.DataFrame:
    """Return the coordinates of diffusion means and of sample means; for `start` see `group_table`."""
    rows = []
    dimensions = specimens.shapes.shape[-1]
    for group, found in fits.items():
        sample = specimens.of(group).mean(0).flatten().tolist()
        which = {"group": group, "start": found["start"]}
        for k, (value, stderr) in enumerate(zip(found["x_0"], found["x_0_stderr"], strict=True)):
            place = {**which, "landmark": k // dimensions + 1, "axis": AXES[k % dimensions]}
            rows.append({**place, "diffusion_mean": value, "stderr": stderr, "sample_mean": sample[k],
                         **worth(found)})  # fmt: skip
    return pd.DataFrame(rows)


def likelihood_table(specimens: Specimens, rows: Sequence[int], scores: Result, fit: str) -> pd.DataFrame:
    """Return the log-likelihoods of specimens under each group; `fit` says what the groups were fitted to."""
    columns = ("value", "stderr", "ess_fraction")
    found = []
    for place, row in enumerate(rows):
        for k, group in enumerate(specimens.group_names):
            value, stderr, ess = (scores[name][place][k] for name in columns)
            own = {"specimen": specimens.names[row], "own_group": specimens.groups[row], "fit": fit}
            found.append({**own, "group": group, "log_likelihood": value, "stderr": stderr,
                          "ess_fraction": ess})  # fmt: skip
    return pd.DataFrame(found)


def other_table(names: Sequence[str], groups: Sequence[str], scores: Result) -> pd.DataFrame:
    """Return the log-likelihoods of specimens of no group under each, and their Procrustes distances.

    `normal` is the log-likelihood if the end of a diffusion were normal. It has no Monte Carlo error, and
    stands beside estimates with a low ESS/N.
    """
    parts = {"log_likelihood": "value", "stderr": "stderr", "ess_fraction": "ess_fraction",
             "normal": "normal", "procrustes_distance": "distance"}  # fmt: skip
    rows: list[dict[str, object]] = []
    for place, name in enumerate(names):
        for k, group in enumerate(groups):
            found = {column: scores[part][place][k] for column, part in parts.items()}
            rows.append({"specimen": name, "group": group, **found})
    return pd.DataFrame(rows)


def classification_table(specimens: Specimens, fold: Sequence[int], scores: Sequence[Result]) -> pd.DataFrame:
    """Return the group that each held-out specimen was assigned to.

    The margin is the lead of the chosen group over the next one: in nats, and in Procrustes distance.
    """
    names, rows = specimens.group_names, []
    for which, found in enumerate(scores):
        held = [row for row, own in enumerate(fold) if own == which]
        for place, row in enumerate(held):
            value, distance = np.array(found["value"][place]), np.array(found["distance"][place])
            order, near = np.argsort(-value), np.argsort(distance)
            rows.append(
                {
                    "specimen": specimens.names[row],
                    "fold": which,
                    "group": specimens.groups[row],
                    "by_likelihood": names[order[0]],
                    "by_procrustes": names[near[0]],
                    "margin_likelihood": value[order[0]] - value[order[1]],
                    "margin_stderr": float(np.hypot(*np.array(found["stderr"][place])[order[:2]])),
                    "ess_least": min(found["ess_fraction"][place]),
                    "margin_procrustes": distance[near[1]] - distance[near[0]],
                }
            )
    return pd.DataFrame(rows)


def summary_table(classified: pd.DataFrame, likelihoods: pd.DataFrame) -> pd.DataFrame:
    """Return accuracies and chance, the paired comparison, and likelihoods within and between groups."""
    right = {
        by: (classified[f"by_{by}"] == classified["group"]).to_numpy() for by in ("likelihood", "procrustes")
    }
    n = len(classified)
    rows: list[dict[str, object]] = [
        {"quantity": f"accuracy_{by}", **share(int(hits.sum()), n)} for by, hits in right.items()
    ]
    largest = int(classified["group"].value_counts().iloc[0])
    only = [int((right["likelihood"] & ~right["procrustes"]).sum()),
            int((right["procrustes"] & ~right["likelihood"]).sum())]  # fmt: skip
    rows.append({"quantity": "chance", "value": largest / n, "n": n})
    rows.append({"quantity": "only_likelihood_right", "value": only[0], "n": n})
    rows.append({"quantity": "only_procrustes_right", "value": only[1], "n": n})
    rows.append({"quantity": "mcnemar_p", "value": mcnemar(*only), "n": sum(only)})
    for fit, own in likelihoods.groupby("fit", sort=False):
        rows += within_and_between(own, str(fit))
    return pd.DataFrame(rows)


def within_and_between(likelihoods: pd.DataFrame, fit: str) -> list[dict[str, object]]:
    """Return the mean log-likelihood under the own group, under the other groups, and their difference.

    The intervals are normal, over specimens. All specimens share the fits, whose errors the intervals ignore.
    """
    own = likelihoods["own_group"] == likelihoods["group"]
    within = likelihoods[own].set_index("specimen")["log_likelihood"]
    between = likelihoods[~own].groupby("specimen")["log_likelihood"].mean().reindex(within.index)
    ess = {"ess_fraction": likelihoods["ess_fraction"].mean(), "ess_least": likelihoods["ess_fraction"].min()}
    rows = []
    parts = {"within": within, "between": between, "within_minus_between": within - between}
    for name, values in parts.items():
        mean, stderr = float(values.mean()), float(values.std() / math.sqrt(len(values)))
        rows.append({"quantity": f"{name}_{fit}", "value": mean, "low": mean - Z * stderr,
                     "high": mean + Z * stderr, "n": len(values), **ess})  # fmt: skip
    above = int((within > between).sum())
    return [*rows, {"quantity": f"within_above_between_{fit}", **share(above, len(within)), **ess}]


def share(hits: int, n: int) -> dict[str, object]:
    """Return a share with its Wilson interval."""
    return {**share_interval(hits, n)._asdict(), "n": n}


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value for two equally good classifiers."""
    differ = only_first + only_second
    return float(binomtest(only_first, differ).pvalue) if differ else 1.0


def group_means(likelihoods: pd.DataFrame, groups: Sequence[str]) -> Array:
    """Return the mean log-likelihood of group i's specimens under group j minus under group i, (G, G)."""
    wide = likelihoods.pivot(index=["own_group", "specimen"], columns="group", values="log_likelihood")
    means = wide.groupby("own_group").mean().loc[list(groups), list(groups)].to_numpy()
    return means - np.diag(means)[:, None]


def profile_table(profiles: Mapping[str, Result]) -> pd.DataFrame:
    """Return log-likelihoods along a and along ℓ, relative to the log-likelihood at the estimate."""
    return pd.DataFrame(
        [{"group": group, **row} for group, found in profiles.items() for row in found["rows"]]
    )
