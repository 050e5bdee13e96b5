"""Figures of the weight w(t) of DSM in a mixture, optimal and learned (Ko & Geffner, Figures 4 and 5)."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .style import (
    COLUMN,
    MARK_EVERY,
    PAGE,
    TIME_LABEL,
    Look,
    Looks,
    budgets_of,
    draw_line,
    draw_methods,
    handle,
    legend,
    line_of,
    mark_handles,
    panels_of,
    styled,
    time_axis,
)

OPTIMAL = Look("optimal $w^*(t)$", "#000000", "", (0, (3, 1.5)))


@styled
def optimal_weight(rows: pd.DataFrame) -> Figure | None:
    """Draw w*(t) for each budget, and below it the difference from w*(t) of the largest budget."""
    rows = optimal_rows(rows)
    budgets = budgets_of(rows)
    if not budgets:
        return None
    figure = Figure(figsize=(COLUMN, 2.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.7, 1])
    colours = matplotlib.colormaps["viridis"](np.linspace(0.85, 0, len(budgets)))
    looks = [
        Look(f"{budget:,}", colour, "osD^v"[k % 5], ["-", "--", "-."][k % 3])
        for k, (budget, colour) in enumerate(zip(budgets, colours, strict=True))
    ]
    lines = [line_of(rows[rows["budget"] == budget], "time") for budget in budgets]
    k_largest = max(k for k, line in enumerate(lines) if line["value"].notna().any())
    largest = lines[k_largest].dropna().set_index("x")["value"]
    for k, (line, look) in enumerate(zip(lines, looks, strict=True)):
        draw_line(above, line, look, place=k, every=MARK_EVERY)
        base = line["x"].map(largest)
        off = line.assign(**{end: line[end] - base for end in ("value", "low", "high")})
        draw_line(below, off, look, place=k, every=MARK_EVERY)
    time_axis(above)
    time_axis(below)
    above.set_ylabel("optimal DSM\nweight $w^*(t)$")
    below.set_ylabel(f"$w^*_N - w^*_{{{budgets[k_largest]}}}$")
    below.set_xlabel(TIME_LABEL)
    handles = [*map(handle, looks), *mark_handles(figure)]
    figure.legend(handles=handles, title="budget $N$", loc="outside right upper")
    return figure


@styled
def learned_weight(rows: pd.DataFrame, looks: Looks) -> Figure | None:
    """Draw the learned w(t) and w*(t) of the same simulations, one panel for each budget."""
    learned = rows[(rows["metric"] == "learned_weight") & (rows["status"] != "skipped")]
    optimal = optimal_rows(rows)
    known, budgets = budgets_of(optimal), budgets_of(learned)
    if not budgets:
        return None
    columns = min(5, len(budgets))
    lines = -(-len(budgets) // columns)
    figure = Figure(figsize=(PAGE, 0.55 + 1.4 * lines), layout="constrained")
    for axis, budget in zip(panels_of(figure, len(budgets), columns), budgets, strict=True):
        if budget in known:
            draw_line(axis, line_of(optimal[optimal["budget"] == budget], "time"), OPTIMAL)
        draw_methods(axis, learned[learned["budget"] == budget], "time", looks, MARK_EVERY)
        time_axis(axis)
        axis.set_ylim(-0.03, 1.03)
        axis.set_title(f"$N$ = {budget:,}")
        axis.set_ylabel("DSM weight $w(t)$")
        axis.label_outer()
    figure.supxlabel(TIME_LABEL)
    legend(figure, learned, looks, [handle(OPTIMAL)] if known else [])
    return figure


def optimal_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return MIX's w* once for each replicate; all its gates have the same simulations and so the same w*."""
    rows = rows[(rows["metric"] == "optimal_weight") & (rows["status"] != "skipped")]
    rows = rows[rows["method"] == "mix"]
    rows = rows.sort_values("status", key=lambda status: status != "ok", kind="stable")
    known = rows.loc[rows["status"] == "ok", "budget"]
    whole = rows["time"].isna() & rows["budget"].isin(known)  # another gate's cell has the same w*
    return rows[~whole].drop_duplicates(["budget", "replicate", "time"])
