"""Figures of one method against a baseline over many tasks."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from ..analysis.comparison import ratios
from ..metrics.catalogue import MAIN
from ..running.rows import with_variants
from .style import GREY, MISSING, PAGE, mark, mark_handles, panels_of, styled

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
    budgets = sorted(every["budget"].unique())
    order = first[_drawn(first)].groupby("task")["value"].apply(lambda v: np.log(v).mean())
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
    """Return the legend entries of the budgets, and of the marks that the figure has."""
    signs = [
        Line2D([], [], color=COLOURS[k % 5], marker=MARKERS[k % 5], label=f"$N$ = {budget:,}")
        for k, budget in enumerate(budgets)
    ]
    return [*signs, *mark_handles(figure)]


def draw_ratios(axis: Axes, rows: pd.DataFrame, tasks: list[str], budgets: list[int]) -> None:
    """Draw ratios on a logarithmic axis: tasks down, each budget with its colour and marker.

    A cross at the right edge marks a ratio without a place on the axis.

    Args:
        axis: where to draw.
        rows: rows of one method from `analysis.comparison.ratios`.
        tasks: the lines, from the top.
        budgets: the budgets, in the order of their colours.
    """
    for k, budget in enumerate(budgets):
        of_budget = rows[rows["budget"] == budget]
        lines = of_budget["task"].map(tasks.index).to_numpy(dtype=float)
        lines += 0.5 * ((k + 0.5) / len(budgets) - 0.5)
        ok = _drawn(of_budget).to_numpy()
        own, place = of_budget[ok], lines[ok]
        if not ok.all():
            mark(axis, 0.97, lines[~ok], COLOURS[k % 5], MISSING, axis.get_yaxis_transform())
        ends = np.abs(own[["low", "high"]].to_numpy().T - own["value"].to_numpy())
        ends[:, ~np.isfinite(ends).all(0)] = np.nan
        axis.errorbar(own["value"], place, xerr=ends, fmt=MARKERS[k % 5], color=COLOURS[k % 5], linewidth=0.9)
    axis.axvline(1, color=GREY, linestyle="--", linewidth=0.9)
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 4, 6, 8) if high < 10 * low else (1,)))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_yticks(range(len(tasks)), tasks)
    axis.set_ylim(len(tasks) - 0.4, -0.6)
    axis.set_xlabel("ratio of means, below 1 the method is better")


def _drawn(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Return which ratios have a place on a logarithmic axis."""
    return (rows["status"] == "ok") & np.isfinite(rows["value"]) & (rows["value"] > 0)
