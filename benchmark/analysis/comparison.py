"""One method against a baseline over many tasks: paired ratios of a metric's means, as a table and a figure.

Both sides were given the same simulations, so that the bootstrap draws the same replicates and observations
for both. Of errors, a ratio below 1 says that the method is better. A side that did not end well everywhere
gives no ratio but its status.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rich.console import Console
from rich.table import Table

from ...tasks.errors import UserError
from ...tasks.plugin import nearest
from ..figures.style import GREY, MISSING, PAGE, mark, mark_handles, panels_of, styled
from ..running.rows import with_variants
from .statistics import NO_RESULT, difference_interval, ratio_interval, table_of
from .table import averaged, method_labels

BASELINE = "dsm"
METRICS = ("score_error", "mmd")  # drawn side by side
MARKERS, COLOURS = "osD^v", ("#56B4E9", "#0072B2", "#000000", "#D55E00", "#CC79A7")
SIGNED = ("excess_variance", "mmd_squared", "tarp")  # above and below 0, so that a ratio means nothing
COLUMNS = ("task", "variant", "budget", "value", "low", "high", "p", "status")


def ratios(frame: pd.DataFrame, metric: str, method: str, baseline: str) -> pd.DataFrame:
    """Give the ratio of a method's mean to the baseline's for each task, variant and budget.

    Args:
        frame: a result table.
        metric: whose values not resolved in diffusion time are compared.
        method, baseline: labels such as "mix(gate=learned)", which are compared in each variant. If one of
            them is no label, both are methods with all their settings: "dsm(steps=30000)", and "dsm" without.

    Returns:
        One row for each task, variant ("" between settings) and budget that both were run on, with the
        columns `COLUMNS`; `p` is of Student's test that both means are the same. Numbers are NaN where
        `status` is not "ok".

    Raises:
        UserError: the metric is one of `SIGNED`.
    """
    if metric in SIGNED:
        raise UserError(
            f"{metric} may be 0 or negative, so that a ratio of two means nothing; `graybench table --metric "
            f"{metric}` shows the values."
        )
    rows = with_variants(frame[frame["time"].isna() & (frame["status"] != "skipped")])
    rows = rows[rows["metric"] == metric]
    if not {method, baseline} <= {*rows["label"]}:
        rows = rows.assign(label=method_labels(rows), variant="")
    records = []
    for place, group in rows.groupby(["task", "variant", "budget"], sort=False):
        sides = [group[group["label"] == label] for label in (method, baseline)]
        if any(side.empty for side in sides):
            continue
        statuses = [status for side in sides for status in side["status"] if status != "ok"]
        if statuses:
            records.append((*place, *NO_RESULT, np.nan, statuses[0]))
            continue
        own, other = map(table_of, sides)
        p = difference_interval(other, own, paired=True).p
        records.append((*place, *ratio_interval(own, other), p, "ok"))
    return pd.DataFrame(records, columns=list(COLUMNS))


def _require_method(label: str, known: Iterable[str]) -> None:
    if label not in known:
        raise UserError(f"the table has no method {label!r}: {nearest(label, known)}")


def print_comparison(frame: pd.DataFrame, metric: str, method: str, baseline: str, console: Console) -> None:
    """Print the ratios: tasks down, budgets across; bold where the whole interval is on one side of 1.

    Raises:
        UserError: the table has no such metric to average, or no such method; or the two have no place in
            common; or the metric allows no ratio.
    """
    averaged(frame, metric)
    known = dict.fromkeys([*with_variants(frame)["label"].unique(), *method_labels(frame).unique()])
    for label in (method, baseline):
        _require_method(label, known)
    found = ratios(frame, metric, method, baseline)
    if found.empty:
        raise UserError(
            f"there is no task, settings and budget at which {metric} was measured of both {method} and "
            f"{baseline}; `graybench table --metric {metric}` shows where each was."
        )
    for variant, rows in found.groupby("variant", sort=False):
        title = f"{metric} of {method} / of {baseline}, ratio of means [95 % interval]"
        table = Table(title=(f"{title} · {variant!s}" if variant else title).replace("[", r"\["))
        table.add_column("task", overflow="fold")
        budgets = sorted(rows["budget"].unique())
        for budget in budgets:
            table.add_column(f"{budget:,}", justify="right")
        for task, own in rows.groupby("task", sort=False):
            cells = own[["status", "value", "low", "high"]].itertuples(index=False)
            shown = {budget: _cell(*cell) for budget, cell in zip(own["budget"], cells, strict=True)}
            table.add_row(str(task), *[shown.get(budget, "") for budget in budgets])
        console.print(table)


def _cell(status: str, value: float, low: float, high: float) -> str:
    if status != "ok":
        return f"[italic]{status}[/]"
    if np.isnan(low):
        return f"{value:.2f}"
    text = rf"{value:.2f} \[{low:.2f}, {high:.2f}]"
    return f"[bold]{text}[/]" if high < 1 or low > 1 else text


def comparisons(frame: pd.DataFrame) -> Iterator[tuple[str, str, Figure]]:
    """Yield label, variant and figure of every method of a table of several tasks, against `BASELINE`."""
    rows = with_variants(frame)
    if rows["task"].nunique() > 1:
        for (variant, label), _ in rows.groupby(["variant", "label"], sort=False):
            if label != BASELINE:
                figure = comparison(rows, str(variant), str(label), BASELINE)
                if figure is not None:
                    yield str(label), str(variant), figure


@styled
def comparison(frame: pd.DataFrame, variant: str, method: str, baseline: str) -> Figure | None:
    """Draw the ratios of a method to the baseline: tasks down, one panel a metric; None without any."""
    known = frame.loc[frame["time"].isna() & (frame["status"] == "ok"), "metric"].unique()
    found = {metric: ratios(frame, metric, method, baseline) for metric in METRICS if metric in known}
    found = {metric: rows[rows["variant"] == variant] for metric, rows in found.items()}
    found = {metric: rows for metric, rows in found.items() if (rows["status"] == "ok").any()}
    if not found:
        return None
    first, every = next(iter(found.values())), pd.concat(found.values())
    budgets = sorted(every["budget"].unique())
    order = first[first["status"] == "ok"].groupby("task")["value"].apply(lambda v: np.log(v).mean())
    tasks = [*order.sort_values().index, *(t for t in every["task"].unique() if t not in order.index)]
    figure = Figure(figsize=(PAGE, 0.9 + 0.23 * len(tasks)), layout="constrained")
    for axis, (metric, rows) in zip(panels_of(figure, len(found), len(found)), found.items(), strict=True):
        draw_ratios(axis, rows, tasks, budgets)
        axis.set_title(f"{metric.replace('_', ' ')}: {method} / {baseline}")
        axis.label_outer()
    handles = ratio_handles(figure, budgets)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def ratio_handles(figure: Figure, budgets: list[int]) -> list[Artist]:
    """Give the legend's sign of each budget, and of the marks of a figure that is drawn."""
    signs = [
        Line2D([], [], color=COLOURS[k % 5], marker=MARKERS[k % 5], label=f"$N$ = {budget:,}")
        for k, budget in enumerate(budgets)
    ]
    return [*signs, *mark_handles(figure)]


