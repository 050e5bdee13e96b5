"""The page that says which method is best at a budget on each task, as `graybench advise` does."""

import math
from typing import Any

from ....tasks.errors import UserError
from ...analysis.advice import SCORES, Advice, Line, on_task
from ...metrics.catalogue import record_of
from ..numbers import number, whole
from ..report import Report

Context = dict[str, Any]
INTRO = (
    "By {}, with 95 % intervals. A method is not told apart from the best if the interval of their paired "
    "difference holds 0; with few replicates that says little. For a task that is not here, `graybench "
    "advise --dim-theta D --dim-x N --budget B` gives mean ranks over tasks like yours."
)
COLUMNS = ["task", "simulations", "best", "not told apart from it", "best, seconds a fit"]


def advice_page(report: Report) -> Context:
    """Return a line for each task and budget, by the metric that most methods have."""
    metric = report.main_metric
    rows = report.paired[report.paired["metric"] == metric]
    rows = rows[rows["variant"] == report.board["variants"][0]]  # others were paired apart
    lines = []
    for task, own in rows.groupby("task", sort=False):
        for budget in sorted(own["budget"].unique()):
            try:
                advice = on_task(own, str(task), int(budget), metric, math.inf, SCORES)
            except UserError:  # no method has a result there
                continue
            if advice.budget == budget:
                lines.append(_line(report, str(task), advice))
    title = record_of(metric).title if metric else "a metric"
    return {
        "title": "Which method?",
        "intro": INTRO.format(title),
        "caption": "The best method for each task and budget",
        "columns": COLUMNS,
        "lines": lines,
    }


def _line(report: Report, task: str, advice: Advice) -> list[list[tuple[str, str]]]:
    best, *others = advice.methods
    level = [line for line in others if line.verdict == "not told apart"]

    def link(line: Line, text: str) -> tuple[str, str]:
        return text, report.method_pages.get(line.label, "")

    value = f"{best.label} {number(best.value)}"
    if not math.isnan(best.low):
        value += f" [{number(best.low)}, {number(best.high)}]"
    return [
        [(task, report.task_pages[task])],
        [(whole(advice.budget), "")],
        [link(best, value)],
        [link(line, line.label) for line in level],
        [(number(best.seconds), "")],
    ]
