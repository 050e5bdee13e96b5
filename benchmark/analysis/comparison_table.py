"""Tables of one method compared with a baseline, tasks down, budgets across: as text, Markdown, LaTeX."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...tasks.errors import UserError
from ..metrics.catalogue import record_of
from ..metrics.metric import Metric
from ..running.rows import with_variants
from .comparison import differences, ratios
from .formats import booktabs, escape_latex, escape_markdown, markdown_table
from .table import averaged, method_labels, require_method

BETTER, WORSE = "*", "+"
NO_INTERVAL = "no interval: there is one replicate, or both means are 0 in some bootstrap draws"


class Place(NamedTuple):
    """A comparison at one task and budget.

    Attributes:
        text: the number with its interval, or the status of a row that did not end well.
        mark: `BETTER` or `WORSE` where the whole interval is on that side, else "".
        measured: there is a number.
        has_interval: there is an interval, or no number that lacks one.
    """

    text: str
    mark: str = ""
    measured: bool = True
    has_interval: bool = True

    def __str__(self) -> str:
        return f"{self.text} {self.mark}".strip()


class Comparison(NamedTuple):
    """The comparisons of one variant.

    Attributes:
        title: what is compared.
        head: "task", and the budgets.
        lines: the places of each task; None where a budget was not measured.
    """

    title: str
    head: list[str]
    lines: dict[str, list[Place | None]]


def comparisons(frame: pd.DataFrame, metric: str, method: str, baseline: str) -> list[Comparison]:
    """Return the comparison of each variant.

    Args:
        frame: a result table.
        metric: name of a ranked metric. It is compared by `ratios` if it has a ratio, else by `differences`.
        method, baseline: as in `ratios`.

    Raises:
        UserError: the table has no such metric to average or no such method, the two methods were never
            measured at the same place, or the metric is not ranked.
    """
    averaged(frame, metric)
    known = dict.fromkeys([*with_variants(frame)["label"].unique(), *method_labels(frame).unique()])
    for label in (method, baseline):
        require_method(label, known)
    record = record_of(metric)
    found = (ratios if record.has_ratio else differences)(frame, metric, method, baseline)
    if found.empty:
        raise UserError(
            f"{metric} was never measured of both {method} and {baseline} at one task, settings and budget; "
            f"`graybench table --metric {metric}` shows where it was measured."
        )
    title = f"{_quantity(record, method, baseline)} [95 % interval], {BETTER} better, {WORSE} worse"
    made = []
    for variant, rows in found.groupby("variant", sort=False):
        budgets = sorted(int(budget) for budget in rows["budget"].unique())
        lines = {}
        for task, own in rows.groupby("task", sort=False):
            numbers = own[["status", "value", "low", "high"]].itertuples(index=False)
            shown = {b: _place(record, *row) for b, row in zip(own["budget"], numbers, strict=True)}
            lines[str(task)] = [shown.get(budget) for budget in budgets]
        head = ["task", *(f"{budget:,}" for budget in budgets)]
        made.append(Comparison(f"{title} · {variant!s}" if variant else title, head, lines))
    return made


def _quantity(record: Metric, method: str, baseline: str) -> str:
    if record.has_ratio:
        return f"{record.name}, mean of {method} / mean of {baseline}"
    mean = (
        "mean" if record.perfect is None else f"|mean − {record.perfect:g}|" if record.perfect else "|mean|"
    )
    return f"{record.name}, {mean} of {method} − {mean} of {baseline}"


def _place(record: Metric, status: str, value: float, low: float, high: float) -> Place:
    if status != "ok":
        return Place(status, measured=False)
    if np.isnan(value):
        return Place("0/0", measured=False)
    shown, equal = (_ratio, 1) if record.has_ratio else (_difference, 0)
    if np.isnan(low):
        return Place(f"{shown(value)} (no interval)", has_interval=False)
    mark = BETTER if high < equal else WORSE if low > equal else ""
    return Place(f"{shown(value)} [{shown(low)}, {shown(high)}]", mark)


def _ratio(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "∞"


def _difference(value: float) -> str:
    return f"{value:+.2g}"


def print_comparison(frame: pd.DataFrame, metric: str, method: str, baseline: str, console: Console) -> None:
    """Print the tables of `comparisons`, what is better in bold."""
    made = comparisons(frame, metric, method, baseline)
    for comparison in made:
        table = Table(title=escape(comparison.title))
        table.add_column(comparison.head[0], overflow="fold")
        for budget in comparison.head[1:]:
            table.add_column(budget, justify="right")
        for task, places in comparison.lines.items():
            table.add_row(escape(task), *map(_in_terminal, places))
        console.print(table)
    if _lacks_an_interval(made):
        console.print(NO_INTERVAL, highlight=False)


def _in_terminal(place: Place | None) -> str:
    if place is None:
        return ""
    style = "italic" if not place.measured else "bold" if place.mark == BETTER else ""
    return f"[{style}]{escape(str(place))}[/]" if style else escape(str(place))


def comparison_as_markdown(frame: pd.DataFrame, metric: str, method: str, baseline: str) -> str:
    """Return the tables of `comparisons` in GitHub's Markdown."""
    made, tables = comparisons(frame, metric, method, baseline), []
    for comparison in made:
        lines = [[escape_markdown(task), *map(_in_markdown, own)] for task, own in comparison.lines.items()]
        tables.append(markdown_table(comparison.title, comparison.head, lines))
    if _lacks_an_interval(made):
        tables.append(f"{NO_INTERVAL}\n")
    return "\n".join(tables)


def _in_markdown(place: Place | None) -> str:
    if place is None:
        return ""
    return escape_markdown(str(place)) if place.measured else f"*{escape_markdown(str(place))}*"


def comparison_as_latex(frame: pd.DataFrame, metric: str, method: str, baseline: str) -> str:
    r"""Return the tables of `comparisons`, for a document with `\usepackage{booktabs}`."""
    made, tables = comparisons(frame, metric, method, baseline), []
    for comparison in made:
        lines = [[escape_latex(task), *map(_in_latex, own)] for task, own in comparison.lines.items()]
        note = f" ({NO_INTERVAL})" if _lacks_an_interval([comparison]) else ""
        columns = f"l{'r' * (len(comparison.head) - 1)}"
        tables.append(booktabs(comparison.title + note, columns, comparison.head, lines))
    return "\n".join(tables)


def _in_latex(place: Place | None) -> str:
    if place is None:
        return ""
    text = escape_latex(str(place)).replace("∞", r"$\infty$")
    return text if place.measured else rf"\textit{{{text}}}"


def _lacks_an_interval(made: list[Comparison]) -> bool:
    places = [place for comparison in made for line in comparison.lines.values() for place in line]
    return any(place is not None and not place.has_interval for place in places)
