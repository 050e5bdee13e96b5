"""Which method at a budget: what result tables say about a task, or about tasks like it.

`on_task` answers for a task that the tables hold, `on_like_tasks` for any other. Both leave out methods that
need a score where there is none, and methods whose fits took longer than is allowed.

The best of several noisy means looks better than it is. A method is called worse than the best where
Student's interval of their paired difference excludes 0, as in `graybench compare DIR_A DIR_B`. If the two
means lie on different sides of the perfect value, such as a coverage of 0.85 and of 0.95, the bootstrap's
interval of the difference of their distances from it counts instead.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from ...tasks.errors import UserError
from ...tasks.structure import Structure, Vector
from ...tasks.task import Task
from ..metrics.catalogue import record_of
from .labels import task_of
from .ranking import ranks
from .statistics import (
    NO_RESULT,
    Array,
    difference_interval,
    distance_interval,
    mean_interval,
    table_of,
)
from .table import averaged, require_ranked

SCORES = frozenset({"joint_score", "marginal_score", "sde_path"})
NEAR = {"dim_theta": 2.0, "dim_x": 5.0}  # factors within which dimensions are alike


class Features(NamedTuple):
    """What is asked of a task.

    Attributes:
        dim_theta, dim_x: numbers of parameters and of components of x.
        structure: what x is made of, in lower case: "vector", "items", "series" or "field".
        offers: the scores that the simulator reports, out of `SCORES`.
    """

    dim_theta: int
    dim_x: int
    structure: str
    offers: frozenset[str]


class Line(NamedTuple):
    """What tables say of one method.

    Attributes:
        label: the method with its settings.
        value, low, high: the mean of the metric, or the mean rank over tasks, and its interval.
        seconds: the median time of one fit.
        verdict: "best", "not told apart" from it, "worse", the status of a failure, or "" where nothing was
            compared.
    """

    label: str
    value: float
    low: float
    high: float
    seconds: float
    verdict: str


class Advice(NamedTuple):
    """What tables say.

    Attributes:
        budget: the largest measured budget up to the one asked for, or the smallest measured.
        tasks: the tasks behind the answer.
        given_up: the features in which these tasks differ from what was asked.
        methods: best first.
    """

    budget: int
    tasks: list[str]
    given_up: list[str]
    methods: list[Line]


def features_of(task: Task) -> Features:
    """Return the features of a task."""
    offers = frozenset(task.capabilities) & SCORES
    return Features(task.dim_theta, task.dim_x, name_of(task.structure), offers)


def name_of(structure: Structure | None) -> str:
    """Return the name of a structure in lower case; a vector if there is none."""
    return type((structure or Vector(1)).effective).__name__.lower()


def on_task(
    frame: pd.DataFrame, task: str, budget: int, metric: str, seconds: float, offers: frozenset[str]
) -> Advice:
    """Return what a table says about a task in it.

    Args:
        frame: a result table.
        task: the task's label.
        budget: the number of simulations asked for.
        metric: a ranked metric.
        seconds: the longest fit that is allowed.
        offers: the scores that the simulator reports.

    Raises:
        UserError: no method was measured there without a failure, or the metric is not ranked.
    """
    require_ranked(metric)
    rows = _allowed(averaged(frame[frame["task"] == task], metric), seconds, offers)
    at = nearest_budget(rows.loc[rows["status"] == "ok", "budget"], budget)
    rows, distance = rows[rows["budget"] == at], record_of(metric).distance
    tables, failures = {}, {}
    for label, own in rows.groupby("label", sort=False):
        bad = own.loc[own["status"] != "ok", "status"]
        if bad.empty:
            tables[str(label)] = table_of(own)
        elif not bad.eq("skipped").all():
            failures[str(label)] = str(bad[bad != "skipped"].iloc[0])
    order = sorted(tables, key=lambda label: float(distance(np.asarray(tables[label].mean()))))
    if not order:
        raise UserError(f"advise: every method that is allowed failed on {task} with {at:,} simulations.")
    costs, best = _seconds(rows), tables[order[0]]
    lines = [
        Line(
            label,
            *mean_interval(tables[label]),
            costs[label],
            "best" if k == 0 else _verdict(metric, best, tables[label]),
        )
        for k, label in enumerate(order)
    ]
    lines += [Line(label, *NO_RESULT, costs[label], status) for label, status in failures.items()]
    return Advice(at, [task], [], lines)


def _verdict(metric: str, best: Array, own: Array) -> str:
    """Return "not told apart" or "worse"; "" if the two have other observations, or one replicate."""
    if own.shape != best.shape:
        return ""
    record = record_of(metric)
    if record.perfect is not None and (best.mean() - record.perfect) * (own.mean() - record.perfect) < 0:
        _, low, high = distance_interval(own, best, record.distance)
    else:
        _, low, high, _ = difference_interval(best, own, paired=True)
    return "" if np.isnan(low) else "not told apart" if low <= 0 <= high else "worse"


def on_like_tasks(
    frame: pd.DataFrame, features: Features, budget: int, metric: str, seconds: float
) -> Advice:
    """Return the average ranks of methods over the tasks of a table that are like the one asked about.

    Tasks are alike if their data have the same structure and their dimensions differ by no more than the
    factors `NEAR`. If no task is, the dimension of x is given up, then that of θ, then the structure.

    Raises:
        UserError: fewer than two methods were measured, or the metric is not ranked.
    """
    require_ranked(metric)
    rows = _allowed(averaged(frame, metric), seconds, features.offers)
    known = {label: task_of(str(label)) for label in rows["task"].unique()}
    found = {label: features_of(task) for label, task in known.items() if task is not None}
    tasks, given_up = _alike(found, features)
    rows = rows[rows["task"].isin(tasks)]
    at = nearest_budget(rows.loc[rows["status"] == "ok", "budget"], budget)
    rows = rows[rows["budget"] == at]
    ranked, costs = ranks(rows, metric), _seconds(rows)
    if ranked.empty:
        raise UserError("advise: the tables have fewer than two methods that are allowed on tasks like this.")
    numbers = zip(ranked["label"].astype(str), ranked["rank"], ranked["low"], ranked["high"], strict=True)
    lines = [Line(label, mean, low, high, costs.get(label, np.nan), "") for label, mean, low, high in numbers]
    return Advice(at, sorted(rows["task"].unique()), given_up, lines)


def nearest_budget(budgets: "pd.Series[int]", asked: int) -> int:
    """Return the largest of some budgets up to the one asked for, or the smallest of all.

    Raises:
        UserError: there is none.
    """
    if budgets.empty:
        raise UserError("advise: the tables have no result of a method that is allowed; allow more seconds.")
    below = budgets[budgets <= asked]
    return int(budgets.min() if below.empty else below.max())


def _alike(found: dict[str, Features], wanted: Features) -> tuple[list[str], list[str]]:
    """Return the tasks that are like the one wanted, and what had to be given up to find some."""

    def near(name: str) -> Callable[[Features], bool]:
        own = getattr(wanted, name)
        return lambda other: max(own, getattr(other, name)) <= NEAR[name] * min(own, getattr(other, name))

    rules: list[tuple[str, Callable[[Features], bool]]] = [
        ("structure", lambda other: other.structure == wanted.structure),
        ("dim_theta", near("dim_theta")),
        ("dim_x", near("dim_x")),
    ]
    for kept in range(len(rules), -1, -1):
        tasks = [task for task, own in found.items() if all(rule(own) for _, rule in rules[:kept])]
        if tasks:
            return tasks, [name for name, _ in rules[kept:]]
    raise UserError("advise: the tables have no task that is installed here.")


def _allowed(rows: pd.DataFrame, seconds: float, offers: frozenset[str]) -> pd.DataFrame:
    """Return the rows of methods that need no other score than those offered, and whose fits were short."""
    needed = rows["method"].map({name: _needs(name) for name in rows["method"].unique()})
    kept = rows[[needs <= offers for needs in needed]]
    costs = kept["fit_seconds"].astype(float) / kept.groupby("cell")["replicate"].transform("nunique")
    return kept[~(costs > seconds)]


def _needs(method: str) -> frozenset[str]:
    """Return the scores that a method needs; those of one that is not installed are unknown, so all."""
    from ...methods import get_method

    try:
        return get_method(method).requires & SCORES
    except UserError:
        return SCORES


def _seconds(rows: pd.DataFrame) -> dict[str, float]:
    """Return the median seconds of one fit of each method."""
    cells = rows.groupby(["label", "cell"], sort=False)
    each = cells["fit_seconds"].max().astype(float) / cells["replicate"].nunique()
    return {str(label): float(value) for label, value in each.groupby("label").median().items()}
