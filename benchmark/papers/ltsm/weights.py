"""The claims of Ko & Geffner about the DSM weight w(t), optimal and learned [their Figures 4 and 5]."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ...analysis.statistics import NO_RESULT, Interval, count, exact, mean_interval, table_of
from ...running.rows import with_variants
from ..findings import Finding, groups, weight_distance
from .claims import LOW, SETTINGS, settings_of

LEARNED = "mix(gate=learned)"
LARGEST_T = 1.0
ALLOWED = {"mean": 0.05, "largest": 0.1}  # limits of |w − w*|

Found = Iterator[Finding]


def optimal_weight_rises(table: pd.DataFrame) -> Found:
    """Compute w* at the least t and 1 − w* at t = 1, and count the tasks on which either is not small."""
    asked, rows = _asked(table), _optimal(table)
    if asked.empty:
        return
    tasks = sorted(str(task) for task in asked["task"].unique())
    budget, at = int(asked["budget"].iloc[0]), rows["time"].min()
    high: dict[str, list[Interval]] = {"at the least t": [], "at t = 1": []}
    for task in tasks:
        own = rows[rows["task"] == task]
        start = end = NO_RESULT
        if len(own):
            start = mean_interval(table_of(own[own["time"] == at]))
            end = mean_interval(1 - table_of(own[own["time"] == LARGEST_T]))
        high["at the least t"].append(start)
        high["at t = 1"].append(end)
        if task == "galton" or len(tasks) == 1:
            least = f"at t = {at:g}" if len(rows) else "at the least t"
            yield Finding(f"{task}: w* {least}", "", budget, LOW, start)
            yield Finding(f"{task}: 1 − w* at t = 1", "", budget, LOW, end)
    if len(tasks) > 1:
        for where, what in (("at the least t", "w*"), ("at t = 1", "1 − w*")):
            claim = f"number of {len(tasks)} tasks on which {what} {where} is above {LOW} by its interval"
            yield Finding(claim, "", budget, 0, _above(LOW, high[where]))


def optimal_weight_never_falls(table: pd.DataFrame) -> Found:
    """Compute the largest fall of w* between neighbouring t, over all tasks and replicates."""
    asked, rows = _asked(table), _optimal(table)
    if asked.empty:
        return
    tasks, found = asked["task"].nunique(), NO_RESULT
    if rows["task"].nunique() == tasks:
        wide = rows.pivot(index=["task", "replicate"], columns="time", values="value").to_numpy(dtype=float)
        found = exact(float(np.maximum(-np.diff(wide, axis=1), 0).max()))
    claim = f"largest fall of w* between neighbouring t, of {tasks} tasks"
    yield Finding(claim, "", int(asked["budget"].iloc[0]), 0.0, found)


def _asked(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of MIX's w* at the largest budget, whatever their status."""
    rows = table[(table["metric"] == "optimal_weight") & (table["method"] == "mix")]
    rows = rows[rows["status"] != "skipped"]
    return rows[rows["budget"] == rows["budget"].max()]


def _optimal(table: pd.DataFrame) -> pd.DataFrame:
    """Return w* once for each replicate, as all gates of MIX have the same simulations and w*."""
    rows = _asked(table)
    return rows[rows["status"] == "ok"].drop_duplicates(["task", "replicate", "time"])


def learned_weight_tracks(table: pd.DataFrame) -> Found:
    """Compute mean and largest |w − w*| over t on the Galton board, at every budget in both settings."""
    rows = settings_of(table[table["task"] == "galton"])
    rows = rows[rows["label"] == LEARNED]
    for variant in SETTINGS:
        for _, budget, group in groups(rows[rows["variant"] == variant]):
            for over, found in _distances(group).items():
                claim = f"galton: {over} over t of the learned w's distance from w*"
                yield Finding(claim, variant, budget, ALLOWED[over], found)


def learned_weight_tracks_on_all_tasks(table: pd.DataFrame) -> Found:
    """Count at each budget the tasks whose learned w is, by its interval, too far from w*."""
    rows = with_variants(table[table["status"] != "skipped"])
    rows = rows[rows["label"] == LEARNED]
    for budget, of_budget in rows.groupby("budget"):
        found = [d for _, own in of_budget.groupby("task") if (d := _distances(own))]
        for over, allowed in ALLOWED.items():
            far = _above(allowed, [distances[over] for distances in found])
            claim = f"number of {len(found)} tasks on which the learned w is farther from w* than {allowed}"
            yield Finding(f"{claim}, {over} over t, by its interval", "", int(str(budget)), 0, far)


def _above(limit: float, found: list[Interval]) -> Interval:
    """Count the intervals above a limit; a missing one may be above as well."""
    return count(sum(each.low > limit for each in found), sum(np.isnan(each.low) for each in found))


def _distances(rows: pd.DataFrame) -> dict[str, Interval]:
    """Return mean and largest |w − w*| over t for the rows of one cell; nothing without both weights."""
    learned, optimal = (rows[rows["metric"] == f"{which}_weight"] for which in ("learned", "optimal"))
    if learned.empty or optimal.empty:
        return {}
    mean = weight_distance(learned, optimal)
    if not np.isfinite(mean.value):
        return {"mean": mean, "largest": mean}
    wide = [side.pivot(index="replicate", columns="time", values="value") for side in (learned, optimal)]
    largest = (wide[0] - wide[1]).abs().max(axis=1).to_numpy(dtype=float)
    return {"mean": mean, "largest": mean_interval(largest.reshape(-1, 1))}
