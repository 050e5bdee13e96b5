"""The claims of Ko & Geffner as numbers with intervals, from the tables of `galton.yaml` and `suite.yaml`.

Every function takes tables and yields findings. On the Galton board there are two settings: the papers'
network without early stopping, and the suite's default. Over all tasks a number is the geometric mean of
ratios with Student's interval over tasks, or a count of tasks that Student's tests show to be on one side;
Holm's rule limits the false alarms of all tasks together to 5 %. A task without a result may be on either
side, and does not count as shown better.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student

from ....tasks.classic.galton import Galton
from ...analysis.comparison import ratios
from ...analysis.statistics import (
    LEVEL,
    NO_RESULT,
    Array,
    Difference,
    Interval,
    bootstrap_means,
    count,
    difference_interval,
    exact,
    holm,
    percentiles,
    share_interval,
    table_of,
)
from ...figures.board import TILTS
from ...running.rows import with_variants
from ..findings import Finding, at_times, averaged_over_time, compared, groups, largest_ratio, of

PAPER = "early_stopping=false recipe=plain"
SETTINGS = (PAPER, "")
SMALL_T, LARGE_T, MIDDLE_T = 0.1, 0.5, 0.1
LOW, EQUAL = 0.05, 1.01
BEYOND = "beyond noise"
GEOMETRIC = "geometric mean over {} tasks"

Found = Iterator[Finding]


def elsewhere(find: Callable[[pd.DataFrame], Found]) -> Callable[[pd.DataFrame], Found]:
    """Return a function with the same findings for all tasks except the Galton board."""
    return lambda table: find(table[table["task"] != "galton"])


def settings_of(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the two settings with `label` and `variant`, without skipped rows."""
    rows = with_variants(table[table["status"] != "skipped"])
    return rows[rows["variant"].isin(SETTINGS)]


def scored_tasks(table: pd.DataFrame) -> list[str]:
    """Return the tasks on which variances of targets were measured: their score is exact for every x."""
    measured = (table["metric"] == "target_variance") & (table["status"] == "ok")
    return [str(task) for task in table.loc[measured, "task"].unique()]


def dsm_variance_rises(table: pd.DataFrame) -> Found:
    """Compare DSM's variance at t = 0.1 with its variance at the least t."""
    yield from _change_of_variance(table, "dsm", MIDDLE_T, None)


def ltsm_variance_rises(table: pd.DataFrame) -> Found:
    """Compare LTSM's variance at t = 0.1 with its variance at the largest t."""
    yield from _change_of_variance(table, "ltsm", MIDDLE_T, 1.0)


def _change_of_variance(table: pd.DataFrame, label: str, of_time: float, to_time: float | None) -> Found:
    for task, rows in _variances(table):
        own, least = of(rows, label), rows["time"].min()
        sides = [at_times(own, own["time"] == (least if t is None else t)) for t in (of_time, to_time)]
        where = f"t = {of_time:g} / at t = {least if to_time is None else to_time:g}"
        variant = str(rows["variant"].iloc[0])
        yield from compared(f"{task}: target variance of {label} at {where}", variant, 1.0, *sides)


def ltsm_variance_is_low(table: pd.DataFrame) -> Found:
    """Compute the ratio of LTSM's target variance to DSM's at the least t, and the largest at small t."""
    for task, rows in _variances(table):
        for end in (float(rows["time"].min()), SMALL_T):
            early = at_times(rows, rows["time"] <= end)
            ratio = largest_ratio(of(early, "ltsm"), [of(early, "dsm")])
            where = f"largest over t ≤ {end:g} of target" if end == SMALL_T else f"at t = {end:g}, target"
            yield _finding(f"{task}: {where} variance of LTSM / of DSM", early, ratio)


def keeps_the_best(label: str) -> Callable[[pd.DataFrame], Found]:
    """Return a function: the largest ratio over t of a variance to the lower of DSM's and LTSM's."""

    def find(table: pd.DataFrame) -> Found:
        for task, rows in _variances(table):
            if all(len(of(rows, needed)) for needed in (label, "dsm", "ltsm")):
                ratio = largest_ratio(of(rows, label), [of(rows, "dsm"), of(rows, "ltsm")])
                claim = f"largest over t of target variance of {label} / of the better of DSM and LTSM"
                yield _finding(f"{task}: {claim}", rows, ratio, EQUAL)

    return find


