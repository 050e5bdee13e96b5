"""The claims of Boserup et al. as numbers with intervals, from tables of `graybench bridges` and `shapes`.

Intervals are normal, from standard errors over end points; or bootstrap intervals over data sets; or
Wilson's, for shares.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from ...analysis.statistics import Array, Interval, Z, exact, mean_interval, ratio_interval, share_interval
from ..findings import Finding

UNBIASED, AGREE = 0.02, 1.0  # nats
GOOD, USABLE, COLLAPSED = 0.9, 0.5, 0.05  # ESS/N
SCORE_COEFFICIENT = -1.5  # of 1/x, for geometric Brownian motion
EXPLICIT_DRAWS = 10_000
SMALL_ERROR, LEAST_COVERAGE = 0.08, 0.85

NAMES = {
    "brownian": "Brownian motion",
    "ornstein_uhlenbeck": "Ornstein-Uhlenbeck",
    "geometric_brownian": "geometric Brownian",
}

Found = Iterator[Finding]


def column(rows: pd.DataFrame, name: str) -> Array:
    """Return a column of a table as a table of one observation, (R, 1)."""
    return rows[name].to_numpy(dtype=np.float64).reshape(-1, 1)


def case_of(row: pd.Series) -> str:
    """Name the process and dimension of a row of an experiment."""
    return f"{NAMES[str(row['task'])]}, D = {int(row['dim'])}"


def likelihoods_are_unbiased(table: pd.DataFrame) -> Found:
    """Yield the |bias| of log-likelihoods against the exact law, in nats."""
    for _, row in table.iterrows():
        found = absolute(normal(float(row["bias"]), float(row["bias_stderr"])))
        yield Finding(f"|bias| in nats, {case_of(row)}", _setting(row), None, UNBIASED, found)


def bridges_are_good(table: pd.DataFrame) -> Found:
    """Yield ESS/N of the processes whose law is known."""
    for _, row in table.iterrows():
        yield _ess(row, case_of(row), _setting(row), GOOD)


def few_landmarks_are_usable(table: pd.DataFrame) -> Found:
    """Yield ESS/N of 8 and 16 landmarks with the heat kernel's score."""
    for _, row in table[table["proposal"] == "heat_kernel"].iterrows():
        n, m = int(row["landmarks"]), int(row["dimensions"])
        case = f"{n} landmarks, D = {n * m}, a = {row['amplitude']:g}"
        yield _ess(row, case, str(row["proposal"]), USABLE)


def many_landmarks_do_not_collapse(table: pd.DataFrame) -> Found:
    """Count the sizes at which ESS/N is too low, and at which two runs disagree, for each proposal.

    The 4 and 2 end points are too few for intervals of their means. A number that is not finite counts as
    bad.
    """
    counts = {
        f"ESS/N, counted by origins, is below {COLLAPSED}": ~(table["ess_fraction"] >= COLLAPSED),
        f"ESS/N at the end is below {COLLAPSED}": ~(table["final_ess_fraction"] >= COLLAPSED),
        f"two runs differ by more than {AGREE} nat on average": ~(table["mean_difference"] <= AGREE),
    }
    for what, bad in counts.items():
        for proposal, own in table.assign(bad=bad).groupby("proposal", sort=False):
            sizes = " and ".join(str(n) for n in own["landmarks"])
            claim = f"number of sizes, {sizes} landmarks, at which {what}"
            yield Finding(claim, str(proposal), None, 0, exact(int(own["bad"].sum())))


def _ess(row: pd.Series, case: str, setting: str, target: float) -> Finding:
    found = normal(float(row["ess_fraction"]), float(row.get("ess_stderr", math.nan)))
    return Finding(f"ESS/N, {case}", setting, None, target, found, at_least=True)


def _setting(row: pd.Series) -> str:
    if "network" in row:
        return f"{row['network']} network, {'used' if row['used'] else 'not used'}"
    return f"{row['proposal']} score" if row["proposal"] == "exact" else str(row["proposal"])


