"""Claims about learned scores, standard errors of bridges and the convergence of likelihoods.

Findings are from tables of `graybench bridges`. Intervals are as in `claims`. A training that was run once
has no interval: it is counted whether it reaches its target.
"""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from ....methods.bridge.genealogy import LAG
from ...analysis.statistics import (
    Array,
    Interval,
    bootstrap_means,
    exact,
    mean_interval,
    percentiles,
    ratio_interval,
    share_interval,
)
from ..findings import Finding
from .claims import COLLAPSED, LEAST_COVERAGE, UNBIASED, USABLE, Found, absolute, column, normal
from .experiments.coverage import THETA
from .experiments.landmark_networks import ENDS

WELL_ERROR, EXPONENT_ERROR, STDERR_ERROR = 0.05, 0.1, 0.1  # nats; of exponents; of standard errors
NETWORK_ESS = {16: 0.3, 32: 0.1}  # by the number of landmarks
LARGEST_STDERR = {32: 0.25, 64: 0.5}  # nats
LEAST_RATIO, LARGEST_RATIO = 0.7, 1.4  # of the stated error to the spread of runs
FARTHEST = 2.0  # stated errors, from a run with many more bridges
CLEARLY = 0.01  # differences of ESS/N
WORTH = 0.05  # of the seconds
MOST, NEAR = 0.8, 0.05  # share of data sets; distance of starts
PARAMETERS = {"log_k": ("log k", THETA[0]), "log_sigma": ("log σ", THETA[1])}
MODELS = {"MeanReversion": "Ornstein-Uhlenbeck", "GeometricBrownianMotion": "geometric Brownian"}
PROCESSES = {"ornstein_uhlenbeck": "Ornstein-Uhlenbeck", "double_well": "double well"}


def wells_are_served(table: pd.DataFrame) -> Found:
    """Count the cases in which one network's ESS/N is too low; yield the |error| of each case in nats."""
    own = table[table["network"]]
    low = exact(int((~(own["ess_fraction"] >= USABLE)).sum()))
    yield Finding(
        f"number of {len(own)} cases with ESS/N below {USABLE}", "one network for each T", None, 0, low
    )
    for _, row in own.iterrows():
        case = f"T = {row['duration']:g}, σ = {row['sigma']:g}, from −1 to {row['end']:g}".replace("-", "−")
        error = absolute(normal(float(row["error"]), float(row["stderr"])))
        yield Finding(f"|error| in nats, double well, {case}", "learned scores", None, WELL_ERROR, error)


def matching_is_best(table: pd.DataFrame) -> Found:
    """Count the problems and budgets at which another training gives a clearly larger ESS/N."""
    wide = table.set_index(["task", "base", "simulations", "recipe"])["ess_fraction"].unstack()
    behind = ~(wide["matching"] >= wide.drop(columns="matching").max(axis=1) - CLEARLY)
    claim = f"number of {len(wide)} settings in which another training has an ESS/N higher by {CLEARLY}"
    yield Finding(claim, "score matching", None, 0, exact(int(behind.sum())))


def networks_help_landmarks(table: pd.DataFrame) -> Found:
    """Yield ESS/N with the network and without resampling, of each size that has a target, and steps."""
    own = table[(table["base"] == "network") & (table["threshold"] == 0)]
    own = own[own["landmarks"].isin(NETWORK_ESS)]
    for _, row in own.iterrows():
        n = int(row["landmarks"])
        found = normal(float(row["ess_fraction"]), float(row["ess_stderr"]))
        claim = f"ESS/N, {n} landmarks, K = {row['steps']}"
        yield Finding(claim, "attention network", None, NETWORK_ESS[n], found, at_least=True)


def paper_network_serves(table: pd.DataFrame) -> Found:
    """Count the sizes at which the paper's own network gives too low an ESS/N."""
    own = table[table["base"] == "paper"]
    sizes = " and ".join(str(n) for n in own["landmarks"])
    low = exact(int((~(own["ess_fraction"] >= COLLAPSED)).sum()))
    claim = f"number of sizes, {sizes} landmarks, at which ESS/N is below {COLLAPSED}"
    yield Finding(claim, "the paper's network", None, 0, low)


