"""The figures of a report: a metric on a task over the budget, and mean ranks; and the rows behind each."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from benchmark.ranking import ranks
from benchmark.report.charts import Spec, curves, rank_chart
from benchmark.report.definitions import definition
from benchmark.report.numbers import number, plain, span, variant, whole, words
from benchmark.report.points import PLACE, records
from benchmark.report.report import Report
from benchmark.table import PERFECT

WHAT = (
    "every value behind it to four digits, a line for each cell and replicate, a column for each observation."
)
COLUMNS = ["method", "budget", "value", "interval", "floor", "rank", "replicates × observations", "cell"]
CELL = ["method", "method_settings", "budget", "replicate", "status", "cell"]


@cache
def panels(report: Report, metric: str, task: str) -> list[dict[str, Any]]:
    """Give title, caption, chart, grid and points for each variant that a metric has on a task."""
    points = report.points
    points = points[(points["metric"] == metric) & (points["task"] == task)]
    return [_panel(report, metric, task, str(v), p) for v, p in points.groupby("variant", sort=False)]


def _panel(report: Report, metric: str, task: str, settings: str, points: pd.DataFrame) -> dict[str, Any]:
    title = definition(metric).title
    caption = f"{title} on {task} over the budget, {_settings(settings)}: means with 95 % intervals"
    drawn = points["value"].notna().any()
    spec: Spec | None = curves(points, report.looks, caption) if drawn else None
    return {
        "title": _settings(settings).capitalize(),
        "caption": caption,
        "in_numbers": f"{title}, {_settings(settings)}, in numbers; the best in bold",
        "spec": spec,
        "table": _grid(points),
        "columns": COLUMNS,
        "lines": [_line(point) for point in records(points.sort_values("budget", kind="stable"))],
    }


def _settings(settings: str) -> str:
    return f"settings {variant(settings)}" if settings else "default settings"


def _grid(points: pd.DataFrame) -> dict[str, Any]:
    """Arrange points with budgets across and methods down; the nearest to the perfect value is the best."""
    perfect = PERFECT.get(str(points["metric"].iloc[0]), 0.0)
    distance = (points["value"] - perfect).abs()
    ranked = definition(str(points["metric"].iloc[0])).ranked
    least = distance.groupby(points["budget"]).transform("min")
    found = points.assign(best=(distance == least) & ranked)
    by_place = {(p["label"], p["budget"]): p for p in records(found)}
    budgets = sorted(points["budget"].unique())
    labels = points["label"].unique()
    return {"budgets": budgets, "lines": [(x, [by_place.get((x, b)) for b in budgets]) for x in labels]}


def _line(point: dict[str, Any]) -> list[dict[str, Any]]:
    failed = point["status"] != "ok"
    value = words(point["status"]) if failed else number(point["value"])
    interval = point["reason"] if failed else span((point["value"], point["low"], point["high"])).strip()
    size = f"{point['replicates']} × {max(1, point['observations'])}" if not failed else "–"
    return [
        {"text": point["label"]},
        {"text": whole(point["budget"]), "sort": point["budget"]},
        {"text": value, "sort": plain(point["value"])},
        {"text": interval} | ({"wide": True} if failed else {}),
        {"text": number(point["floor"])},
        {"text": number(point["rank"])},
        {"text": size},
        {"text": point["cell"], "href": f"provenance.html#{point['cell']}"},
    ]


def csv_of(rows: pd.DataFrame) -> str:
    """Write the rows of a metric and task: a line for a cell and replicate, a column for an observation."""
    column = rows["observation"].map(lambda o: "value" if pd.isna(o) else f"observation_{o}")
    named = rows.assign(column=column, replicate=rows["replicate"].astype("string").fillna(""))
    wide = named.set_index([*CELL, "column"])["value"].astype("float64").unstack("column", sort=False)
    return wide.reset_index().to_csv(index=False, float_format="%.4g")


def figure_contexts(report: Report) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield path, what the template needs, and CSV of the figure of each metric on each task."""
    for metric, task in report.figures().to_numpy():
        path = report.figure_page(metric, task)
        rows = report.rows[(report.rows["metric"] == metric) & (report.rows["task"] == task)]
        yield (
            path,
            {
                "title": f"{definition(metric).title} on {task}",
                "text": definition(metric).text,
                "csv_text": WHAT,
                "task": task,
                "task_page": report.task_pages[task],
                "panels": panels(report, metric, task),
            },
            csv_of(rows),
        )


def rank_contexts(report: Report) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield path, what the template needs, and CSV of the mean ranks by each metric."""
    for metric in report.board["metrics"]:
        points = report.points[(report.points["metric"] == metric) & report.points["rank"].notna()]
        if points.empty:
            continue
        title = definition(metric).title
        columns = [*PLACE, "label", "rank", "rivals", "value", "low", "high", "status", "cell", "folder"]
        panel = rank_panel(report, metric)
        yield (
            report.rank_page(metric),
            {
                "title": f"Mean ranks by {title}",
                "text": f"1 is best, failures share the last ranks. {definition(metric).text}",
                "csv_text": "the rank of each method at each place.",
                "task": "",
                "task_page": "",
                "panels": [panel],
            },
            points[columns].to_csv(index=False, float_format="%.6g"),
        )


def rank_panel(report: Report, metric: str) -> dict[str, Any]:
    """Give title, caption, chart and table of the mean ranks by a metric."""
    caption = f"Mean ranks by {definition(metric).title} over all tasks and budgets, with their intervals"
    ranked = ranks(report.rows, metric)
    lines = [
        [
            {"text": r["label"], "href": report.method_pages[r["label"]]},
            {"text": number(r["rank"]), "sort": plain(r["rank"])},
            {"text": span((r["rank"], r["low"], r["high"])).strip() or "–"},
            {"text": str(r["places"]), "sort": r["places"]},
            {"text": str(r["failures"]), "sort": r["failures"]},
        ]
        for r in records(ranked.replace({np.nan: None}))
    ]
    return {
        "title": caption,
        "caption": caption,
        "spec": rank_chart(ranked, report.looks, caption),
        "columns": ["method", "mean rank", "interval", "places", "failures"],
        "lines": lines,
    }