def exact_proposals(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of bridges with the exact score."""
    return table[table["proposal"] == "exact"]


def low_dimensions(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of processes of one and two dimensions."""
    return table[table["dim"] <= 2]


def high_dimensions(table: pd.DataFrame, network: str) -> pd.DataFrame:
    """Return the rows of processes of more than two dimensions, with one kind of network."""
    return table[(table["dim"] > 2) & (table["network"] == network)]


def factor_is_needed(table: pd.DataFrame) -> Found:
    """Yield ESS/N without the factor t_k/t_{k+1} of the proposal's covariance, which should be low."""
    for _, row in table.iterrows():
        ess = normal(float(row["ess_fraction"]), float(row.get("ess_stderr", math.nan)))
        yield Finding(f"ESS/N, {case_of(row)}", "exact score, no factor", None, GOOD, ess)


def adjoint_kernel_is_needed(table: pd.DataFrame) -> Found:
    """Yield ESS/N with the forward kernel on geometric Brownian motion, which should be low."""
    for _, row in table[table["kernel"] == "forward"].iterrows():
        ess = normal(float(row["ess_fraction"]), float(row.get("ess_stderr", math.nan)))
        yield Finding(f"ESS/N, {case_of(row)}, K = {row['steps']}", "forward kernel", None, GOOD, ess)


def learns_the_score(objective: str) -> Callable[[pd.DataFrame], Found]:
    """Return a function that finds the error of an objective's minimiser in the coefficient of 1/x."""

    def find(table: pd.DataFrame) -> Found:
        own = table.loc[table["objective"] == objective, "c"].to_numpy(dtype=float)
        found = absolute(mean_interval((own - SCORE_COEFFICIENT).reshape(-1, 1)))
        claim = f"|coefficient of 1/x − ({SCORE_COEFFICIENT})|, geometric Brownian"
        yield Finding(claim, f"{objective} objective", None, 0.05, found)

    return find


def target_is_stable(table: pd.DataFrame) -> Found:
    """Compute the growth of the targets' rms from the best to the worst condition of Σ.

    The mean square of n draws has a relative standard error of at most √(2/n), for any spectrum.
    """
    ordered = table.sort_values("condition")
    worst = ordered["condition"].iloc[-1]
    stderr = math.sqrt(2) * math.sqrt(2 / EXPLICIT_DRAWS) / 2
    for name, target, at_least in (("stable", 1.05, False), ("explicit", 10.0, True)):
        rms = ordered[f"rms_{name}"].to_numpy(dtype=float)
        growth = float(rms[-1] / rms[0])
        claim = f"rms of the target at condition {worst:.2g} / at {ordered['condition'].iloc[0]:.2g}"
        yield Finding(claim, f"{name} objective", None, target, normal(growth, growth * stderr), at_least)


def log_sum_exp_is_right(table: pd.DataFrame) -> Found:
    """Yield the error of log-sum-exp in the least dimension where plain averaging has no finite value."""
    for _, row in table.iterrows():
        error = exact(abs(float(row["log_sum_exp_error"])))
        claim = f"|error| in nats at D = {int(row['dim'])}, the first {row['what']} of plain averaging"
        yield Finding(claim, str(row["dtype"]), None, 1e-5, error)


def parameters_are_recovered(table: pd.DataFrame) -> Found:
    """Compute the mean |relative error|, the coverage of 95 % intervals, and the share of converged fits."""
    for parameter, rows in table.groupby("parameter"):
        error = mean_interval(rows["relative_error"].abs().to_numpy(dtype=float).reshape(-1, 1))
        setting = f"{len(rows)} data sets"
        yield Finding(f"mean |relative error| of {parameter}", setting, None, SMALL_ERROR, error)
        covered = share_interval(int(rows["covered"].sum()), len(rows))
        claim = f"coverage of 95 % intervals of {parameter}"
        yield Finding(claim, setting, None, LEAST_COVERAGE, covered, at_least=True)
    fits = table.drop_duplicates("data_set")
    share = share_interval(int(fits["converged"].sum()), len(fits))
    yield Finding("share of fits that converged", f"{len(fits)} data sets", None, 0.5, share, at_least=True)


def starts_are_recovered(table: pd.DataFrame) -> Found:
    """Compute the ratio of the diffusion mean's rms error to the sample mean's, and interval coverage."""
    setting = f"{len(table)} data sets"
    squares = [
        table[f"{which}_mean_error"].to_numpy(dtype=float).reshape(-1, 1) ** 2
        for which in ("diffusion", "sample")
    ]
    ratio = Interval(*(math.sqrt(value) for value in ratio_interval(*squares)))
    yield Finding("rms error of the diffusion mean / of the sample mean", setting, None, 1.0, ratio)
    coverage = mean_interval(table["coverage"].to_numpy(dtype=float).reshape(-1, 1))
    yield Finding("coverage of 95 % intervals of coordinates", setting, None, LEAST_COVERAGE, coverage, True)


def means_of_groups_agree(table: pd.DataFrame) -> Found:
    """Compute the largest distance of a diffusion mean from its sample mean, in standard errors."""
    wide = table.pivot(index="group", columns="quantity", values="estimate")
    share = wide["distance_of_means"] / wide["mean_stderr"]
    group = str(share.idxmax())
    claim = f"largest over {len(share)} groups of the means' distance / standard error of the mean ({group})"
    yield Finding(claim, "apes", None, 1.0, exact(float(share.max())))


def species_are_told_apart(summary: pd.DataFrame, classified: pd.DataFrame) -> Found:
    """Compute held-out accuracies over groups, over species alone, and over the sexes of a species."""
    yield from groups_are_told_apart("apes")(summary)
    species = [classified[c].str[:-1] for c in ("group", "by_likelihood")]  # a group is a species and f or m
    right = share_interval(int((species[0] == species[1]).sum()), len(classified))
    largest = float(species[0].value_counts(normalize=True).iloc[0])
    yield Finding("held-out accuracy over species", "apes", None, largest, right, at_least=True)
    for name, own in classified.groupby(species[0]):
        right = share_interval(int((own["group"] == own["by_likelihood"]).sum()), len(own))
        chance = float(own["group"].value_counts(normalize=True).iloc[0])
        yield Finding(
            f"held-out accuracy over groups, specimens of {name}", "apes", None, chance, right, True
        )


def groups_are_told_apart(sample: str) -> Callable[[pd.DataFrame], Found]:
    """Return a function that finds held-out accuracy and the lead of the own group in nats."""

    def find(summary: pd.DataFrame) -> Found:
        known = summary.set_index("quantity")
        accuracy = Interval(*known.loc["accuracy_likelihood", ["value", "low", "high"]].to_numpy(dtype=float))
        chance = float(known["value"].to_dict()["chance"])
        yield Finding("held-out accuracy over groups", sample, None, chance, accuracy, at_least=True)
        gain = known.loc["within_minus_between_held_out", ["value", "low", "high"]].to_numpy(dtype=float)
        claim = "held-out nats a specimen, own group less the others' mean"
        yield Finding(claim, sample, None, 0.0, Interval(*gain), at_least=True)

    return find


def normal(value: float, stderr: float) -> Interval:
    """Return a number with its normal interval."""
    return Interval(value, value - Z * stderr, value + Z * stderr)


def absolute(interval: Interval) -> Interval:
    """Return the interval of |x| from the interval of x."""
    value, low, high = interval
    nearest = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    return Interval(abs(value), nearest, max(abs(low), abs(high)))