def errors_are_right(table: pd.DataFrame) -> Found:
    """Yield the ratio of the stated error to the spread of runs, held against both ends of its range."""
    for case, runs in cases_of_runs(table):
        ratio = stated_over_spread(runs)
        claim = f"stated error / spread of {len(runs)} runs, {case}"
        yield Finding(claim, "midpoint, resampled", None, LEAST_RATIO, ratio, at_least=True)
        yield Finding(claim, "midpoint, resampled", None, LARGEST_RATIO, ratio)


def errors_are_small(table: pd.DataFrame) -> Found:
    """Yield the mean stated error of each case that has a target, in nats."""
    for case, runs in cases_of_runs(table[table["landmarks"].isin(LARGEST_STDERR)]):
        found = mean_interval(column(runs, "stderr"))
        target = LARGEST_STDERR[int(runs["landmarks"].iloc[0])]
        yield Finding(f"mean stated error in nats, {case}", "midpoint, resampled", None, target, found)


def long_runs_agree(table: pd.DataFrame) -> Found:
    """Yield the distance of the mean of runs from the run with the most bridges, in stated errors."""
    for case, runs in cases_of_runs(table):
        long = reference_of(table, runs)
        if long is None:
            continue
        stated = math.sqrt(float((runs["stderr"] ** 2).mean()))
        estimates = runs["log_likelihood"]
        stderr = math.hypot(float(estimates.std()) / math.sqrt(len(runs)), float(long["stderr"]))
        away = normal(float(estimates.mean() - long["log_likelihood"]) / stated, stderr / stated)
        claim = f"|mean of {len(runs)} runs − a run with N = {long['particles']:,}| / stated error, {case}"
        yield Finding(claim, "midpoint, resampled", None, FARTHEST, absolute(away))


