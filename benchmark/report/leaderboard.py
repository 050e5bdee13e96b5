"""The leaderboard: one row for each method, and what the page's script needs to redo it for a selection.

rank      of `benchmark.ranking` with its interval, over all tasks, for all budgets or one. For other
          selections the script averages the ranks at the selected places, without an interval.
means     over the places, (task, variant, budget), where every method has a result, so that like is compared
          with like. A method with results at less than half of the places is left out of this, and its means
          are over what it has, with a mark.
cost      mean seconds to fit one replicate.
failures  number of cells that failed, timed out or were not finite.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.labels import task_of
from benchmark.ranking import ranks
from benchmark.report.definitions import definition, in_order
from benchmark.report.points import PLACE

MEANS = ("score_error", "mmd", "c2st_mlp", "coverage")
Array = NDArray[np.float64]


def board_of(rows: pd.DataFrame, points: pd.DataFrame, costs: pd.DataFrame) -> dict[str, Any]:
    """Give everything that the leaderboard shows, as plain records that JSON can hold.

    Returns:
        methods: labels, in the order of the rows.
        places: task, variant, budget and capabilities of each place; `capabilities`, `budgets`, `tasks`.
        metrics: what ranks can be by; `means`: what columns of means there are, with whether geometric.
        values, ranks: by metric, a table (places, methods); `cost`, `failed`: the same tables.
        intervals: by metric, then by budget or "", then by method: rank, low, high.
    """
    labels = list(points["label"].unique())
    keys = pd.MultiIndex.from_frame(points[PLACE].drop_duplicates())
    metrics = [m for m in in_order(set(points["metric"])) if definition(m).ranked]
    means = [m for m in MEANS if m in metrics]

    def wide(of: pd.DataFrame, column: str) -> Array:
        table = of.pivot_table(index=PLACE, columns="label", values=column, aggfunc="max", dropna=False)
        return table.reindex(index=keys, columns=labels).to_numpy(dtype=np.float64, na_value=np.nan)

    tried = points[points["status"] != "skipped"]
    by_metric = {metric: points[points["metric"] == metric] for metric in metrics}
    capabilities = {task: _capabilities(task) for task in points["task"].unique()}
    return {
        "methods": labels,
        "tasks": list(capabilities),
        "budgets": sorted(int(b) for b in points["budget"].unique()),
        "capabilities": sorted({c for each in capabilities.values() for c in each}),
        "places": [{"task": t, "variant": v, "budget": int(b), "can": capabilities[t]} for t, v, b in keys],
        "metrics": {m: {"title": definition(m).title, "geometric": definition(m).geometric} for m in metrics},
        "means": means,
        "values": {m: _plain(wide(by_metric[m], "value")) for m in means},
        "ranks": {m: _plain(wide(by_metric[m], "rank")) for m in metrics},
        "intervals": {m: _intervals(rows, m) for m in metrics},
        "cost": _plain(wide(costs, "fit_seconds")),
        "failed": _plain(wide(tried.assign(failed=tried["failed"].astype(float)), "failed")),
    }


def rows_of(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the rows of the leaderboard without a selection, best first, as the page shows them at first."""
    metric = next(iter(board["metrics"]))
    ranked = board["intervals"][metric][""]
    failed, cost = _array(board["failed"]), _array(board["cost"])
    columns = {m: means(_array(board["values"][m]), board["metrics"][m]["geometric"]) for m in board["means"]}
    rows = [
        {
            "label": label,
            "rank": ranked.get(label, [None, None, None]),
            "means": {m: (column[0][k], bool(column[1][k])) for m, column in columns.items()},
            "cost": _mean(cost[:, k]),
            "failures": int(np.nansum(failed[:, k])),
            "places": int(np.isfinite(failed[:, k]).sum()),
        }
        for k, label in enumerate(board["methods"])
    ]
    return sorted(rows, key=lambda row: (row["rank"][0] is None, row["rank"][0]))


def means(values: Array, geometric: bool) -> tuple[Array, NDArray[np.bool_]]:
    """Average a table (places, methods) over the places where all methods that are not partial have a value.

    Returns:
        The mean of each method, NaN without a value; and whether the method is partial, so that its mean is
        over other places.
    """
    present = np.isfinite(values)
    counts = present.sum(0)
    partial = counts < present.any(1).sum() / 2
    common = present[:, ~partial].all(1)
    found = np.full(values.shape[1], np.nan)
    for k in np.flatnonzero(counts):
        own = values[present[:, k] if partial[k] else common, k]
        if len(own):
            with np.errstate(divide="ignore"):
                found[k] = np.exp(np.log(own).mean()) if geometric else own.mean()
    return found, partial & (counts > 0)


def _capabilities(label: str) -> list[str]:
    task = task_of(label)
    return sorted(task.capabilities) if task else []


def _intervals(rows: pd.DataFrame, metric: str) -> dict[str, dict[str, list[float | None]]]:
    """Give rank, low and high of each method, for all budgets together, "", and for each by itself."""
    selections = {"": rows} | {str(b): rows[rows["budget"] == b] for b in sorted(rows["budget"].unique())}
    return {
        name: {
            str(label): [_number(rank), _number(low), _number(high)]
            for label, rank, low, high in ranks(selection, metric)[
                ["label", "rank", "low", "high"]
            ].to_numpy()
        }
        for name, selection in selections.items()
        if (selection["metric"] == metric).any()
    }


def _plain(table: Array) -> list[list[float | None]]:
    return [[_number(value) for value in row] for row in table]


def _array(table: list[list[float | None]]) -> Array:
    return np.array(table, dtype=np.float64)


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _mean(values: Array) -> float:
    here = values[np.isfinite(values)]
    return float(here.mean()) if len(here) else float("nan")
