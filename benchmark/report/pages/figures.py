"""The figures of a report: a metric on a task over budget or time, and mean ranks, with their rows.

A metric over the budget is a part of its task's page; the others have pages of their own.
"""

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from ...analysis.ranking import PLACE, Place, average_ranks
from ...metrics.catalogue import record_of
from ..charts import Spec, curves, over_time, rank_chart
from ..numbers import NOTHING, ends, in_words, number, span, whole, words
from ..points import OVER_TIME, points_over_time, records, shown_at
from ..report import Report

DIGITS = "%.3g"
DRAWN = "the numbers drawn, to three digits, a line for each method and time."
MARKS = " Crosses at the upper edge: no result; triangles: beyond the axis."
FLOOR = " A dashed line, where there is one: what a perfect method would score with as many samples."
CELL = ["method", "method_settings", "budget", "replicate", "status"]


@cache
def panels(report: Report, metric: str, task: str) -> list[dict[str, Any]]:
    """Return title, settings, caption, chart and grid for each variant of a metric on a task."""
    points = report.points
    points = points[(points["metric"] == metric) & (points["task"] == task)]
    return [_panel(report, metric, task, str(v), p) for v, p in points.groupby("variant", sort=False)]


def _panel(report: Report, metric: str, task: str, settings: str, points: pd.DataFrame) -> dict[str, Any]:
    title = record_of(metric).title
    caption = f"{title} on {task} over the budget, {in_words(settings)}: means with 95 % intervals."
    drawn = points["value"].notna().any()
    floored = points["floor"].notna().any()
    return {
        "title": in_words(settings).capitalize(),
        "variant": settings,
        "caption": caption + MARKS + (FLOOR if floored else ""),
        "in_numbers": f"{title}, {in_words(settings)}, in numbers; budgets across, the best in bold",
        "spec": curves(points, report.looks, caption) if drawn else None,
        "grid": _grid(points),
    }


@cache
def time_panel(report: Report, metric: str, task: str) -> dict[str, Any] | None:
    """Return caption, chart, table and points of a metric over diffusion time; None if it is not resolved.

    The panel shows the first settings and the largest budget that have a result.
    """
    of_task = report.every[(report.every["metric"] == metric) & (report.every["task"] == task)]
    resolved = of_task[of_task["time"].notna() & (of_task["status"] == "ok")]
    if resolved.empty:
        return None
    chosen = min(resolved["variant"].unique(), key=lambda v: v != "")
    budget = int(resolved.loc[resolved["variant"] == chosen, "budget"].max())
    points = points_over_time(of_task[(of_task["variant"] == chosen) & (of_task["budget"] == budget)])
    what = f"{record_of(metric).title} on {task} over diffusion time"
    caption = f"{what}, budget {whole(budget)}, {in_words(chosen)}: means with 95 % intervals."
    failed = points[points["status"] != "ok"]
    told = "".join(
        f" No result: {p['label']} ({words(p['status'])}: {p['reason']})." for p in records(failed)
    )
    times = shown_at(points)
    return {
        "title": what,
        "caption": caption + told,
        "spec": over_time(points[points["status"] == "ok"], report.looks, caption),
        "columns": ["method", *(f"t = {number(time)}" for time in times)],
        "lines": [_time_line(report, str(x), own, times) for x, own in points.groupby("label", sort=False)],
        "points": points[["label", "time", "value", "low", "high"]],
    }


def _time_line(report: Report, label: str, points: pd.DataFrame, times: list[float]) -> list[dict[str, Any]]:
    at = {p["time"]: {"text": f"{number(p['value'])} {ends(p)}"} for p in records(points)}
    none = {"text": words(points["status"].iloc[0]) if points["value"].isna().all() else NOTHING}
    return [{"text": label, "href": report.method_pages[label]}, *(at.get(time, none) for time in times)]


