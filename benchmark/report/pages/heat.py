"""The heat map: methods by tasks, one metric at one budget, coloured by the distance from the best method."""

from typing import Any

import numpy as np

from ...metrics.catalogue import record_of
from ..numbers import in_words, number, whole, words
from ..points import records
from ..report import Report

Context = dict[str, Any]
STEPS = (1.1, 1.5, 2.0, 4.0)  # the ratios at which the colour changes


def heat_map(report: Report) -> Context | None:
    """Return the table of the main metric at the budget where it has most results; None for one method.

    The budget is the largest of those with as many. The settings are the first, the defaults if there are
    any. The colour of a cell is the number of `STEPS` that its ratio to the best exceeds.
    """
    metric, settings = report.main_metric, report.board["variants"][0]
    points = report.points[(report.points["metric"] == metric) & (report.points["variant"] == settings)]
    found = points[points["value"].notna()].groupby("budget").size()
    if found.empty or points["label"].nunique() < 2:
        return None
    budget = int(found.index[found == found.max()].max())
    shown = points[points["budget"] == budget]
    methods = [label for label in report.method_pages if label in set(shown["label"])]
    lines = []
    for task, of_task in shown.groupby("task", sort=False):
        at = {point["label"]: point for point in records(of_task)}
        away = dict(zip(of_task["label"], ratios(metric, of_task), strict=True))
        href = report.figure_place(metric, str(task))
        lines.append((task, href, [_cell(at.get(x), away.get(x, np.nan)) for x in methods]))
    return {
        "metric": record_of(metric),
        "budget": whole(budget),
        "settings": in_words(settings),
        "methods": methods,
        "lines": lines,
        "steps": [f"{step:g}" for step in STEPS],
    }


def ratios(metric: str, points: Any) -> Any:
    """Return the distance of each method from perfect over that of the best, (k,); 1 for all below the floor.

    The floor is what a perfect method scores with as many samples: differences below it are noise.
    """
    distance = record_of(metric).distance
    away = distance(points["value"].to_numpy(np.float64))
    floor = np.nan_to_num(distance(points["floor"].to_numpy(np.float64)))
    raised = np.maximum(away, floor)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = raised / np.nanmin(raised) if np.isfinite(raised).any() else raised
    return np.where(raised == 0, 1.0, ratio)


def _cell(point: Context | None, ratio: float) -> Context | None:
    """Return text, colour and whether the cell is the best; None where the method was not run."""
    if point is None:
        return None
    if np.isnan(point["value"]):
        return {"text": words(point["status"]), "level": None, "best": False}
    return {"text": number(point["value"]), "level": sum(ratio > step for step in STEPS), "best": ratio == 1}
