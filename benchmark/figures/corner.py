"""Corner plots of posterior draws: every parameter, and every pair, of the reference and of methods."""

from collections.abc import Iterator
from itertools import combinations_with_replacement
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ..running.rows import with_variants
from .style import GREY, Look, handle, looks_of, styled

REFERENCE = "reference"
MOST_PARAMETERS, MOST_METHODS = 6, 4
SIDE = 4.0  # of the figure in inches: 600 pixels
CENTRAL = (0.005, 0.995)  # quantiles of the reference on its axis
MARGIN = 0.25  # beside these quantiles, as a share of their distance
OUTSIDE = 0.02  # a larger share of draws outside the axes is in the legend
REGIONS = (0.05, 0.5, 1)  # the probability outside the filled regions and contours, 95 % and 50 %
GRID = 80  # points of a density along each axis


def corners(kept: pd.DataFrame) -> Iterator[tuple[str, str, Figure]]:
    """Yield task, variant and corner plot of what the cells of a result folder kept.

    A plot shows the largest budget, and the first `MOST_METHODS` methods of the folder.

    Args:
        kept: kept numbers, with the columns of `running.kept`.
    """
    rows = with_variants(kept[kept["kind"] != "rank"])
    for task, of_task in rows.groupby("task", sort=False):
        reference = of_task[of_task["kind"] == REFERENCE].assign(source=REFERENCE)
        drawn = of_task[of_task["kind"] == "draw"]
        for variant, own in drawn.groupby("variant", sort=False):
            last = own[own["budget"] == own["budget"].max()]
            shown = last[last["label"].isin(last["label"].unique()[:MOST_METHODS])]
            yield str(task), str(variant), draw(pd.concat([reference, shown.assign(source=shown["label"])]))


@styled
def draw(draws: pd.DataFrame) -> Figure:
    """Draw densities on the diagonal and regions of 50 % and 95 % below it; all are kernel estimates.

    The reference is filled in grey, and methods are lines. The first `MOST_PARAMETERS` parameters are shown.
    The axes hold the reference, so that a method that diverged does not stretch them: a panel shows the
    density of the draws on its axes, and the legend names the share of draws outside an axis.

    Args:
        draws: a row for each number, with the columns `source` ("reference", or the label of a method),
            `parameter` (a name, or a component from 0), `index` (the number of the draw) and `value`. Without
            a reference, the axes hold the draws of all methods.
    """
    names = {p: p if isinstance(p, str) else f"$\\theta_{{{p + 1}}}$" for p in draws["parameter"].unique()}
    draws, parameters = draws.assign(parameter=draws["parameter"].map(names)), list(names.values())
    shown = parameters[:MOST_PARAMETERS]
    wide = draws.pivot(index=["source", "index"], columns="parameter", values="value")[shown]
    limits = limits_of(wide)
    inside = (wide >= limits.loc["low"]) & (wide <= limits.loc["high"])  # a NaN is outside
    looks = looks_of(set(draws["source"]) - {REFERENCE})
    n = len(shown)
    figure = Figure(figsize=(SIDE, SIDE if n > 1 else 0.6 * SIDE), layout="constrained")
    grid = figure.add_gridspec(n, n)
    for j, i in combinations_with_replacement(range(n), 2):
        axis = figure.add_subplot(grid[i, j])
        of_panel = [shown[j]] if i == j else [shown[j], shown[i]]
        held = wide.loc[inside[of_panel].all(axis=1), of_panel]
        for source, own in held.groupby("source"):
            _draw_density(axis, own, looks.get(str(source)))
        axis.set_xlim(*limits[shown[j]])
        axis.xaxis.set_major_locator(MaxNLocator(2 if n > 3 else 4))
        axis.set(xlabel=shown[j], ylabel=shown[i] if i != j else "density" if n == 1 else "")
        if i == j:
            axis.set_yticks([])
        else:
            axis.set_ylim(*limits[shown[i]])
            axis.yaxis.set_major_locator(MaxNLocator(2 if n > 3 else 4))
        axis.label_outer(remove_inner_ticks=False)
    notes = ["regions of 50 % and 95 %"] * (n > 1)
    if n < len(parameters):
        notes.append(f"the first {n} of {len(parameters)} parameters")
    _legend(figure, _handles(inside.all(axis=1), looks), "\n".join(notes))
    return figure


def limits_of(wide: pd.DataFrame) -> pd.DataFrame:
    """Return the ends `low` and `high` of the axis of each parameter, from draws with a column for each."""
    held = wide.loc[[REFERENCE]] if REFERENCE in wide.index else wide
    low, high = (held.quantile(q) for q in CENTRAL)
    margin = (MARGIN * (high - low)).replace(0, 1)  # draws that are all alike
    return pd.DataFrame({"low": low - margin, "high": high + margin}).T


def _draw_density(axis: Axes, own: pd.DataFrame, look: Look | None) -> None:
    """Draw the density of one or two parameters, as a line or contours; without a look, as filled regions."""
    x, *y = own.columns
    regions: dict[str, Any] = {"y": y[0], "levels": REGIONS if look is None else REGIONS[:-1]} if y else {}
    if look is None:
        kind: dict[str, Any] = {"fill": True, "color": GREY, "alpha": 0.5 if y else 0.3, "linewidth": 0}
    elif y:
        kind = {"color": look.colour, "linestyles": [look.dashes], "linewidths": 0.9}
    else:
        kind = {"color": look.colour, "linestyle": look.dashes}
    sns.kdeplot(own, x=x, gridsize=GRID, warn_singular=False, ax=axis, **regions, **kind)


def _legend(figure: Figure, handles: list[Artist], title: str) -> None:
    """Draw the legend in the free corner, or above the panels if it is too large for the corner."""
    legend = figure.legend(handles=handles, title=title or None, loc="upper right")
    figure.draw_without_rendering()
    if legend.get_window_extent().count_overlaps(
        [box for axis in figure.axes if (box := axis.get_tightbbox())]
    ):
        legend.remove()
        figure.legend(handles=handles, title=title or None, loc="outside upper center", ncols=2)


def _handles(inside: "pd.Series[bool]", looks: dict[str, Look]) -> list[Artist]:
    """Return the legend entries of the sources, with the share of draws outside where it is large."""
    entries: list[Artist] = []
    outside = 1 - inside.groupby("source").mean()
    if REFERENCE in outside.index:
        entries.append(Patch(color=GREY, alpha=0.5, linewidth=0, label=REFERENCE))
    for source, look in looks.items():
        share = f", {outside[source]:.0%} outside" if outside[source] > OUTSIDE else ""
        entries.append(handle(look._replace(name=look.name + share, marker="")))
    return entries
