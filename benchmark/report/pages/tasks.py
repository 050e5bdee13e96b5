"""The context of the template about a task: observation, posterior, calibration, time to quality, metrics."""

from typing import Any

from ....tasks.errors import UserError
from ....tasks.simulations import Observations
from ....tasks.task import Task
from ...analysis.labels import task_of
from ...analysis.quality import SURE, time_to_quality
from ...metrics.catalogue import record_of
from ..points import OVER_TIME, records
from ..report import Report
from .calibration import calibration
from .figures import panels, time_panel
from .methods import described
from .observation import observation
from .overview import offers_of
from .posterior import posterior

Context = dict[str, Any]
QUALITY, MARGIN = ("c2st_mlp", "mmd"), 0.02  # metrics, the first that a task has; what counts as the best


def task_page(report: Report, label: str) -> Context:
    """Return a task's description and pictures, and curves and tables of each metric."""
    task = task_of(label)
    observations = _observations(task)
    metrics = list(report.figures().query("task == @label")["metric"])
    over_time = {m: panel for m in OVER_TIME if (panel := time_panel(report, m, label))}
    parts = {
        "observation": observation(task, observations) if task and observations else None,
        "posterior": posterior(report, label, task, observations),
        "calibration": calibration(report, label),
    }
    return parts | {
        "title": label,
        "about": described(task) | {"capabilities": offers_of(task)} if task else None,
        "dimensions": (task.dim_theta, task.dim_x) if task else (),
        "specs": {name: part["spec"] for name, part in parts.items() if part and part["spec"]},
        "quality": _quality(report, label),
        "parts": [
            {
                "id": report.slugs[metric],
                "title": record_of(metric).title,
                "text": record_of(metric).definition,
                "chart": report.figure(metric, label) if metric in metrics else "",
                "panels": panels(report, metric, label) if metric in metrics else [],
                "time_page": report.time_page(metric, label) if metric in over_time else "",
                "over_time": over_time.get(metric),
            }
            for metric in [*metrics, *(m for m in over_time if m not in metrics)]
        ],
    }


def _observations(task: Task | None) -> Observations | None:
    """Return the observations of a task; None if it is not installed, or its data are not."""
    try:
        return task.observations() if task else None
    except UserError:
        return None


def _quality(report: Report, label: str) -> Context | None:
    """Return the seconds of the methods that are as good as the best, budget by budget; None without."""
    own = report.paired["task"] == label
    rows = report.paired[own & (report.paired["variant"] == report.board["variants"][0])]
    ok = set(rows.loc[rows["status"] == "ok", "metric"])
    metric = next((name for name in QUALITY if name in ok), None)
    if metric is None:
        return None
    found = time_to_quality(rows, metric, MARGIN)
    lines = records(found[found["reached"]].sort_values(["budget", "seconds"]))
    return {
        "title": record_of(metric).title,
        "margin": MARGIN,
        "lines": [
            line | {"sure": "" if line["share"] >= SURE else f"{line['share']:.0%}".replace("%", " %")}
            for line in lines
        ],
    }