def cases_of_runs(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the name and the runs of each case of landmarks, bridges and steps with more than one run.

    Rows have the default lag.
    """
    own = table[np.isclose(table["lag"], LAG)]
    grouped = own.groupby(["landmarks", "particles", "steps"], sort=False)
    return [
        (f"{n} landmarks, N = {particles:,}, K = {steps}", runs)
        for (n, particles, steps), runs in grouped
        if len(runs) > 1
    ]


def reference_of(table: pd.DataFrame, runs: pd.DataFrame) -> "pd.Series | None":
    """Return the single run with more bridges, of as many landmarks and steps; None if there is none."""
    first = runs.iloc[0]
    same = (table["landmarks"] == first["landmarks"]) & (table["steps"] == first["steps"])
    more = table[same & (table["particles"] > first["particles"])]
    return None if more.empty else more.loc[more["particles"].idxmax()]


def stated_over_spread(runs: pd.DataFrame) -> Interval:
    """Return the root mean square of stated errors over the standard deviation of the runs' estimates."""
    estimates = column(runs, "log_likelihood")
    parts = [column(runs, "stderr") ** 2, estimates - estimates.mean()]
    parts.append(parts[1] ** 2)
    n = len(runs)

    def ratio(stated: Array, mean: Array, square: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sqrt(stated / ((square - mean**2) * n / (n - 1)))

    value = float(ratio(*(part.mean() for part in parts)))
    return Interval(value, *percentiles(ratio(*bootstrap_means(*parts)), n))


def determinants_do_not_matter(table: pd.DataFrame) -> Found:
    """Yield the change of log p without determinants at the most steps, and the share of time saved."""
    for _, row in table[table["steps"] == table["steps"].max()].iterrows():
        spread = float(row["offset_spread"]) / math.sqrt(ENDS)
        case = f"{int(row['landmarks'])} landmarks, a = {row['amplitude']:g}, K = {int(row['steps'])}"
        change = absolute(normal(float(row["offset"]), spread))
        yield Finding(f"|change of log p| in nats, {case}", "no determinants", None, UNBIASED, change)
    saved = ratio_interval(column(table, "seconds_saved"), column(table, "seconds"))
    claim = "share of the seconds that determinants take"
    yield Finding(claim, f"{len(table)} settings", None, WORTH, saved, at_least=True)


def intervals_cover(base: str) -> Callable[[pd.DataFrame], Found]:
    """Return a function that finds the coverage of intervals and the error of their standard errors."""

    def find(table: pd.DataFrame) -> Found:
        for kind, rows in table[table["base"] == base].groupby("kind", sort=False):
            data = {"ends": "50 end points", "path": "a path"}[str(kind)]
            for name, (symbol, _) in PARAMETERS.items():
                covered = share_interval(int(rows[f"{name}_covered"].sum()), len(rows))
                claim = f"coverage of 95 % intervals of {symbol}, {data}"
                setting = f"{base}, {len(rows)} data sets"
                yield Finding(claim, setting, None, LEAST_COVERAGE, covered, at_least=True)
            away = (stated_over_exact(rows, "log_k") - 1).abs()
            error = mean_interval(np.asarray(away, dtype=np.float64).reshape(-1, 1))
            claim = f"mean |stated / exact standard error − 1| of log k, {data}"
            yield Finding(claim, f"{base}, {len(away)} fits with both", None, STDERR_ERROR, error)

    return find


def stated_over_exact(rows: pd.DataFrame, name: str) -> "pd.Series[float]":
    """Return the ratio of a parameter's standard errors, of the fits that state them.

    The exact maximum must have the standard errors of both parameters: otherwise Newton's steps found none.
    """
    known = [f"{prefix}{parameter}_stderr" for prefix in ("", "exact_") for parameter in PARAMETERS]
    rows = rows.dropna(subset=known)
    return rows[f"{name}_stderr"] / rows[f"exact_{name}_stderr"]


def starts_are_found(table: pd.DataFrame) -> Found:
    """Yield convergence, errors and coverage of starts fitted by a network conditioned on x_0."""
    for task, rows in table.groupby("task", sort=False):
        process, setting = PROCESSES[str(task)], f"{len(rows)} data sets"
        share = share_interval(int(rows["converged"].sum()), len(rows))
        yield Finding(f"share of fits that converged, {process}", setting, None, MOST, share, at_least=True)
        near = share_interval(int((rows["distance"] <= NEAR).sum()), len(rows))
        claim = f"share of fits within {NEAR} of the exact maximum, {process}"
        yield Finding(claim, setting, None, MOST, near, at_least=True)
        squares = [column(rows, f"{which}_mean_error") ** 2 for which in ("diffusion", "sample")]
        ratio = Interval(*(math.sqrt(value) for value in ratio_interval(*squares)))
        claim = f"rms error of the fitted start / of the sample mean, {process}"
        yield Finding(claim, setting, None, 1.0, ratio)
        covered = share_interval(int(rows["covered"].sum()), len(rows))
        claim = f"coverage of 95 % intervals of x_0, {process}"
        yield Finding(claim, setting, None, LEAST_COVERAGE, covered, at_least=True)


def errors_fall_as_expected(what: str) -> Callable[[pd.DataFrame], Found]:
    """Return a function that finds how far exponents of the bias or the spread are from those of theory."""

    def find(table: pd.DataFrame) -> Found:
        for (over, model), rows in table.groupby(["over", "model"], sort=False):
            first = rows.iloc[0]
            fitted = [float(first[f"{what}_exponent{end}"]) for end in ("", "_low", "_high")]
            theory = float(first[f"{what}_exponent_theory"])
            away = absolute(Interval(*(value - theory for value in fitted)))
            claim = f"|b − ({theory:g})| for {what} ∝ {over}^b, fitted b = {fitted[0]:.3g}"
            yield Finding(claim, MODELS[str(model)], None, EXPONENT_ERROR, away)

    return find
