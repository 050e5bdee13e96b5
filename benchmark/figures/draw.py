"""Every figure of a result table, among them Figures 1 to 5 of Ko & Geffner, arXiv 2602.07189.

    variance              target variance, and score error at each budget, over t           Figure 1
    mmd                   MMD over budget, averaged over observations and for each          Figure 2
    score_error, c2st_mlp the same for these metrics
    over_tasks            these three over budget, a panel for each task, all methods and settings together
    board                 the Galton board                                                  Figure 3
    optimal_weight        w*(t) of the simulations of each budget                           Figure 4
    learned_weight        the learned w(t), and w*(t)                                       Figure 5
    over_option           each metric over a numeric option of a task, all methods and settings together
    comparison            ratios of a method to DSM, if there are several tasks
    critical_difference-M average ranks by metric M, with at least 5 tasks and 3 methods
    gates_*               gates, in `figures.gates`
    corner                posterior draws of a task's first observation, if the sweep keeps samples

A method with its gate is a line with the same colour in all figures. Its other settings, such as the recipe,
are a *variant*. Each task and variant has its own file: `mmd-galton.pdf` for the defaults and
`mmd-galton-recipe=plain.pdf`. The board and w*(t) do not depend on settings and are drawn once for each task.
The band of a line is its 95 % interval.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from ...tasks.classic.galton import Galton
from ...tasks.errors import UserError
from ...tasks.plugin import nearest
from ..analysis.labels import task_of
from ..metrics.catalogue import record_of
from ..running.rows import with_variants
from ..running.writing import make_folder
from .board import board
from .comparison import comparisons
from .corner import corners
from .gates import gates_choice, gates_eigenvalues, gates_ratio, gates_variance
from .options import over_options
from .ranks import METRICS as RANKED
from .ranks import critical_difference
from .style import (
    BUDGET_LABEL,
    COLUMN,
    MARK_EVERY,
    PAGE,
    TIME_LABEL,
    Looks,
    budget_axis,
    budgets_of,
    draw_floor,
    draw_methods,
    floor_handles,
    legend,
    log_limits,
    looks_of,
    mark_clipped,
    panels_of,
    save,
    styled,
    time_axis,
    value_axis,
)
from .tasks import over_tasks
from .weights import learned_weight, optimal_weight


@styled
def draw_all(frame: pd.DataFrame, kept: pd.DataFrame, folder: Path, only: str = "") -> list[Path]:
    """Draw every figure that a result folder allows, as PDF and PNG.

    The same table and the same versions of Matplotlib, seaborn and Pillow yield the same files, byte for
    byte.

    Args:
        frame: a result table, with the columns of `running.rows`.
        kept: the kept numbers of its cells, with the columns of `running.kept`.
        folder: where the files go; it is made if it does not exist.
        only: the one kind of figure to draw, such as "over_option"; "" draws all.

    Returns:
        The files written.

    Raises:
        UserError: the folder cannot be made, or there is no such kind.
    """
    kinds = [
        *OF_TASK,
        *OF_VARIANT,
        *OF_GATES,
        *OF_ALL_TASKS,
        "over_option",
        "over_tasks",
        "comparison",
        "corner",
    ]
    if only and only not in kinds:
        raise UserError(f"there is no kind of figure {only!r}: {nearest(only, kinds)}")
    make_folder(folder)
    rows = with_variants(frame)
    files = []
    for parts, draw in _by_task_or_variant(rows):
        if only in ("", parts[0]) and (figure := draw()) is not None:
            files += _save(figure, folder, parts)
    if only in ("", "over_option"):
        for metric, figure in over_options(rows):
            files += _save(figure, folder, ["over_option", metric])
    for metric in RANKED if only in ("", "over_tasks") else ():
        if (figure := over_tasks(rows, metric)) is not None:
            files += _save(figure, folder, ["over_tasks", metric])
    if only in ("", "comparison"):
        for label, variant, figure in comparisons(frame):
            files += _save(figure, folder, ["comparison", label, variant])
    if only in ("", "corner"):
        for task, variant, figure in corners(kept):
            files += _save(figure, folder, ["corner", task, variant])
    return files


def _by_task_or_variant(rows: pd.DataFrame) -> Iterator[tuple[list[str], Callable[[], Figure | None]]]:
    """Yield the parts of each figure's name, its kind first, and what draws it."""
    looks = looks_of(rows["label"].unique())
    for task, of_task in rows.groupby("task", sort=False):
        for name, draw in OF_TASK.items():
            yield [name, str(task), ""], partial(draw, of_task)
        for variant, group in of_task.groupby("variant", sort=False):
            for name, draw_variant in OF_VARIANT.items():
                yield [name, str(task), str(variant)], partial(draw_variant, group, looks)
            for name, draw in OF_GATES.items():
                yield [name, str(task), str(variant)], partial(draw, group)
    for variant, group in rows.groupby("variant", sort=False):
        for name, draw in OF_ALL_TASKS.items():
            yield [name, str(variant)], partial(draw, group)