def tsm_has_less_variance(table: pd.DataFrame) -> Found:
    """Compute the largest ratio over t of TSM's target variance to LTSM's, where both were measured."""
    for task, rows in _variances(table):
        tsm, ltsm = of(rows, "tsm"), of(rows, "ltsm")
        if len(tsm) and len(ltsm):
            claim = f"{task}: largest over t of target variance of TSM / of LTSM"
            yield _finding(claim, rows, largest_ratio(tsm, [ltsm]))


def _variances(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each task with the rows of its target variances at the largest budget, in one setting.

    The setting is the papers', or else the suite's default.
    """
    rows = settings_of(table[table["metric"] == "target_variance"])
    for task in scored_tasks(table):
        own = rows[rows["task"] == task]
        for variant in [v for v in SETTINGS if (own["variant"] == v).any()][:1]:
            own = own[own["variant"] == variant]
            yield task, own[own["budget"] == own["budget"].max()]


def _finding(claim: str, rows: pd.DataFrame, found: Interval, target: float = 1.0) -> Finding:
    first = rows.iloc[0]
    return Finding(claim, str(first["variant"]), int(first["budget"]), target, found)


def against(metric: str, method: str, baseline: str, target: float = 1.0) -> Callable[..., Found]:
    """Return a function that finds a ratio of means on the Galton board, at every budget in both settings."""

    def find(table: pd.DataFrame) -> Found:
        rows = _averages(table, metric)
        for variant in SETTINGS:
            for _, _, group in groups(rows[rows["variant"] == variant]):
                sides = of(group, method), of(group, baseline)
                claim = f"galton: {metric} of {method} / of {baseline}"
                replicates = int(group["replicate"].nunique())
                yield from compared(f"{claim}, {replicates} replicates", variant, target, *sides)

    return find


def _averages(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    averaged = (table["metric"] == metric) & table["time"].isna() & (table["task"] == "galton")
    return settings_of(table[averaged])


def between_times(low: float, high: float, method: str, baseline: str) -> Callable[..., Found]:
    """Return a function that finds a ratio of score errors over a range of t on the Galton board."""

    def find(table: pd.DataFrame) -> Found:
        rows = settings_of(table[(table["metric"] == "score_error") & (table["task"] == "galton")])
        rows = at_times(rows, rows["time"].between(low, high))
        for variant in SETTINGS:
            for _, _, group in groups(rows[rows["variant"] == variant]):
                sides = [averaged_over_time(of(group, label)) for label in (method, baseline)]
                claim = f"galton: score_error at {low:g} ≤ t ≤ {high:g} of {method} / of {baseline}"
                yield from compared(claim, variant, 1.0, *sides)

    return find


def fewer_simulations(table: pd.DataFrame) -> Found:
    """Compare MIX at each budget with DSM at the next, about three times as large, on the Galton board."""
    rows = _averages(table, "score_error")
    for variant in SETTINGS:
        own = rows[rows["variant"] == variant]
        budgets = sorted(int(b) for b in own["budget"].unique())
        for few, many in pairwise(budgets):
            mix, dsm = of(own[own["budget"] == few], "mix"), of(own[own["budget"] == many], "dsm")
            claim = f"galton: score_error of mix / of dsm with {many:,}"
            yield from compared(claim, variant, 1.0, mix, dsm)


def gap_shrinks(table: pd.DataFrame) -> Found:
    """Compute the change of the gap in MMD (DSM's minus MIX's) from the smallest to the largest budget."""
    rows = settings_of(table[(table["metric"] == "mmd") & table["time"].isna()])
    for task in scored_tasks(table):
        for variant in SETTINGS:
            own = rows[(rows["task"] == task) & (rows["variant"] == variant)]
            if own.empty:
                continue
            ends = [own["budget"].min(), own["budget"].max()]
            sides = [of(own[own["budget"] == n], label) for n in ends for label in ("dsm", "mix")]
            if ends[0] == ends[1] or any(side.empty for side in sides):
                continue
            found = NO_RESULT
            if all((side["status"] == "ok").all() for side in sides):
                tables = [table_of(side) for side in sides]
                gap = [t[2] - t[3] - t[0] + t[1] for t in (tables, bootstrap_means(*tables))]
                found = Interval(float(gap[0].mean()), *percentiles(gap[1], len(tables[0])))
            claim = f"{task}: gap in mmd, DSM less MIX, at {ends[1]:,} less that at {ends[0]:,}"
            yield Finding(claim, variant, int(ends[1]), 0.0, found)


def over_tasks(metric: str, method: str, baseline: str) -> Callable[..., Found]:
    """Return a function for a ratio over tasks: geometric mean, number shown worse, share shown better."""

    def find(table: pd.DataFrame) -> Found:
        every = ratios(table, metric, method, baseline)
        for budget, rows in every.groupby("budget"):
            name, n = f"{metric} of {method} / of {baseline}", len(rows)
            values = rows["value"].dropna().to_numpy(dtype=float)
            mean = _geometric(np.log(values))
            yield Finding(f"{name}, {_over(len(values), n)}", "", int(str(budget)), 1.0, mean)
            p, is_worse = rows["p"].to_numpy(dtype=float), rows["value"].to_numpy(dtype=float) > 1
            yield from _shown(f"{name} is above 1", f"{name} is below 1", int(str(budget)), is_worse, p)

    return find


def few_simulations_gain_more(table: pd.DataFrame) -> Found:
    """Compare MIX's ratio to DSM at the smallest budget with the ratio at the largest, over tasks."""
    for metric in ("score_error", "mmd"):
        rows = ratios(table, metric, "mix", "dsm")
        wide = rows.pivot(index="task", columns="budget", values="value")
        tasks, wide = len(wide), wide.dropna()
        if len(wide.columns) > 1:
            few, many = int(min(wide.columns)), int(max(wide.columns))
            change = np.log(wide[few].to_numpy(dtype=float) / wide[many].to_numpy(dtype=float))
            claim = f"{metric} of mix / of dsm at {few:,}, over that at {many:,}"
            yield Finding(f"{claim}, {_over(len(wide), tasks)}", "", few, 1.0, _geometric(change))


def variance_improves(table: pd.DataFrame) -> Found:
    """Count the tasks on which MIX's target has more variance than DSM's, averaged over t."""
    rows = with_variants(table[(table["metric"] == "excess_variance") & (table["status"] != "skipped")])
    rows = rows[rows["time"].isna() & (rows["label"] == "mix")]
    for budget, own in rows.groupby("budget"):
        tables = [table_of(g) if (g["status"] == "ok").all() else None for _, g in own.groupby("task")]
        lost = Difference(np.nan, np.nan, np.nan, np.nan)
        excess = [lost if t is None else difference_interval(0 * t, t, paired=True) for t in tables]
        more, p = np.array([e.difference > 0 for e in excess]), np.array([e.p for e in excess])
        claims = "MIX's target has more variance than DSM's", "it has less"
        yield from _shown(*claims, int(str(budget)), more, p)


def _shown(worse: str, better: str, budget: int, is_worse: NDArray[np.bool_], p: Array) -> Found:
    """Count the tasks shown to be worse, and the share shown to be better."""
    n, shown = len(p), holm(p)
    worst = count(int((shown & is_worse).sum()), int(np.isnan(p).sum()))
    yield Finding(f"number of {n} tasks on which {worse} {BEYOND}", "", budget, 0, worst)
    best = share_interval(int((shown & ~is_worse).sum()), n)
    yield Finding(f"share of {n} tasks on which {better} {BEYOND}", "", budget, 0.5, best, at_least=True)


def _over(known: int, tasks: int) -> str:
    return GEOMETRIC.format(tasks if known == tasks else f"{known} of {tasks}")


def _geometric(logs: Array) -> Interval:
    n = len(logs)
    if n < 2:
        return NO_RESULT
    reach = float(student.ppf((1 + LEVEL) / 2, n - 1)) * float(logs.std(ddof=1)) / n**0.5
    mean = float(logs.mean())
    return Interval(*(float(np.exp(value)) for value in (mean, mean - reach, mean + reach)))


def board_differs(*_: pd.DataFrame) -> Found:
    """Compute the exact overlap of the distributions of x at the two outer θ of the drawing."""
    import torch

    pmf = Galton().pmf(torch.tensor([TILTS[0].theta, TILTS[-1].theta], dtype=torch.float64))
    claim = f"overlap of p(x | θ = {TILTS[0].theta:g}) and p(x | θ = {TILTS[-1].theta:g})"
    yield Finding(claim, "exact", None, 0.5, exact(float(pmf.amin(0).sum())))
