"""Figures of the weight w(t) of DSM in a mixture, optimal and learned (Ko & Geffner, Figures 4 and 5)."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import (
    COLUMN,
    ENDS,
    MARK_EVERY,
    PAGE,
    TIME_LABEL,
    Look,
    Looks,
    budgets_of,
    draw_lines,
    draw_methods,
    handle,
    legend,
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
    looks = {
        f"{budget:,}": Look(f"{budget:,}", colour, "osD^v"[k % 5], ["-", "--", "-."][k % 3])
        for k, (budget, colour) in enumerate(
            zip(budgets, sns.color_palette("viridis_r", len(budgets)), strict=True)
        )
    }
    lines = draw_methods(
        above, rows.assign(label=rows["budget"].map("{:,}".format)), "time", looks, MARK_EVERY
    )
    known = lines.dropna(subset="value")
    largest = max(budget for budget in budgets if (known["label"] == f"{budget:,}").any())
    base = lines["x"].map(known[known["label"] == f"{largest:,}"].set_index("x")["value"])
    draw_lines(below, lines.assign(**{end: lines[end] - base for end in ENDS}), looks, MARK_EVERY)
    time_axis(above)
    time_axis(below)
    above.set_ylabel("optimal DSM\nweight $w^*(t)$")
    below.set_ylabel(f"$w^*_N - w^*_{{{largest}}}$")
    below.set_xlabel(TIME_LABEL)
    handles = [*map(handle, looks.values()), *mark_handles(figure)]
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
        draw_weights(axis, learned[learned["budget"] == budget], optimal[optimal["budget"] == budget], looks)
        axis.set_title(f"$N$ = {budget:,}")
        axis.set_ylabel("DSM weight $w(t)$")
        axis.label_outer()
    figure.supxlabel(TIME_LABEL)
    legend(figure, learned, looks, [handle(OPTIMAL)] if known else [])
    return figure


def draw_weights(axis: Axes, learned: pd.DataFrame, optimal: pd.DataFrame, looks: Looks) -> None:
    """Draw w*(t) below the learned w(t) of one task and budget."""
    draw_methods(axis, optimal.assign(label="optimal"), "time", {"optimal": OPTIMAL})
    draw_methods(axis, learned, "time", looks, MARK_EVERY)
    time_axis(axis)
    axis.set_ylim(-0.03, 1.03)


def optimal_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return MIX's w* once for each replicate; all its gates have the same simulations and so the same w*."""
    rows = rows[(rows["metric"] == "optimal_weight") & (rows["status"] != "skipped")]
    rows = rows[rows["method"] == "mix"]
    rows = rows.sort_values("status", key=lambda status: status != "ok", kind="stable")
    known = rows.loc[rows["status"] == "ok", "budget"]
    whole = rows["time"].isna() & rows["budget"].isin(known)  # another gate's cell has the same w*
    return rows[~whole].drop_duplicates(["budget", "replicate", "time"])
