"""The figures of `graybench shapes`, as PDF and PNG.

    means       each group's specimens with its diffusion mean and its sample mean, and all means together
    bridges     bridges between the means of two groups, as the paths of landmarks
    matrix      mean log-likelihood of the specimens of group i under group j, relative to group i
    profiles    log-likelihood along a and along ℓ
    growth      a and ℓ over age

Each group keeps its colour (Okabe and Ito's) and its marker in all figures.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import (
    LogLocator,
    MaxNLocator,
    MultipleLocator,
    NullFormatter,
    NullLocator,
    ScalarFormatter,
)

from ..analysis.statistics import Array, Z
from ..figures.style import GREY, PAGE, Look, draw_lines, handle, styled
from .specimens import Specimens
from .tables import group_means

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
BRIDGE_COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#CC79A7")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
PROJECTIONS = {2: ((0, 1),), 3: ((0, 1), (0, 2))}
AXIS_NAMES = "xyz"
MOST_COLUMNS, MOST_SIGNS, MOST_NUMBERED, CLOSE_UPS, SHORT_NAME = 3, 5, 20, 4, 8
NARROW = 1.5  # the quotient of the ends of a log axis that has the ticks of a linear one
HALF_DROP = 0.5 * Z**2  # the drop of the log-likelihood at the ends of a 95 % interval


def looks_of_groups(groups: Sequence[str]) -> dict[str, Look]:
    """Return the look of each group, by its position."""
    return {
        group: Look(group, COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)], DASHES[k % len(DASHES)])
        for k, group in enumerate(groups)
    }


@styled
def means(specimens: Specimens, starts: Mapping[str, Array], outline: bool, held: bool = False) -> Figure:
    """Draw each group's specimens with its means, and the means of all groups together.

    Args:
        specimens: the aligned specimens.
        starts: the diffusion mean of each group, (n, m).
        outline: join the landmarks of means by a closed line.
        held: the starts are held at the sample means, and were not fitted.
    """
    looks = looks_of_groups(list(starts))
    projections = PROJECTIONS[specimens.shapes.shape[-1]]
    panels = [*looks, None] if len(looks) > 1 else [*looks]
    columns = min(MOST_COLUMNS, len(panels))
    lines = -(-len(panels) // columns) * len(projections)
    shapes = specimens.shapes.numpy()
    figure, extent = Figure(layout="constrained"), np.ptp(shapes, axis=(0, 1))
    width = PAGE / columns
    heights = [(width - 0.35) * extent[b] / extent[a] + 0.4 for a, b in projections]
    rows = [heights[k % len(projections)] for k in range(lines)]
    figure.set_size_inches(PAGE, sum(rows) + 0.3 + 0.15 * (len(looks) > 2))
    grid = figure.add_gridspec(lines, columns, height_ratios=rows)
    for k, group in enumerate(panels):
        for p, across in enumerate(projections):
            axis = figure.add_subplot(grid[k // columns * len(projections) + p, k % columns])
            if group is None:
                for look in looks.values():
                    _mean_shape(axis, starts[look.name], across, look, outline)
                axis.set_title(("all sample means" if held else "all diffusion means") if p == 0 else "")
            else:
                _group_panel(axis, specimens.of(group).numpy(), starts[group], across, looks[group], outline)
                axis.set_title(f"{group}, {len(specimens.rows(group))} specimens" if p == 0 else "")
            _shape_axis(axis, shapes, across)
            axis.set_xlabel(AXIS_NAMES[across[0]])
            if k % columns == 0:
                axis.set_ylabel(AXIS_NAMES[across[1]])
    start = "start, held at the mean" if held else "diffusion mean"
    signs: list[Artist] = [
        _sign(GREY, ".", "specimen"), _sign("#000000", "+", start),
        Line2D([], [], color="#000000", marker="o", markersize=3.5, markerfacecolor="none",
               markeredgewidth=0.6, linestyle="none", label="sample mean"),
    ]  # fmt: skip
    if len(looks) > 1:
        signs += [_sign(look.colour, look.marker, look.name) for look in looks.values()]
    figure.legend(handles=signs, loc="outside upper center", ncols=min(MOST_SIGNS, len(signs)))
    return figure


def _group_panel(
    axis: Axes, shapes: Array, start: Array, across: tuple[int, int], look: Look, outline: bool
) -> None:
    a, b = across
    if outline:
        _closed(axis, start, across, color="#000000", linewidth=0.4)
    axis.plot(shapes[..., a].ravel(), shapes[..., b].ravel(), ".", color=look.colour, markersize=3,
              alpha=0.6, markeredgewidth=0)  # fmt: skip
    mean = shapes.mean(0)
    axis.plot(mean[:, a], mean[:, b], "o", color="#000000", markersize=3.5, markerfacecolor="none",
              markeredgewidth=0.5)  # fmt: skip
    axis.plot(start[:, a], start[:, b], "+", color="#000000", markersize=2.5, markeredgewidth=0.5)
    if len(start) <= MOST_NUMBERED and not outline:
        for k, point in enumerate(start, start=1):
            axis.annotate(str(k), (point[a], point[b]), xytext=(5, 4), textcoords="offset points", fontsize=6)


def _closed(axis: Axes, points: Array, across: tuple[int, int], **line: Any) -> None:
    """Draw the closed line through points (n, m)."""
    axis.plot(*np.vstack([points, points[:1]])[:, list(across)].T, **line)


def _mean_shape(axis: Axes, points: Array, across: tuple[int, int], look: Look, outline: bool) -> None:
    if outline:
        _closed(axis, points, across, color=look.colour, linestyle=look.dashes, linewidth=0.8)
        return
    axis.plot(points[:, across[0]], points[:, across[1]], linestyle="none", marker=look.marker,
              color=look.colour, markersize=3, markerfacecolor="none", markeredgewidth=0.7)  # fmt: skip


def _sign(colour: str, marker: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, linestyle="none", label=label)


def _shape_axis(axis: Axes, shapes: Array, across: tuple[int, int]) -> None:
    """Set the same limits for all panels of a projection, and equal units on both axes."""
    ends = []
    for k in across:
        low, high = float(shapes[..., k].min()), float(shapes[..., k].max())
        margin = 0.12 * (high - low)
        ends.append((low - margin, high + margin))
    axis.set_xlim(*ends[0])
    axis.set_ylim(*ends[1])
    axis.set_aspect("equal")
    axis.xaxis.set_major_locator(MultipleLocator(1))
    axis.yaxis.set_major_locator(MultipleLocator(1 if ends[1][1] - ends[1][0] > 2.5 else 0.5))


@styled
def bridges(paths: Array, first: str, last: str) -> Figure:
    """Draw bridges (B, K + 1, n, m) from one shape to another, with close-ups of some landmarks."""
    projections = PROJECTIONS[paths.shape[-1]]
    figure = Figure(figsize=(PAGE, 2.9 * len(projections)), layout="constrained")
    grid = figure.add_gridspec(2 * len(projections), 4)
    moved = np.linalg.norm(paths[0, -1] - paths[0, 0], axis=-1)
    close = sorted(np.argsort(-moved)[:CLOSE_UPS].tolist())
    side = 1.1 * max(np.ptp(paths[:, :, k], axis=(0, 1)).max() for k in close)
    for p, across in enumerate(projections):
        axis = figure.add_subplot(grid[2 * p : 2 * p + 2, :2])
        for k in range(paths.shape[2]):
            _trajectories(axis, paths[:, :, k], across)
            if paths.shape[2] <= MOST_NUMBERED:
                x, y = paths[0, 0, k, list(across)].tolist()
                axis.annotate(str(k + 1), (x, y), xytext=(5, 4), textcoords="offset points", fontsize=6)
        axis.set_aspect("equal", adjustable="datalim")
        axis.margins(0.12)
        axis.set_xlabel(AXIS_NAMES[across[0]])
        axis.set_ylabel(AXIS_NAMES[across[1]])
        for place, k in enumerate(close):
            zoom = figure.add_subplot(grid[2 * p + place // 2, 2 + place % 2])
            _trajectories(zoom, paths[:, :, k], across, 5)
            centre = 0.5 * (paths[:, :, k].min((0, 1)) + paths[:, :, k].max((0, 1)))[list(across)]
            zoom.set_xlim(centre[0] - side / 2, centre[0] + side / 2)
            zoom.set_ylim(centre[1] - side / 2, centre[1] + side / 2)
            zoom.set_aspect("equal")
            zoom.locator_params(nbins=3)
            zoom.set_title(f"landmark {k + 1}, enlarged")
    signs = [_sign("#000000", "o", first), _sign("#D55E00", "s", last),
             Line2D([], [], color="#0072B2", label=f"{len(paths)} bridges")]  # fmt: skip
    figure.legend(handles=signs, loc="outside upper center", ncols=3)
    return figure


def _trajectories(axis: Axes, paths: Array, across: tuple[int, int], size: float = 3) -> None:
    a, b = across
    for k, path in enumerate(paths):
        axis.plot(path[:, a], path[:, b], color=BRIDGE_COLOURS[k % len(BRIDGE_COLOURS)], linewidth=0.6)
    axis.plot(*paths[0, 0, [a, b]], "o", color="#000000", markersize=size, markeredgewidth=0, zorder=3)
    axis.plot(*paths[0, -1, [a, b]], "s", color="#D55E00", markersize=size, markeredgewidth=0, zorder=3)


@styled
def matrix(likelihoods: pd.DataFrame, groups: Sequence[str]) -> Figure:
    """Draw the matrix of groups as a heat map: fitted to all specimens, and held out."""
    titles = {"all": "fitted to all specimens", "held_out": "held out"}
    fits = [fit for fit in titles if (likelihoods["fit"] == fit).any()]
    tables = [group_means(likelihoods[likelihoods["fit"] == fit], groups) for fit in fits]
    lowest = min(table.min() for table in tables)
    # The scale is asinh, which separates close groups although others are far apart.
    edge = np.arcsinh(lowest)
    figure = Figure(figsize=(PAGE, 3.1), layout="constrained")
    for k, (fit, table) in enumerate(zip(fits, tables, strict=True)):
        axis = figure.add_subplot(1, len(fits), k + 1)
        shown, names = np.arcsinh(np.minimum(table, 0)), {"xticklabels": groups, "yticklabels": groups}
        numbers = np.char.replace(np.char.mod("%.1f", table), "-", "−")
        np.fill_diagonal(numbers, "0")
        colours = {"cmap": "cividis", "vmin": edge, "vmax": 0, "cbar": False, "square": True}
        sns.heatmap(shown, annot=numbers, fmt="", annot_kws={"fontsize": 6.5}, ax=axis, **names, **colours)
        axis.tick_params("y", rotation=0)
        long = max(map(len, groups)) > SHORT_NAME
        axis.tick_params("x", rotation=30 if long else 0)
        for name in axis.get_xticklabels():
            name.set(ha="right" if long else "center", rotation_mode="anchor")
        axis.set_xlabel("under the fit of group")
        axis.set_ylabel("specimens of group" if k == 0 else "")
        axis.set_title(titles[fit])
        axis.tick_params(length=0)
    bar = figure.colorbar(axis.collections[0], ax=figure.axes, shrink=0.8, pad=0.02)
    marks = [v for v in (0, -3, -10, -30, -100, -300, -1000, -3000) if v >= lowest]
    bar.set_ticks([float(np.arcsinh(v)) for v in marks], labels=[f"{v:d}".replace("-", "−") for v in marks])
    bar.set_label("log-likelihood relative to the own\ngroup's fit, nats a specimen (asinh scale)")
    return figure


@styled
def also(table: pd.DataFrame, likelihoods: pd.DataFrame) -> Figure:
    """Draw log-likelihoods of specimens of no group under each group, beside its own held-out ones."""
    groups = list(table["group"].unique())
    figure = Figure(figsize=(PAGE, 0.9 + 0.13 * table["specimen"].nunique()), layout="constrained")
    own = likelihoods[(likelihoods["fit"] == "held_out") & (likelihoods["own_group"] == likelihoods["group"])]
    middle = own.groupby("group")["log_likelihood"].mean()
    best = (table["log_likelihood"] - table["group"].map(middle)).groupby(table["specimen"]).max()
    order = list(best.sort_values().index)
    for group, look in looks_of_groups(groups).items():
        axis = figure.axes[0] if figure.axes else figure.add_subplot()
        held = own[own["group"] == group]["log_likelihood"] - middle[group]
        there = table[table["group"] == group].set_index("specimen").loc[order]
        axis.plot(held, [len(order)] * len(held), "|", color=look.colour, markersize=7, markeredgewidth=0.7)
        axis.plot(there["log_likelihood"] - middle[group], range(len(order)), linestyle="none",
                  marker=look.marker, color=look.colour, markersize=3.5, label=look.name)  # fmt: skip
    axis.set_yticks(range(len(order) + 1), [*order, "held out, own group"])
    axis.set_ylim(-0.7, len(order) + 0.7)
    axis.grid(axis="y", linewidth=0.3, color="#DDDDDD")
    axis.set_xlabel("log-likelihood relative to the mean held-out specimen of the group, nats")
    if len(groups) > 1:
        figure.legend(loc="outside upper center", ncols=min(MOST_SIGNS, len(groups)))
    return figure


@styled
def profiles(table: pd.DataFrame) -> Figure:
    """Draw relative log-likelihoods along a and along ℓ, with bands of two standard errors."""
    looks = looks_of_groups(list(table["group"].unique()))
    figure = Figure(figsize=(PAGE, 2.8), layout="constrained")
    labels = {"a": "amplitude $a$ (rms radii)", "length": r"length-scale $\ell$ (rms radii)"}
    for k, (parameter, label) in enumerate(labels.items()):
        axis = figure.add_subplot(1, 2, k + 1)
        own = table[table["parameter"] == parameter].rename(columns={"group": "label", "value": "x"})
        y, reach = own["log_likelihood"], 2 * own["stderr"]
        draw_lines(axis, own.assign(value=y, low=y - reach, high=y + reach, stretch=0), looks)
        axis.axhline(-HALF_DROP, color=GREY, linewidth=0.6, linestyle=(0, (1, 2)))
        axis.set_ylim(-9, 1.2)
        axis.set_xscale("log")
        _plain_log_axis(axis)
        axis.set_xlabel(label)
        axis.set_ylabel("log-likelihood − maximum" if k == 0 else "")
    signs: list[Artist] = [handle(look) for look in looks.values()]
    signs.append(Line2D([], [], color=GREY, linewidth=0.6, linestyle=(0, (1, 2)), label="95 % interval"))
    signs.append(Patch(color=GREY, alpha=0.2, linewidth=0, label="±2 Monte Carlo errors"))
    figure.legend(handles=signs, loc="outside upper center", ncols=min(MOST_SIGNS, len(signs)))
    return figure


@styled
def growth(table: pd.DataFrame, age: str) -> Figure:
    """Draw a and ℓ of each interval of ages, without and with a trend, with 95 % intervals."""
    figure = Figure(figsize=(PAGE, 2.7), layout="constrained")
    labels = {
        "a": r"amplitude $a$ (mean rms radii per $\sqrt{\mathrm{unit\ of\ age}}$)",
        "length": r"length-scale $\ell$ (mean rms radii)",
    }
    signs = []
    for k, (quantity, label) in enumerate(labels.items()):
        axis = figure.add_subplot(1, 2, k + 1)
        for number, (model, own) in enumerate(table[table["quantity"] == quantity].groupby("model")):
            younger, older, value, low, high = (
                own[["younger", "older", "estimate", "low", "high"]].to_numpy().T
            )
            middle = 0.5 * (younger + older) + (number - 0.5) * 0.1 * (older - younger)
            axis.hlines(value, younger, older, color=COLOURS[number], linewidth=2)
            axis.vlines(middle, low, high, color=COLOURS[number], linewidth=0.9)
            axis.plot(middle, value, MARKERS[number], color=COLOURS[number], markersize=3.5)
            if k == 0:
                signs.append(Line2D([], [], color=COLOURS[number], marker=MARKERS[number], linewidth=2,
                                    markersize=3.5, label=str(model)))  # fmt: skip
        axis.set_yscale("log")
        _plain_log_axis(axis, "y")
        axis.set_xlabel(age.replace("_", " "))
        axis.set_ylabel(label)
        axis.set_xlim(0, None)
    signs.append(Line2D([], [], color=GREY, linewidth=0.9, marker="|", linestyle="none", markersize=9,
                        label="95 % interval, by animal"))  # fmt: skip
    figure.legend(handles=signs, loc="outside upper center", ncols=3)
    return figure


def _plain_log_axis(axis: Axes, which: str = "x") -> None:
    """Label a log axis that spans little with plain numbers."""
    side = axis.xaxis if which == "x" else axis.yaxis
    low, high = side.get_view_interval()
    steps = (1, 2, 5) if high / low > 8 else (1, 1.5, 2, 3, 4, 5, 6, 7, 8)
    locator = LogLocator(subs=steps, numticks=12) if high / low > NARROW else MaxNLocator(5)
    side.set_major_locator(locator)
    side.set_major_formatter(ScalarFormatter())
    side.set_minor_locator(NullLocator())
    side.set_minor_formatter(NullFormatter())
