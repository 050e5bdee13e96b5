"""The figures of Ko & Geffner with a row, or a panel, for each task.

The tables come from a sweep over tasks. The figures show the tasks whose score is exact, in the sweep's
order, as only there the variance of a target can be measured as in the paper's Figure 1.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from ...figures.draw import over_budget, variance
from ...figures.style import (
    BUDGET_LABEL,
    MARK_EVERY,
    PAGE,
    TIME_LABEL,
    Looks,
    budget_axis,
    budgets_of,
    draw_methods,
    handle,
    legend,
    log_limits,
    looks_of,
    mark_clipped,
    panels_of,
    styled,
    time_axis,
    value_axis,
)
from ...figures.weights import OPTIMAL, draw_weights, learned_weight, optimal_rows, optimal_weight
from ...metrics.catalogue import record_of
from ...running.rows import with_variants
from .claims import PAPER, scored_tasks

METHODS = ("dsm", "ltsm", "mix", "mix(gate=learned)")  # the paper's; it does not assume what TSM needs
OBSERVATIONS = 5


def _rows(table: pd.DataFrame, variant: str) -> tuple[pd.DataFrame, Looks]:
    rows = with_variants(table)
    rows = rows[(rows["variant"] == variant) & rows["label"].isin(METHODS)]
    return rows, looks_of(rows["label"].unique())


def galton_variance(table: pd.DataFrame) -> Figure | None:
    """Draw Figure 1 for the Galton board in the papers' setting, with score errors in a panel a budget."""
    return variance(*_rows(table, PAPER))


def galton_mmd(table: pd.DataFrame) -> Figure | None:
    """Draw Figure 2 for the Galton board in the papers' setting."""
    rows, looks = _rows(table, PAPER)
    return over_budget(rows, looks, "mmd")


def galton_optimal_weight(table: pd.DataFrame) -> Figure | None:
    """Draw Figure 4 for the Galton board."""
    return optimal_weight(_rows(table, PAPER)[0])


def galton_learned_weight(table: pd.DataFrame) -> Figure | None:
    """Draw Figure 5 for the Galton board in the papers' setting."""
    return learned_weight(*_rows(table, PAPER))


@styled
def variance_by_task(table: pd.DataFrame) -> Figure | None:
    """Draw Figure 1: a row for each task, target variance left, score errors of each budget beside it."""
    rows, looks = _rows(table, "")
    tasks = scored_tasks(rows)
    if not tasks:
        return None
    rows = rows[rows["task"].isin(tasks) & (rows["time"].notna() | rows["replicate"].isna())]
    scores, targets = rows[rows["metric"] == "score_error"], rows[rows["metric"] == "target_variance"]
    budgets = budgets_of(scores)
    figure = Figure(figsize=(PAGE, 0.5 + 1.25 * len(tasks)), layout="constrained")
    grid = figure.add_gridspec(len(tasks), 1 + len(budgets))
    for i, task in enumerate(tasks):
        own, largest = targets[targets["task"] == task], targets["budget"].max()
        axis = figure.add_subplot(grid[i, 0])
        line = draw_methods(axis, own[own["budget"] == largest], "time", looks, MARK_EVERY)
        axis.set_yscale("log")
        axis.set_ylim(log_limits([line], above=5))
        axis.set_ylabel(task.replace("(", "\n("))
        axis.set_title("target variance" if i == 0 else "")
        own, panels, lines = scores[scores["task"] == task], [axis], []
        for k, budget in enumerate(budgets):
            axis = figure.add_subplot(grid[i, 1 + k])
            lines.append(draw_methods(axis, own[own["budget"] == budget], "time", looks, MARK_EVERY))
            axis.set_title(f"score error, $N$ = {budget:,}" if i == 0 else "")
            panels.append(axis)
        for k, axis in enumerate(panels):
            time_axis(axis)
            if k:
                axis.set_yscale("log")
                axis.set_ylim(log_limits(lines))
                axis.tick_params(labelleft=k == 1)
            mark_clipped(axis)
            axis.tick_params(labelbottom=i == len(tasks) - 1)
    formulas = [record_of(m).axis_label.replace("\n", " ") for m in ("target_variance", "score_error")]
    figure.supylabel("; ".join(formulas))
    figure.supxlabel(TIME_LABEL)
    legend(figure, rows, looks)
    return figure


@styled
def mmd_by_task(table: pd.DataFrame) -> Figure | None:
    """Draw Figure 2: a row for each task; MMD over budget on average and for five observations."""
    tasks = scored_tasks(table)
    rows, looks = _rows(table[(table["metric"] == "mmd") & table["time"].isna()], "")
    rows = rows[rows["task"].isin(tasks)]
    budgets = budgets_of(rows)
    if not budgets:
        return None
    figure = Figure(figsize=(PAGE, 0.5 + 1.15 * len(tasks)), layout="constrained")
    grid = figure.add_gridspec(len(tasks), 1 + OBSERVATIONS, width_ratios=[1.4] + [1] * OBSERVATIONS)
    for i, task in enumerate(tasks):
        axes = _mmd_row(figure, grid, i, rows[rows["task"] == task], looks)
        axes[0].set_ylabel(task.replace("(", "\n("))
        for axis in axes:
            budget_axis(axis, budgets)
            axis.tick_params(labelbottom=i == len(tasks) - 1)
    figure.supylabel(record_of("mmd").axis_label)
    figure.supxlabel(BUDGET_LABEL)
    legend(figure, rows, looks)
    return figure


def _mmd_row(figure: Figure, grid: GridSpec, i: int, own: pd.DataFrame, looks: Looks) -> list[Axes]:
    panels = [("mean over observations", own)]
    for o in sorted(own["observation"].dropna().unique())[:OBSERVATIONS]:
        whole = own["observation"].isna() & (own["status"] != "ok")
        panels.append((f"observation {int(o)}", own[(own["observation"] == o) | whole]))
    axes, lines = [], []
    for k, (title, rows) in enumerate(panels):
        axis = figure.add_subplot(grid[i, k])
        lines.append(draw_methods(axis, rows, "budget", looks))
        axis.set_title(title if i == 0 else "")
        axes.append(axis)
    for k, axis in enumerate(axes):
        value_axis(axis, "mmd", lines)
        axis.tick_params(labelleft=k == 0)
    return axes


@styled
def weights_by_task(table: pd.DataFrame) -> Figure | None:
    """Draw Figures 4 and 5 in one row: a panel for each task, the learned w(t) on top of w*(t)."""
    rows, looks = _rows(table, "")
    tasks = scored_tasks(rows)
    rows = rows[rows["task"].isin(tasks)]
    learned = rows[(rows["metric"] == "learned_weight") & (rows["status"] != "skipped")]
    budgets = budgets_of(learned)[-1:]
    if not budgets:
        return None
    learned = learned[learned["budget"].isin(budgets)]
    figure = Figure(figsize=(PAGE, 1.9), layout="constrained")
    for axis, task in zip(panels_of(figure, len(tasks), len(tasks)), tasks, strict=True):
        optimal = optimal_rows(rows[(rows["task"] == task) & rows["budget"].isin(budgets)])
        draw_weights(axis, learned[learned["task"] == task], optimal, looks)
        axis.set_title(task)
        axis.set_ylabel(f"DSM weight, $N$ = {budgets[0]:,}")
        axis.label_outer()
    figure.supxlabel(TIME_LABEL)
    legend(figure, learned, looks, [handle(OPTIMAL)])
    return figure
