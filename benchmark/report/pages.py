"""The contexts of the templates about the overview, the lists of pages, and tasks."""

from typing import Any

import torch

from ...tasks.errors import UserError
from ...tasks.task import Task
from ..analysis.labels import task_of
from ..metrics.catalogue import record_of
from .charts import posterior_1d, posterior_2d
from .figure_pages import panels, rank_panels, time_panel
from .leaderboard import MEANS, first_selection, lines_of
from .method_pages import described, method_of, requires_of, summary_of
from .numbers import words
from .points import OVER_TIME
from .report import Report

Context = dict[str, Any]
DRAWS, SEED = 250, 1  # of the picture of a posterior


def overview(report: Report) -> Context:
    """Return the leaderboard with its definitions."""
    board = report.board
    geometric = [board["metrics"][m]["title"] for m in board["means"] if board["metrics"][m]["geometric"]]
    note = f"Those of {' and '.join(geometric)} are geometric, as it spans orders of magnitude."
    ranked = next((metric for metric, places in report.places.items() if places), "")
    panel = rank_panels(report, ranked)[0] if ranked else None
    return {
        "title": "Leaderboard",
        "board": board,
        "lines": lines_of(board),
        "first": first_selection(board),
        "mean_titles": ", ".join(board["metrics"][m]["title"] for m in board["means"]),
        "geometric_note": note if geometric else "",
        "unmeasured": ", ".join(record_of(m).title for m in MEANS if m not in board["means"]),
        "definitions": [(m, record_of(m)) for m in board["metrics"]],
        "ranks": panel,
        "rank_page": report.rank_page(ranked) if ranked else "",
    }


def listings(report: Report) -> dict[str, Context]:
    """Return the lists of tasks, methods and figures, by path."""
    tasks = [(task, page, task_of(task)) for task, page in report.task_pages.items()]
    task_lines = [
        [[(name, page)], [(task.summary if task else "not installed here", "")], [(_offers(task), "")]]
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
        "tasks.html": _listing("Tasks", "Simulators with known posteriors.", task_lines, "task", "offers"),
        "methods.html": _listing("Methods", "What was run here.", method_lines, "method", "requires"),
        "figures.html": {
            "title": "Figures",
            "intro": "A page for each, with the rows behind it to download.",
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
    found = [(record_of(metric).title, report.figure_page(metric, task)) for metric in metrics]
    for metric in OVER_TIME:
        if time_panel(report, metric, task):
            found.append((f"{record_of(metric).title} over diffusion time", report.time_page(metric, task)))
    return found


def task_page(report: Report, label: str) -> Context:
    """Return a task's description, its posterior, and curves and tables of each metric."""
    task = task_of(label)
    metrics = list(report.figures().query("task == @label")["metric"])
    over_time = {m: panel for m in OVER_TIME if (panel := time_panel(report, m, label))}
    return {
        "title": label,
        "about": described(task) | {"capabilities": _offers(task)} if task else None,
        "dimensions": (task.dim_theta, task.dim_x) if task else (),
        "posterior": _posterior(task) if task else None,
        "parts": [
            {
                "metric": metric,
                "title": record_of(metric).title,
                "text": record_of(metric).definition,
                "page": report.figure_page(metric, label) if metric in metrics else "",
                "panels": panels(report, metric, label) if metric in metrics else [],
                "time_page": report.time_page(metric, label) if metric in over_time else "",
                "over_time": over_time.get(metric),
            }
            for metric in [*metrics, *(m for m in over_time if m not in metrics)]
        ],
    }


def _posterior(task: Task) -> Context | None:
    """Return a picture and moments of draws from the reference, given the first observation.

    There is none for a task without a reference, or whose data are not installed.
    """
    if "reference" not in task.capabilities:
        return None
    try:
        observations = task.observations()
        u = task.reference(observations.x[0]).sample(DRAWS, SEED)
    except UserError:
        return None
    theta, truth = task.prior.to_theta(u), observations.theta[0]
    what = f"posterior of {task.label} given its first observation, and the true θ"
    if task.dim_theta == 1:
        spec = posterior_1d(theta[:, 0].tolist(), float(truth[0]), f"Histogram of draws of the {what}")
    else:
        description = f"Draws of the first two parameters of the {what}"
        spec = posterior_2d(theta[:, :2].tolist(), (float(truth[0]), float(truth[1])), description)
    shown = "the first two parameters" if task.dim_theta > 2 else "θ"
    columns = (theta.mean(0), theta.std(0), truth)
    return {
        "spec": spec,
        "caption": f"{len(theta)} draws of {shown} from the reference posterior "
        f"({task.reference_kind}) given the first observation; in orange the θ it was simulated from.",
        "numbers": [(f"θ{k + 1}", *row) for k, row in enumerate(torch.stack(columns, 1).tolist())],
    }


def _offers(task: Task | None) -> str:
    if task is None:
        return ""
    kinds = {"reference": f"reference ({task.reference_kind})"}
    return ", ".join(kinds.get(c, words(c)) for c in sorted(task.capabilities))