@styled
def variance(rows: pd.DataFrame, looks: Looks) -> Figure | None:
    """Draw target variance over t at the largest budget, and score error over t in one panel for each budget.

    Return None if nothing has a result. The target variance hardly depends on the budget, which enters only
    the weights of mixtures.

    Args:
        rows: one task and variant, from `running.rows.with_variants`.
        looks: the look of each method.
    """
    rows = rows[rows["time"].notna() | rows["replicate"].isna()]  # drop averages, keep cells without a result
    targets, scores = rows[rows["metric"] == "target_variance"], rows[rows["metric"] == "score_error"]
    largest = budgets_of(targets[targets["status"] == "ok"])[-1:]
    panels = [("target_variance", budget, targets[targets["budget"] == budget]) for budget in largest]
    panels += [("score_error", budget, scores[scores["budget"] == budget]) for budget in budgets_of(scores)]
    if not panels:
        return None
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(PAGE, 0.35 + 1.75 * lines), layout="constrained")
    axes = panels_of(figure, len(panels), columns)
    drawn: dict[str, list[pd.DataFrame]] = {}
    for axis, (metric, budget, own) in zip(axes, panels, strict=True):
        drawn.setdefault(metric, []).append(draw_methods(axis, own, "time", looks, MARK_EVERY))
        time_axis(axis)
        axis.set_yscale("log")
        axis.set_title(f"{metric.replace('_', ' ')}, $N$ = {budget:,}")
    for k, (axis, (metric, _, _)) in enumerate(zip(axes, panels, strict=True)):
        axis.set_ylim(log_limits(drawn[metric], above=5 if metric == "target_variance" else 4))
        mark_clipped(axis)
        if k % columns == 0 or metric != panels[k - 1][0]:
            axis.set_ylabel(record_of(metric).axis_label)
        else:
            axis.tick_params(labelleft=False)
    figure.supxlabel(TIME_LABEL)
    legend(figure, pd.concat([own for _, _, own in panels]), looks)
    return figure


@styled
def over_budget(rows: pd.DataFrame, looks: Looks, metric: str) -> Figure | None:
    """Draw a metric over budget: averaged over observations, then for each observation.

    Return None if nothing has a result.

    Args:
        rows: one task and variant, from `running.rows.with_variants`.
        looks: the look of each method.
        metric: name of the metric.
    """
    rows = rows[(rows["metric"] == metric) & rows["time"].isna()]
    budgets = budgets_of(rows)
    if not budgets:
        return None
    observations = sorted(rows["observation"].dropna().unique())
    each = observations if len(observations) > 1 else []
    columns = min(5, len(each))
    lines = max(1, -(-len(each) // 5))
    size = (PAGE, 0.55 + 1.4 * lines) if each else (COLUMN, 2.0)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.add_gridspec(lines, 1 + columns, width_ratios=[1.5] + [1] * columns)
    panels = [(figure.add_subplot(grid[:, 0]), "mean over observations", rows)]
    for k, o in enumerate(each):
        of_cell = rows["observation"].isna() & (rows["status"] != "ok")
        axis = figure.add_subplot(grid[k // 5, 1 + k % 5])
        panels.append((axis, f"observation {int(o)}", rows[(rows["observation"] == o) | of_cell]))
    drawn = []
    for axis, title, own in panels:
        draw_floor(axis, own["floor"].mean(), metric)
        drawn.append(draw_methods(axis, own, "budget", looks))
        axis.set_title(title)
        budget_axis(axis, budgets)
    for k, (axis, _, _) in enumerate(panels):
        value_axis(axis, metric, drawn)
        # with several rows, the small panels are lower than the first and need tick labels of their own
        axis.tick_params(labelleft=k == 0 or (lines > 1 and k % 5 == 1))
    panels[0][0].set_ylabel(record_of(metric).axis_label)
    figure.supxlabel(BUDGET_LABEL)
    legend(figure, rows, looks, floor_handles(figure))
    return figure


OF_GATES: dict[str, Callable[[pd.DataFrame], Figure | None]] = {
    "gates_variance": gates_variance,
    "gates_eigenvalues": gates_eigenvalues,
}
OF_ALL_TASKS: dict[str, Callable[[pd.DataFrame], Figure | None]] = {
    **{f"critical_difference-{m}": partial(critical_difference, metric=m) for m in RANKED},
    "gates_ratio": gates_ratio,
    "gates_choice": gates_choice,
}
OF_VARIANT: dict[str, Callable[[pd.DataFrame, Looks], Figure | None]] = {
    "variance": variance,
    "mmd": partial(over_budget, metric="mmd"),
    "score_error": partial(over_budget, metric="score_error"),
    "c2st_mlp": partial(over_budget, metric="c2st_mlp"),
    "learned_weight": learned_weight,
}


def _board_of(rows: pd.DataFrame) -> Figure | None:
    task = task_of(str(rows["task"].iloc[0]))
    return board(task) if isinstance(task, Galton) else None


OF_TASK: dict[str, Callable[[pd.DataFrame], Figure | None]] = {
    "board": _board_of,
    "optimal_weight": optimal_weight,
}


def _save(figure: Figure, folder: Path, parts: list[str]) -> list[Path]:
    stem = "-".join(re.sub(r"[^\w.=+-]+", "_", part).strip("_") for part in parts if part)
    return save(figure, folder, stem)
