"""Figures of a metric over budget on all tasks together, such as C2ST of the uses of a joint score."""

import pandas as pd
from matplotlib.figure import Figure

from ..analysis.table import method_labels
from ..metrics.catalogue import record_of
from .options import looks_of_settings
from .style import (
    BUDGET_LABEL,
    PAGE,
    budget_axis,
    budgets_of,
    draw_floor,
    draw_methods,
    floor_handles,
    legend,
    panels_of,
    styled,
    value_axis,
)

COLUMNS = 5


@styled
def over_tasks(rows: pd.DataFrame, metric: str) -> Figure | None:
    """Draw a metric over budget: a panel for each task, a line for each method and settings.

    All panels have one vertical axis. Return None unless two budgets and two tasks have results.

    Args:
        rows: a result table, from `running.rows.with_variants`.
        metric: name of a metric that is not resolved in diffusion time, or is drawn by its average.
    """
    looks = looks_of_settings(rows)
    rows = rows[(rows["metric"] == metric) & rows["time"].isna()]
    rows = rows.assign(label=method_labels(rows), variant="")
    budgets = budgets_of(rows)
    tasks = [(str(task), own) for task, own in rows.groupby("task", sort=False) if budgets_of(own)]
    if len(budgets) < 2 or len(tasks) < 2:
        return None
    columns = min(COLUMNS, len(tasks))
    figure = Figure(figsize=(PAGE, 0.9 + 1.5 * -(-len(tasks) // columns)), layout="constrained")
    axes = panels_of(figure, len(tasks), columns)
    lines = []
    for axis, (task, own) in zip(axes, tasks, strict=True):
        draw_floor(axis, own["floor"].mean(), metric)
        lines.append(draw_methods(axis, own, "budget", looks))
        axis.set_title(task)
        budget_axis(axis, budgets)
    for k, axis in enumerate(axes):
        value_axis(axis, metric, lines)
        axis.tick_params(labelleft=k % columns == 0)
    figure.supylabel(record_of(metric).axis_label)
    figure.supxlabel(BUDGET_LABEL)
    legend(figure, pd.concat([own for _, own in tasks]), looks, floor_handles(figure), columns=4)
    return figure
