"""The contexts of the templates about methods: where each wins and loses, its settings and its cost."""

import inspect
from typing import Any

import pandas as pd

from ....methods import get_method
from ....tasks.errors import UserError
from ....tasks.plugin import Plugin
from ...metrics.catalogue import record_of
from ...running.rows import TO_RETRY
from ..contests import contests
from ..leaderboard import first_selection, text_of
from ..numbers import NOTHING, number, span, variant, whole, words
from ..report import Report
from ..scores import Scores, costs_as_scores, means

Context = dict[str, Any]


def method_pages(report: Report) -> dict[str, Context]:
    """Return the description, ranks, contests, cost and failures of each method, by path."""
    found = contests(report.paired, report.points)
    seconds = [
        costs_as_scores(report.costs, report.board["methods"], c) for c in ("fit_seconds", "sample_seconds")
    ]
    return {
        page: _method_page(report, label, found[label]) | {"costs": _costs(report, label, seconds)}
        for label, page in report.method_pages.items()
    }


def _method_page(report: Report, label: str, found: list[Context]) -> Context:
    method, rows = method_of(report, label), report.every[report.every["label"] == label]
    failed = rows.loc[rows["status"].isin(TO_RETRY), "cell"].nunique()
    board, budgets = report.board, ["", *map(str, report.board["budgets"])]
    found_at = [first_selection(board, budget) for budget in budgets]
    return {
        "title": label,
        "label": label,
        "about": described(method) | {"requires": requires_of(method)} if method else None,
        "versions": ", ".join(sorted(map(str, rows["method_version"].unique()))),
        "variants": "; ".join(variant(v) for v in rows["variant"].unique()),
        "shown": variant(board["variants"][0]),
        "budgets": board["budgets"],
        "ranks": [
            (metric["title"], [text_of(board, at, label, "rank", name) for at in found_at])
            for name, metric in board["metrics"].items()
        ],
        "contests": [c | {"title": record_of(c["metric"]).title} for c in found],
        "tally": _tally(found),
        "failures": f"{failed} of {rows['cell'].nunique()} cells failed in whole or in part.",
    }


def _tally(found: list[Context]) -> list[str]:
    lines = []
    for metric in dict.fromkeys(c["metric"] for c in found):
        counts = pd.Series([c["verdict"] for c in found if c["metric"] == metric]).value_counts()
        told = ", ".join(f"{words(str(verdict))} at {n}" for verdict, n in counts.items())
        lines.append(f"{record_of(metric).title}: of {counts.sum()} places, {told}.")
    return lines


def _costs(report: Report, label: str, seconds: list[Scores]) -> list[Context]:
    """Return the cost of a method at each budget, over all settings: mean seconds, ranges of counts."""
    own, k = report.costs[report.costs["label"] == label], report.board["methods"].index(label)
    lines = []
    for budget in sorted(int(b) for b in own["budget"].unique()):
        here = own[own["budget"] == budget]
        found = [means(s.at_budget(budget), geometric=False)[k] for s in seconds]
        texts = [number(mean.value) + span(mean[:3]) for mean in found]
        texts += [_range(here[column].dropna()) for column in ("n_score_calls", "n_network_evaluations")]
        lines.append({"budget": budget, "texts": texts})
    return lines


def _range(counts: "pd.Series[float]") -> str:
    ends = sorted({int(counts.min()), int(counts.max())}) if len(counts) else []
    return " to ".join(map(whole, ends)) or NOTHING


def method_of(report: Report, label: str) -> Plugin | None:
    """Return the method of a label with its gate; None if it is not installed here."""
    rows = report.rows[report.rows["label"] == label]
    gate = [s.split("=") for s in rows["method_settings"].iloc[0].split() if s.startswith("gate=")]
    try:
        return get_method(str(rows["method"].iloc[0]), **dict(gate))
    except UserError:
        return None


def described(plugin: Plugin) -> Context:
    """Return a plug-in's summary, its options, and the docstrings of its module and class."""
    cls = type(plugin)
    own = cls.__doc__ and inspect.getdoc(cls)
    texts = [inspect.getdoc(inspect.getmodule(cls)), own if own and "\n" in own else None]
    options = ", ".join(f"{name}={value}" for name, value in plugin.options().items())
    return {"summary": plugin.summary, "options": options, "texts": [text for text in texts if text]}


def summary_of(plugin: Plugin | None) -> str:
    """Return the summary of a method."""
    return plugin.summary if plugin else "not installed here"


def requires_of(plugin: Any) -> str:
    """Return the capabilities that a method requires of a task."""
    return ", ".join(words(c) for c in sorted(plugin.requires)) if plugin else ""
