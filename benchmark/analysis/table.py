"""The result table for people: budgets across, methods down, means with 95 % intervals, the best marked."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...tasks.errors import UserError
from ...tasks.plugin import nearest
from ..metrics.catalogue import record_of
from .statistics import summarise


def method_labels(frame: pd.DataFrame) -> "pd.Series[str]":
    """Return each row's method with its settings in brackets: `mix(gate=learned)`."""
    settings = frame["method_settings"].str.replace(" ", ", ")
    return frame["method"].where(settings == "", frame["method"] + "(" + settings + ")")


def of_methods(frame: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """Return the rows of the given methods; an empty sequence selects all.

    Args:
        frame: a table with the columns `method` and `method_settings`.
        methods: each a label of `method_labels`, or a name that is no label, for all settings of a method.

    Raises:
        UserError: the table has no such method.
    """
    labels = method_labels(frame)
    known = set(labels)
    for method in methods:
        require_method(method, [*known, *frame["method"].unique()])
    names = [method for method in methods if method not in known]
    return frame[labels.isin(methods) | frame["method"].isin(names)] if methods else frame


def require_method(label: str, known: Iterable[str]) -> None:
    """Raise a `UserError` with the nearest name unless `label` is known."""
    if label not in known:
        raise UserError(f"the table has no method {label!r}: {nearest(label, known)}")


def require_ranked(metric: str) -> None:
    """Raise a `UserError` unless the metric says which of two methods is better."""
    if not record_of(metric).ranked:
        raise UserError(
            f"{metric} does not say which method is better; `graybench table --metric {metric}` shows the "
            "values."
        )


def averaged(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows of a metric that are not resolved in diffusion time, with the column `label` added.

    Raises:
        UserError: there are no such rows.
    """
    rows = frame[(frame["metric"] == metric) & frame["time"].isna()]
    plain = frame.loc[frame["time"].isna() & (frame["status"] == "ok"), "metric"].unique()
    resolved = (frame["metric"] == metric) & frame["time"].notna()
    if metric not in plain and (rows.empty or resolved.any()):
        hint = nearest(metric, plain) if len(plain) else "all its metrics are resolved in diffusion time."
        raise UserError(f"the table has no metric {metric!r} to average: {hint}")
    return rows.assign(label=method_labels(rows))


class Entry(NamedTuple):
    """The result of one method at one budget, as text; all fields are empty if it was not run.

    Attributes:
        value, low, high: the mean and the ends of its interval; the ends are empty without an interval.
        best: whether it is the best of its budget.
        status: the status if it is not ok; there is no value then.
    """

    value: str = ""
    low: str = ""
    high: str = ""
    best: bool = False
    status: str = ""

    def __str__(self) -> str:
        return f"{self.value} [{self.low}, {self.high}]" if self.low else self.value or self.status


class Sheet(NamedTuple):
    """One table: budgets across for one task, or tasks across for one budget.

    Attributes:
        name: the task, or the budget in words.
        metric: what the table shows.
        columns: what is above the columns.
        lines: the entries of each method, by column.
        floors: the floor of each column; empty text if there is none.
        shows: what an entry is.
    """

    name: str
    metric: str
    columns: list[str]
    lines: dict[str, list[Entry]]
    floors: list[str]
    shows: str = "mean [95 % interval]"

    def caption(self, mark: str) -> str:
        """Return the caption; `mark` says how the best is marked, if the metric is ranked."""
        return f"{self.metric}, {self.shows}" + (f", {mark}" if record_of(self.metric).ranked else "")


def sheets_of(frame: pd.DataFrame, metric: str, wide: bool = False) -> Iterator[Sheet]:
    """Yield the table of each task.

    Args:
        frame: a result table.
        metric: name of the metric.
        wide: yield a table of means for each budget instead, with tasks across.

    Raises:
        UserError: the table has no such metric to average.
    """
    rows = averaged(frame, metric)
    sheets = [_sheet(str(task), metric, own) for task, own in rows.groupby("task", sort=False)]
    if not wide:
        yield from sheets
        return
    for budget in sorted(rows["budget"].unique()):
        yield _across(sheets, metric, f"{budget:,}", rows["label"].unique())


def _across(sheets: list[Sheet], metric: str, budget: str, labels: Iterable[str]) -> Sheet:
    """Return the means of several tasks at a budget side by side, of the methods that were run there."""
    own = [(sheet, sheet.columns.index(budget)) for sheet in sheets if budget in sheet.columns]
    lines = {
        label: [
            sheet.lines[label][k]._replace(low="", high="") if label in sheet.lines else Entry()
            for sheet, k in own
        ]
        for label in labels
    }
    run = {label: entries for label, entries in lines.items() if any(map(str, entries))}
    floors = [sheet.floors[k] for sheet, k in own]
    return Sheet(f"{budget} simulations", metric, [sheet.name for sheet, _ in own], run, floors, "mean")


def _sheet(task: str, metric: str, rows: pd.DataFrame) -> Sheet:
    bad = rows[rows["status"] != "ok"]
    # an entry that shows a status must not be marked as the best
    spoiled = (rows["status"] != "ok").groupby([rows["label"], rows["budget"]]).transform("any")
    summary = summarise(rows[~spoiled], ["label", "budget"])
    record = record_of(metric)
    distances = pd.Series(record.distance(summary["value"].to_numpy(dtype=float)), summary.index)
    best = set(distances.groupby(summary["budget"]).idxmin()) if record.ranked else set()
    numbers = summary[["value", "low", "high"]].to_numpy()
    places = list(zip(summary["label"], summary["budget"], strict=True))
    shown = {place: _entry(*numbers[i], best=i in best) for i, place in enumerate(places)}
    for label, budget, status in zip(bad["label"], bad["budget"], bad["status"], strict=True):
        shown[label, budget] = Entry(status=status)
    floors = summary.groupby("budget")["floor"].mean().dropna()
    budgets = sorted(rows["budget"].unique())
    return Sheet(
        task,
        metric,
        [f"{budget:,}" for budget in budgets],
        {
            label: [shown.get((label, budget), Entry()) for budget in budgets]
            for label in rows["label"].unique()
        },
        [f"{floors[budget]:.2g}" if budget in floors else "" for budget in budgets],
    )


def _entry(value: float, low: float, high: float, *, best: bool) -> Entry:
    ends = ("", "") if np.isnan(low) else (f"{low:.3g}", f"{high:.3g}")
    return Entry(f"{value:.3g}", *ends, best=best)


def print_table(frame: pd.DataFrame, metric: str, console: Console, wide: bool = False) -> None:
    """Print one table for each task, or for each budget. Entries that are not ok show their status.

    Args:
        frame, metric, wide: as in `sheets_of`.
        console: where to print.

    Raises:
        UserError: the table has no such metric to average.
    """
    for sheet in sheets_of(frame, metric, wide):
        title = f"{sheet.name} · {sheet.caption('* best')}".replace("[", r"\[")
        table = Table(title=title)
        table.add_column("method", overflow="fold")
        for column in sheet.columns:
            table.add_column(escape(column), justify="right", overflow="fold")
        for label, entries in sheet.lines.items():
            table.add_row(escape(label), *map(_styled, entries))
        if any(sheet.floors):
            table.add_section()
            table.add_row("floor", *sheet.floors)
        console.print(table)


def _styled(entry: Entry) -> str:
    text = str(entry).replace("[", r"\[")
    if entry.status:
        return f"[italic]{text}[/]"
    return f"[bold]{text} *[/]" if entry.best else text
