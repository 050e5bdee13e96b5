"""What the templates need: of the overview, tasks and methods, failures and provenance."""

import inspect
from typing import Any

import pandas as pd

from benchmark.labels import task_of
from benchmark.report.contests import contests
from benchmark.report.definitions import definition
from benchmark.report.figure_pages import panels, rank_panel
from benchmark.report.leaderboard import MEANS, rows_of
from benchmark.report.numbers import variant, whole, words
from benchmark.report.points import COSTS, records
from benchmark.report.posteriors import picture, posterior_of
from benchmark.report.report import Report
from benchmark.rows import TO_RETRY, ending
from methods import get_method
from tasks.errors import UserError
from tasks.plugin import Plugin
from tasks.task import Task

Context = dict[str, Any]


def overview(report: Report) -> Context:
    """Give the leaderboard with its definitions."""
    board = report.board
    metric = next(iter(board["metrics"]))
    geometric = [board["metrics"][m]["title"] for m in board["means"] if board["metrics"][m]["geometric"]]
    note = f"Those of {' and '.join(geometric).lower()} are geometric, as it spans orders of magnitude."
    return {
        "title": "Leaderboard",
        "lines": rows_of(board),
        "mean_titles": ", ".join(board["metrics"][m]["title"] for m in board["means"]),
        "geometric_note": note if geometric else "",
        "unmeasured": ", ".join(definition(m).title for m in MEANS if m not in board["means"]),
        "definitions": [(m, definition(m)) for m in board["metrics"]],
        "rank_spec": rank_panel(report, metric)["spec"],
        "rank_title": definition(metric).title,
        "rank_page": report.rank_page(metric),
    }


def listings(report: Report) -> dict[str, Context]:
    """Give the lists of tasks, methods and figures, by path."""
    tasks = [(task, page, task_of(task)) for task, page in report.task_pages.items()]
    task_lines = [
        [[(name, page)], [(task.summary if task else "not installed here", "")], [(_offers(task), "")]]
        for name, page, task in tasks
    ]
    method_lines = [
        [[(label, page)], [(_summary(_method(report, label)), "")], [(_requires(_method(report, label)), "")]]
        for label, page in report.method_pages.items()
    ]
    of_task = report.figures().groupby("task", sort=False)["metric"]
    figure_lines = [
        [[(str(task), "")], [(definition(m).title, report.figure_page(m, str(task))) for m in metrics]]
        for task, metrics in of_task
    ]
    ranks = [(definition(m).title, report.rank_page(m)) for m in report.board["metrics"]]
    return {
        "tasks.html": _listing("Tasks", "Simulators with known posteriors.", task_lines, "task", "offers"),
        "methods.html": _listing("Methods", "What was run here.", method_lines, "method", "requires"),
        "figures.html": {
            "title": "Figures",
            "intro": "A page for each, with the rows behind it to download.",
            "caption": "Figures: mean ranks, and each metric on each task over the budget",
            "columns": ["about", "figures"],
            "lines": [[[("mean ranks", "")], ranks], *figure_lines],
        },
    }


def _listing(title: str, intro: str, lines: list[Any], what: str, last: str) -> Context:
    columns = [what, "summary", last]
    return {"title": title, "intro": intro, "caption": title, "columns": columns, "lines": lines}


def task_page(report: Report, label: str) -> Context:
    """Give a task's description, posterior, and curves and tables of each metric."""
    task = task_of(label)
    metrics = report.figures().query("task == @label")["metric"]
    return {
        "title": label,
        "about": _about(task)
        | {"dim_theta": task.dim_theta, "dim_x": task.dim_x, "capabilities": _offers(task)}
        if task
        else None,
        "posterior": _posterior(task) if task else None,
        "parts": [
            {
                "metric": metric,
                "title": definition(metric).title,
                "text": definition(metric).text,
                "page": report.figure_page(metric, label),
                "panels": panels(report, metric, label),
            }
            for metric in metrics
        ],
    }


def _posterior(task: Task) -> Context | None:
    posterior = posterior_of(task)
    if posterior is None:
        return None
    shown = "the first two parameters" if task.dim_theta > 2 else "θ"
    columns = (posterior.theta.mean(0), posterior.theta.std(0), posterior.truth)
    return {
        "spec": picture(task, posterior),
        "caption": f"{len(posterior.theta)} draws of {shown} from the reference posterior "
        f"({task.reference_kind}) given the first observation; in orange the θ it was simulated from.",
        "numbers": list(
            zip((f"θ{k + 1}" for k in range(task.dim_theta)), *map(list_of, columns), strict=True)
        ),
    }


def list_of(tensor: Any) -> list[float]:
    """Give the numbers of a tensor."""
    return [float(value) for value in tensor]


def method_pages(report: Report) -> dict[str, Context]:
    """Give each method's description, ranks, contests, cost and failures, by path."""
    found = contests(report.rows, report.points)
    return {page: _method_page(report, label, found[label]) for label, page in report.method_pages.items()}


