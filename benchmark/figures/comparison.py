"""Figures of one method against a baseline over many tasks."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ..analysis.comparison import ratios
from ..metrics.catalogue import MAIN
from ..running.rows import with_variants
from .style import (
    GREY,
    INTERVALS,
    MISSING,
    PAGE,
    Look,
    ends_of,
    handle,
    mark,
    mark_handles,
    panels_of,
    styled,
)

BASELINE = "dsm"
MARKERS, COLOURS = "osD^v", ("#56B4E9", "#0072B2", "#000000", "#D55E00", "#CC79A7")


def comparisons(frame: pd.DataFrame) -> Iterator[tuple[str, str, Figure]]:
    """Yield label, variant and figure of every method against `BASELINE`, if the table has several tasks."""
    rows = with_variants(frame)
    if rows["task"].nunique() > 1:
        for (variant, label), _ in rows.groupby(["variant", "label"], sort=False):
            if label != BASELINE:
                figure = comparison(rows, str(variant), str(label), BASELINE)
                if figure is not None:
                    yield str(label), str(variant), figure


@styled
def comparison(frame: pd.DataFrame, variant: str, method: str, baseline: str) -> Figure | None:
    """Draw the ratios of a method's mean to the baseline's: one panel for each metric of `MAIN`, tasks down.

    Return None if no ratio can be drawn. Tasks are in the order of their geometric mean ratio by the first
    metric. `analysis.comparison.ratios` computes the numbers.
    """
    known = frame.loc[frame["time"].isna() & (frame["status"] == "ok"), "metric"].unique()
    found = {metric: ratios(frame, metric, method, baseline) for metric in MAIN if metric in known}
    found = {metric: rows[rows["variant"] == variant] for metric, rows in found.items()}
    found = {metric: rows for metric, rows in found.items() if _drawn(rows).any()}
    if not found:
        return None
    first, every = next(iter(found.values())), pd.concat(found.values())
    looks = looks_of_budgets(sorted(every["budget"].unique()))
    order = first[_drawn(first)].groupby("task")["value"].apply(lambda v: np.log(v).mean())
    tasks = [*order.sort_values().index, *(t for t in every["task"].unique() if t not in order.index)]
    figure = Figure(figsize=(PAGE, 0.9 + 0.23 * len(tasks)), layout="constrained")
    for axis, (metric, rows) in zip(panels_of(figure, len(found), len(found)), found.items(), strict=True):
        draw_ratios(axis, rows, tasks, looks)
        axis.set_title(f"{metric.replace('_', ' ')}: {method} / {baseline}")
        axis.label_outer()
    handles = [*map(handle, looks.values()), *mark_handles(figure)]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def looks_of_budgets(budgets: Iterable[int]) -> dict[int, Look]:
    """Return the look of each budget."""
    return {n: Look(f"$N$ = {n:,}", COLOURS[k % 5], MARKERS[k % 5], "-") for k, n in enumerate(budgets)}


def draw_ratios(axis: Axes, rows: pd.DataFrame, tasks: list[str], looks: dict[int, Look]) -> None:
    """Draw ratios on a logarithmic axis: tasks down, each budget with its colour and marker.

    A cross at the right edge marks a ratio without a place on the axis.

    Args:
        axis: where to draw.
        rows: rows of one method from `analysis.comparison.ratios`.
        tasks: the lines, from the top.
        looks: from `looks_of_budgets`.
    """
    drawn, styles, span = _drawn(rows), list(looks.values()), 0.5 * (1 - 1 / len(looks))
    points: dict[str, Any] = {
        "linestyle": "none",
        "markersize": 3,
        "err_kws": {"linewidth": 0.9},
        "dodge": span,
    }
    points |= {"palette": [look.colour for look in styles], "markers": [look.marker for look in styles]}
    points |= {"x": "end", "y": "task", "hue": "budget", "order": tasks, "hue_order": list(looks)}
    sns.pointplot(ends_of(rows[drawn], ["task", "budget"]), ax=axis, **points, **INTERVALS)
    for k, (budget, look) in enumerate(looks.items()):
        lost = rows.loc[~drawn & (rows["budget"] == budget), "task"]
        if len(lost):
            lines = np.array([tasks.index(task) for task in lost]) + 0.5 * ((k + 0.5) / len(looks) - 0.5)
            mark(axis, 0.97, lines, look.colour, MISSING, axis.get_yaxis_transform())
    axis.axvline(1, color=GREY, linestyle="--", linewidth=0.9)
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 4, 6, 8) if high < 10 * low else (1,)))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set(xlabel="ratio of means, below 1 the method is better", ylabel="")


def _drawn(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Return which ratios have a place on a logarithmic axis."""
    return (rows["status"] == "ok") & np.isfinite(rows["value"]) & (rows["value"] > 0)
