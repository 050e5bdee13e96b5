"""The numbers of a report: a point for each metric, task, method and budget, with its interval and its cell.

A point is a mean over replicates and observations with the interval of `analysis.statistics`. A cell that
ended badly is a point without a value, with its status and reason: the mean over what survived would flatter.
"""

from typing import Any, cast

import numpy as np
import pandas as pd

from ..analysis.ranking import Place
from ..analysis.statistics import summarise
from ..metrics.catalogue import reported
from ..running.rows import TO_RETRY, Ending, ending
from .sources import PLACE

KEY = ["metric", *PLACE, "label"]
OK = Ending("ok", "")
COSTS = ("fit_seconds", "sample_seconds", "n_score_calls", "n_network_evaluations")


def points_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Give the points of all metrics that have a result.

    Returns:
        One row for each of `KEY` with value, low, high, floor (NaN without a result), status, reason, failed,
        cell, folder, replicates and observations; in the order of the metrics, and then as they come in
        `rows`.
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
    """Add each point's rank among the `rivals` methods of its place; NaN and 0 where it is not ranked."""
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
    """Give what each cell cost: seconds for each replicate, score calls, network evaluations for each sample.

    Returns:
        One row for each cell with task, variant, budget, label, cell and `COSTS`.
    """
    groups = rows.groupby(["cell", *PLACE, "label"], sort=False)
    costs = groups.agg(replicates=("replicate", "nunique"), **{c: (c, "max") for c in COSTS})
    for seconds in ("fit_seconds", "sample_seconds"):
        costs[seconds] /= costs["replicates"].replace(0, np.nan)
    return costs.astype(dict.fromkeys(COSTS, "float64")).reset_index()


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Give the rows of a frame as dictionaries."""
    return cast(list[dict[str, Any]], frame.to_dict("records"))