def draw_ratios(axis: Axes, rows: pd.DataFrame, tasks: list[str], budgets: list[int]) -> None:
    """Draw the rows of `ratios` of one method: tasks down, each budget with its colour and marker.

    What gave no ratio is a cross at the right edge.
    """
    for k, budget in enumerate(budgets):
        of_budget = rows[rows["budget"] == budget]
        lines = of_budget["task"].map(tasks.index).to_numpy(dtype=float)
        lines += 0.5 * ((k + 0.5) / len(budgets) - 0.5)
        ok = (of_budget["status"] == "ok").to_numpy()
        own, place = of_budget[ok], lines[ok]
        if not ok.all():
            mark(axis, 0.97, lines[~ok], COLOURS[k % 5], MISSING, axis.get_yaxis_transform())
        ends = np.abs(own[["low", "high"]].to_numpy().T - own["value"].to_numpy())
        axis.errorbar(own["value"], place, xerr=ends, fmt=MARKERS[k % 5], color=COLOURS[k % 5], linewidth=0.9)
    axis.axvline(1, color=GREY, linestyle="--", linewidth=0.9)
    axis.set_xscale("log")
    axis.set_yticks(range(len(tasks)), tasks)
    axis.set_ylim(len(tasks) - 0.4, -0.6)
    axis.set_xlabel("ratio of means, below 1 the method is better")
