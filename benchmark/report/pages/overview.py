"""The contexts of the templates about the overview and the lists of pages."""

from typing import Any

from ....tasks.task import Task
from ...analysis.labels import task_of
from ...metrics.catalogue import record_of
from ..leaderboard import MEANS, first_selection, lines_of
from ..numbers import words
from ..points import OVER_TIME
from ..report import Report
from .advice import advice_page
from .figures import panels, time_panel
from .heat import heat_map
from .methods import method_of, requires_of, summary_of

Context = dict[str, Any]


def overview(report: Report) -> Context:
    """Return what the suite is, a figure of each task, the heat map, and the leaderboard with definitions."""
    board = report.board
    geometric = [board["metrics"][m]["title"] for m in board["means"] if board["metrics"][m]["geometric"]]
    note = f"Those of {' and '.join(geometric)} are geometric, as it spans orders of magnitude."
    ranked = next((metric for metric, places in report.places.items() if places), "")
    return {
        "title": "graybench",
        "front": _front(report),
        "heat": heat_map(report),
        "board": board,
        "lines": lines_of(board),
        "first": first_selection(board),
        "mean_titles": ", ".join(board["metrics"][m]["title"] for m in board["means"]),
        "geometric_note": note if geometric else "",
        "unmeasured": ", ".join(record_of(m).title for m in MEANS if m not in board["means"]),
        "definitions": [(m, record_of(m)) for m in board["metrics"]],
        "rank_page": report.rank_page(ranked) if ranked else "",
    }


def _front(report: Report) -> Context | None:
    """Return the figure of the main metric of each task, the task with most methods first; None without."""
    metric = report.main_metric
    points = report.points[(report.points["metric"] == metric) & report.points["value"].notna()]
    methods = (
        points.groupby("task", sort=False)["label"].nunique().sort_values(ascending=False, kind="stable")
    )
    if methods.empty:
        return None
    tasks = [_front_task(report, metric, str(task)) for task in methods.index]
    return {"metric": record_of(metric), "tasks": tasks}


def _front_task(report: Report, metric: str, task: str) -> Context:
    """Return the first chart of a metric on a task, the one of the defaults if there is one."""
    found = panels(report, metric, task)
    drawn = [k for k, panel in enumerate(found) if panel["spec"]]
    chosen = min(drawn, key=lambda k: found[k]["variant"] != "")
    place = report.figure_place(metric, task)
    return {"task": task, "place": place, "chart": report.figure(metric, task), "panel": chosen}


def listings(report: Report) -> dict[str, Context]:
    """Return the lists of tasks, methods, figures and best methods, by path."""
    tasks = [(task, page, task_of(task)) for task, page in report.task_pages.items()]
    task_lines = [
        [[(name, page)], [(task.summary if task else "not installed here", "")], [(offers_of(task), "")]]
        for name, page, task in tasks
    ]
    method_lines = [
        [
            [(label, page)],
            [(summary_of(method_of(report, label)), "")],
            [(requires_of(method_of(report, label)), "")],
        ]
        for label, page in report.method_pages.items()
    ]
    ranks = [(record_of(m).title, report.rank_page(m)) for m, places in report.places.items() if places]
    figure_lines = [[[("mean ranks", "")], ranks]] if ranks else []
    figure_lines += [[[(task, "")], _figures(report, task)] for task in report.task_pages]
    return {
        "advice.html": advice_page(report),
        "tasks.html": _listing("Tasks", "Simulators with known posteriors.", task_lines, "task", "offers"),
        "methods.html": _listing("Methods", "What was run here.", method_lines, "method", "requires"),
        "figures.html": {
            "title": "Figures",
            "intro": "Each with the rows behind it to download.",
            "caption": "Figures: mean ranks, and each metric on each task over the budget",
            "columns": ["about", "figures"],
            "lines": figure_lines,
        },
    }


def _listing(title: str, intro: str, lines: list[Any], what: str, last: str) -> Context:
    columns = [what, "summary", last]
    return {"title": title, "intro": intro, "caption": title, "columns": columns, "lines": lines}


def _figures(report: Report, task: str) -> list[tuple[str, str]]:
    """Return title and page of each figure of a task."""
    metrics = report.figures().query("task == @task")["metric"]
    found = [(record_of(metric).title, report.figure_place(metric, task)) for metric in metrics]
    for metric in OVER_TIME:
        if time_panel(report, metric, task):
            found.append((f"{record_of(metric).title} over diffusion time", report.time_page(metric, task)))
    return found


def offers_of(task: Task | None) -> str:
    """Return the capabilities of a task in words."""
    if task is None:
        return ""
    kinds = {"reference": f"reference ({task.reference_kind})"}
    return ", ".join(kinds.get(c, words(c)) for c in sorted(task.capabilities))
