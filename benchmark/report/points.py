"""The numbers of a report: a point for each metric, task, method and budget, with its interval and its cell.

A point is a mean over replicates and observations with the interval of `analysis.statistics`. A cell that
failed is a point without a value, with its status and reason: the mean over the surviving replicates would
flatter.
"""

from typing import Any, cast

import numpy as np
import pandas as pd

from ..analysis.ranking import PLACE, Place
from ..analysis.statistics import summarise
from ..metrics.catalogue import reported
from ..running.rows import TO_RETRY, Ending, ending

KEY = ["metric", *PLACE, "label"]
OK = Ending("ok", "")
OVER_TIME = ("score_error", "target_variance")  # metrics that have figures over diffusion time
TIMES = (0.01, 0.1, 0.3, 0.6, 1.0)  # of the table beside a chart
TIME_COLUMNS = ["label", "budget", "time", "value", "low", "high", "status", "reason", "cell"]
COSTS = ("fit_seconds", "sample_seconds", "n_score_calls", "n_network_evaluations")


def points_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the points of all metrics that have a result.

    Returns:
        One row for each of `KEY` with value, low, high, floor (NaN without a result), status, reason, failed,
        cell, folder, replicates and observations; in the order of the metrics, then of `rows`.
    """
    metrics = reported(set(rows.loc[rows["status"] == "ok", "metric"]))
    return pd.concat([_of_metric(rows[rows["metric"] == metric]) for metric in metrics], ignore_index=True)


def _of_metric(rows: pd.DataFrame) -> pd.DataFrame:
    groups = rows.groupby(KEY, sort=False)
    points = groups.agg(
        cell=("cell", "first"),
        folder=("folder", "first"),
        replicates=("replicate", "nunique"),
        observations=("observation", "nunique"),
    )
    places = pd.MultiIndex.from_frame(rows[KEY])
    odd = rows[places.isin(places[rows["status"] != "ok"])]
    endings = {key: ending(group) for key, group in odd.groupby(KEY, sort=False)}
    points[["status", "reason"]] = [endings.get(key, OK) for key in points.index]
    good = places.isin(points.index[points["status"] == "ok"])
    summary = summarise(rows[good], KEY).set_index(KEY)
    found = points.join(summary.astype("float64")).reset_index()
    return found.assign(failed=found["status"].isin(TO_RETRY))


def with_ranks(points: pd.DataFrame, places: dict[str, list[Place]]) -> pd.DataFrame:
    """Add each point's rank among the `rivals` methods of its place; NaN and 0 if it is not ranked."""
    found = {
        (metric, place.task, place.variant, place.budget, label): (rank, len(place.labels))
        for metric, ranked in places.items()
        for place in ranked
        for label, rank in zip(place.labels, place.ranks, strict=True)
    }
    keys = points[KEY].itertuples(index=False, name=None)
    ranks = pd.DataFrame([found.get(key, (np.nan, 0)) for key in keys], columns=["rank", "rivals"])
    return points.join(ranks)


def costs_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the cost of each cell: seconds a replicate, score calls, and network evaluations a sample.

    Returns:
        One row for each cell with task, variant, budget, label, cell and `COSTS`.
    """
    groups = rows.groupby(["cell", *PLACE, "label"], sort=False)
    costs = groups.agg(replicates=("replicate", "nunique"), **{c: (c, "max") for c in COSTS})
    for seconds in ("fit_seconds", "sample_seconds"):
        costs[seconds] /= costs["replicates"].replace(0, np.nan)
    return costs.astype(dict.fromkeys(COSTS, "float64")).reset_index()


def points_over_time(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the points of a metric over diffusion time, on a task at one budget.

    Args:
        rows: the rows of one metric, task, variant and budget, with all rows of a cell that failed.

    Returns:
        One row for each method and time with `TIME_COLUMNS` and metric; a method that failed has one row
        without time and value. The intervals are those of `benchmark.analysis.statistics.summarise`.
    """
    found = []
    for label, own in rows.groupby("label", sort=False):
        end = ending(own)
        same = {"label": label, "budget": own["budget"].iloc[0], "cell": own["cell"].iloc[0]}
        ok = own[(own["status"] == "ok") & own["time"].notna()]
        if end.status not in ("ok", "skipped"):
            found.append(pd.DataFrame([same | end._asdict()]))
        elif len(ok):
            line = summarise(ok.sort_values("time"), ["time"]).dropna(subset="value")
            found.append(line.assign(**same, status="ok", reason=""))
    points = pd.concat(found, ignore_index=True) if found else pd.DataFrame()
    return points.reindex(columns=TIME_COLUMNS).assign(metric=rows["metric"].iloc[0])


def shown_at(points: pd.DataFrame) -> list[float]:
    """Return the times of the points that are nearest to `TIMES`, without repetition."""
    times = np.sort(points["time"].dropna().unique())
    return sorted({float(times[np.abs(times - time).argmin()]) for time in TIMES}) if len(times) else []


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as dictionaries."""
    return cast(list[dict[str, Any]], frame.to_dict("records"))
