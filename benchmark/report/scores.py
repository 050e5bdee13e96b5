"""Means of metrics over places, with intervals.

A place is a task, settings and a budget. Intervals are bootstraps as in `analysis.ranking`: replicates, then
observations, the same for all places of a task; then tasks with replacement, each with all its places. A cell
has one cost, so only tasks are drawn for costs, and a single task has no interval.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...tasks.seeding import derive_seed
from ..analysis.ranking import PLACE, over_tasks
from ..analysis.statistics import DRAWS, Array, bootstrap_means, percentiles, table_of
from ..running.rows import TO_RETRY

LEAST = 1e-300  # stands for 0 in logarithms
Key = tuple[str, str, int]


class Scores(NamedTuple):
    """The values of k methods at P places.

    Attributes:
        places: task, variant and budget of each place.
        values: the values, (P, k), NaN where there is none.
        draws: their bootstrap draws, (P, k, DRAWS), or (P, k, 1) if the values have no spread of their own.
        replicates: the least number of replicates behind a value.
    """

    places: list[Key]
    values: Array
    draws: NDArray[np.float32]
    replicates: int

    def select(self, test: Callable[[Key], bool]) -> "Scores":
        here = np.array([test(place) for place in self.places], dtype=bool)
        places = [place for place, inside in zip(self.places, here, strict=True) if inside]
        return Scores(places, self.values[here], self.draws[here], self.replicates)

    def at_budget(self, budget: int) -> "Scores":
        return self.select(lambda place: place[2] == budget)


def scores_of(rows: pd.DataFrame, labels: Sequence[str], metric: str) -> Scores:
    """Return the means of a metric at each place, and their draws; none for a method that failed there."""
    rows = rows[(rows["metric"] == metric) & (rows["status"] != "skipped")]
    places = [key_of(place) for place in rows[PLACE].drop_duplicates().itertuples(index=False)]
    index = {place: i for i, place in enumerate(places)}
    values = np.full((len(places), len(labels)), np.nan)
    draws = np.full((*values.shape, DRAWS), np.nan, dtype=np.float32)
    replicates = []
    for key, own in rows.groupby([*PLACE, "label"], sort=False):
        if not own["status"].isin(TO_RETRY).any():
            at = index[key_of(key[:3])], labels.index(key[3])
            table = table_of(own)
            values[at] = table.mean()
            draws[at] = bootstrap_means(table, seed=derive_seed("report", str(key[0])))[0]
            replicates.append(len(table))
    return Scores(places, values, draws, min(replicates, default=0))


def costs_as_scores(costs: pd.DataFrame, labels: Sequence[str], column: str) -> Scores:
    """Return a cost of each method at each place, without a spread of its own."""
    wide = costs.pivot_table(index=PLACE, columns="label", values=column, aggfunc="max", sort=False)
    values = wide.reindex(columns=list(labels)).to_numpy(dtype=np.float64)
    return Scores([key_of(place) for place in wide.index], values, values[..., None].astype(np.float32), 1)


class Mean(NamedTuple):
    """A mean over places with its interval; it is partial if it is over other places than other means."""

    value: float
    low: float
    high: float
    partial: bool


def means(scores: Scores, *, geometric: bool) -> list[Mean]:
    """Return means over the places where all methods that are not partial have a value; NaN without any."""
    present = np.isfinite(scores.values)
    counts = present.sum(0)
    partial = counts < present.any(1).sum() / 2
    common: NDArray[np.bool_] = np.all(present[:, ~partial], axis=1)
    used = present & (common[:, None] | partial)
    values, draws = scores.values, scores.draws.astype(np.float64)
    if geometric:
        values, draws = (np.log(np.maximum(of, LEAST)) for of in (values, draws))
    number = used.sum(0)
    total = np.where(used, values, 0).sum(0)
    value = np.divide(total, number, out=np.full(len(total), np.nan), where=number > 0)
    pooled = _pooled(scores.places, np.where(used[..., None], draws, 0.0), used)
    if geometric:
        value, pooled = np.exp(value), np.exp(pooled)
    found = []
    for k, own in enumerate(pooled):
        tasks = {task for (task, _, _), here in zip(scores.places, used[:, k], strict=True) if here}
        sampled = scores.replicates if scores.draws.shape[2] > 1 else len(tasks)
        ends = percentiles(own[np.isfinite(own)], sampled if tasks else 0)
        found.append(Mean(float(value[k]), *ends, bool(partial[k] and counts[k])))
    return found


def _pooled(places: list[Key], draws: Array, used: NDArray[np.bool_]) -> Array:
    """Return draws (k, DRAWS) of the mean over places, from draws (P, k, DRAWS or 1), 0 where not used."""
    tasks = sorted({task for task, _, _ in places})
    totals = np.zeros((draws.shape[1], len(tasks), DRAWS))
    count = np.zeros(totals.shape[:2])
    for (task, _, _), own, here in zip(places, draws, used, strict=True):
        totals[:, tasks.index(task)] += own
        count[:, tasks.index(task)] += here
    return over_tasks(totals, count) if tasks else np.full((draws.shape[1], DRAWS), np.nan)


def key_of(place: Any) -> Key:
    """Return task, variant and budget as plain values."""
    task, variant, budget = place
    return str(task), str(variant), int(budget)