def _method_page(report: Report, label: str, found: list[Context]) -> Context:
    method, rows = _method(report, label), report.rows[report.rows["label"] == label]
    board, costs = report.board, report.costs[report.costs["label"] == label]
    failed = report.points[(report.points["label"] == label) & report.points["failed"]]["cell"].nunique()
    none, budgets = [None, None, None], ["", *map(str, board["budgets"])]
    about = _about(method) | {"requires": _requires(method)} if method else None
    return {
        "title": label,
        "label": label,
        "about": about,
        "versions": ", ".join(sorted(map(str, rows["method_version"].unique()))),
        "variants": "; ".join(variant(v) for v in rows["variant"].unique()),
        "ranks": [
            (metric["title"], [board["intervals"][name].get(b, {}).get(label, none) for b in budgets])
            for name, metric in board["metrics"].items()
        ],
        "contests": [c | {"title": definition(c["metric"]).title} for c in found],
        "tally": _tally(found),
        "costs": records(costs.groupby("budget")[list(COSTS)].mean().reset_index()),
        "failures": f"{failed} of {rows['cell'].nunique()} cells failed.",
    }


def _tally(found: list[Context]) -> list[str]:
    lines = []
    for metric in dict.fromkeys(c["metric"] for c in found):
        counts = pd.Series([c["verdict"] for c in found if c["metric"] == metric]).value_counts()
        told = ", ".join(f"{words(str(verdict))} at {n}" for verdict, n in counts.items())
        lines.append(f"{definition(metric).title}: of {counts.sum()} places, {told}.")
    return lines


def failures(report: Report) -> Context:
    """Give every cell that failed or was skipped, with its reason, and the metrics that do not apply."""
    odd = report.rows[report.rows["status"] != "ok"]
    cells = report.rows[report.rows["cell"].isin(odd["cell"])].groupby("cell", sort=False)
    skipped = {cell for cell, rows in cells if ending(rows).status == "skipped"}
    failed = _gathered(odd[odd["status"].isin(TO_RETRY)])
    by_label = {label: sum(line["label"] == label for line in failed) for label in report.method_pages}
    rest = odd[(odd["status"] == "skipped") & ~odd["cell"].isin(skipped)]
    counted = (
        rest.groupby(["metric", "label", "reason"], sort=False)["cell"].nunique().reset_index(name="cells")
    )
    return {
        "title": "Failures",
        "tally": [(label, _some(count)) for label, count in by_label.items()],
        "failed": sorted(failed, key=lambda line: line["label"]),
        "skipped": _gathered(odd[odd["cell"].isin(skipped)]),
        "inapplicable": records(counted),
    }


def _some(count: int) -> str:
    return f"{whole(count)} failed" if count else "nothing failed"


def _gathered(rows: pd.DataFrame) -> list[Context]:
    """Give one line for each cell, status and reason, with the metrics it is about."""
    keys = ["label", "variant", "task", "budget", "status", "reason", "cell"]
    if rows.empty:
        return []
    metrics = rows.groupby(keys, sort=False)["metric"].unique().map(", ".join)
    return records(metrics.reset_index(name="metrics"))


def provenance(report: Report) -> Context:
    """Give the folders and the cells behind all numbers."""
    columns = [
        "task",
        "task_version",
        "label",
        "method_version",
        "variant",
        "budget",
        "root_seed",
        "graybench",
    ]
    groups = report.rows.groupby("cell", sort=False)
    first = groups[[*columns, "torch", "folder"]].first()
    first["device"], first["replicates"] = groups["device"].max(), groups["replicate"].nunique()
    odd = report.rows[report.rows["cell"].isin(report.rows.loc[report.rows["status"] != "ok", "cell"])]
    endings = {cell: ending(rows).status for cell, rows in odd.groupby("cell", sort=False)}
    first["status"] = [endings.get(cell, "ok") for cell in first.index]
    cells = records(first.reset_index())
    return {"title": "Provenance", "sources": report.sources, "cells": cells}


def _method(report: Report, label: str) -> Plugin | None:
    rows = report.rows[report.rows["label"] == label]
    gate = [s.split("=") for s in rows["method_settings"].iloc[0].split() if s.startswith("gate=")]
    try:
        return get_method(str(rows["method"].iloc[0]), **dict(gate))
    except UserError:
        return None


def _about(plugin: Plugin) -> Context:
    """Give a plug-in's summary, options, and the docstrings of its module and class."""
    cls = type(plugin)
    own = cls.__doc__ and inspect.getdoc(cls)
    texts = [inspect.getdoc(inspect.getmodule(cls)), own if own and "\n" in own else None]
    options = ", ".join(f"{name}={value}" for name, value in plugin.options().items())
    return {"summary": plugin.summary, "options": options, "texts": [text for text in texts if text]}


def _offers(task: Task | None) -> str:
    if task is None:
        return ""
    kinds = {"reference": f"reference ({task.reference_kind})"}
    return ", ".join(kinds.get(c, words(c)) for c in sorted(task.capabilities))


def _summary(plugin: Plugin | None) -> str:
    return plugin.summary if plugin else "not installed here"


def _requires(plugin: Any) -> str:
    return ", ".join(words(c) for c in sorted(plugin.requires)) if plugin else ""