def _grid(points: pd.DataFrame) -> dict[str, Any]:
    """Arrange points with budgets across and methods down; the nearest to the perfect value is the best."""
    metric = str(points["metric"].iloc[0])
    away = pd.Series(record_of(metric).distance(points["value"].to_numpy(dtype=np.float64)), points.index)
    least = away.groupby(points["budget"]).transform("min")
    found = points.assign(best=(away == least) & record_of(metric).ranked)
    by_place = {(p["label"], p["budget"]): p for p in records(found)}
    budgets = sorted(points["budget"].unique())
    labels = points["label"].unique()
    floors = points.groupby("budget")["floor"].mean()
    return {
        "budgets": budgets,
        "lines": [(x, [by_place.get((x, b)) for b in budgets]) for x in labels],
        "floors": [number(floors[b]) for b in budgets] if floors.notna().any() else [],
    }


def csv_of(rows: pd.DataFrame) -> str:
    """Return the rows of a metric and task as CSV: a line a replicate, a column an observation."""
    column = rows["observation"].map(lambda o: "value" if pd.isna(o) else f"observation_{o}")
    named = rows.assign(column=column, replicate=rows["replicate"].astype("string").fillna(""))
    wide = named.set_index([*CELL, "column"])["value"].astype("float64").unstack("column", sort=False)
    return wide.reset_index().to_csv(index=False, float_format=DIGITS)


def figure_files(report: Report) -> Iterator[tuple[str, list[Spec | None], str]]:
    """Yield path, charts and CSV of the figure of each metric on each task."""
    for metric, task in report.figures().to_numpy():
        rows = report.rows[(report.rows["metric"] == metric) & (report.rows["task"] == task)]
        specs = [panel["spec"] for panel in panels(report, metric, task)]
        yield report.figure(metric, task), specs, csv_of(rows)


def time_contexts(report: Report) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield path, context and CSV of the figures over diffusion time."""
    for task, metric in product(report.task_pages, OVER_TIME):
        panel = time_panel(report, metric, task)
        if panel:
            context = _about(report, metric, task)
            context |= {"title": panel["title"], "csv_text": DRAWN, "panels": [panel]}
            context["text"] += " Here it is shown at each time."
            csv = panel["points"].to_csv(index=False, float_format=DIGITS)
            yield report.time_page(metric, task), context, csv


def _about(report: Report, metric: str, task: str) -> dict[str, Any]:
    return {"text": record_of(metric).definition, "task": task, "task_page": report.task_pages[task]}


def rank_contexts(report: Report) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield path, context and CSV of the mean ranks by each metric."""
    for metric, places in report.places.items():
        if places:
            points = report.points[(report.points["metric"] == metric) & report.points["rank"].notna()]
            columns = [*PLACE, "label", "rank", "rivals", "status"]
            context = {
                "title": f"Mean ranks by {record_of(metric).title}",
                "text": f"1 is best, failures share the last ranks. {record_of(metric).definition}",
                "csv_text": "the rank of each method at each place.",
                "task": "",
                "task_page": "",
                "panels": rank_panels(report, metric),
            }
            yield report.rank_page(metric), context, points[columns].to_csv(index=False, float_format="%.6g")


@cache
def rank_panels(report: Report, metric: str) -> list[dict[str, Any]]:
    """Return title, caption, chart and table of the mean ranks by a metric, for each settings."""
    places = report.places[metric]
    found = {v: [place for place in places if place.variant == v] for v in report.board["variants"]}
    return [_rank_panel(report, metric, v, own) for v, own in found.items() if own]


def _rank_panel(report: Report, metric: str, settings: str, places: list[Place]) -> dict[str, Any]:
    ranked = average_ranks(places)
    tasks = len({place.task for place in places})
    caption = (
        f"Mean ranks by {record_of(metric).title}, {in_words(settings)}, with 95 % intervals, over "
        f"{len(places)} places on {tasks} task{'s' if tasks > 1 else ''}."
    )
    lines = [
        [
            {"text": r["label"], "href": report.method_pages[r["label"]]},
            {"text": number(r["rank"])},
            {"text": span((r["rank"], r["low"], r["high"])).strip() or NOTHING},
            {"text": str(r["places"])},
            {"text": str(r["failures"])},
        ]
        for r in records(ranked)
    ]
    return {
        "title": in_words(settings).capitalize(),
        "caption": caption,
        "spec": rank_chart(ranked, report.looks, caption),
        "columns": ["method", "mean rank", "interval", "places", "failures"],
        "lines": lines,
    }
