"""The figures of `graybench shapes FILE --tree TREE`, as PDF and PNG.

    tree        the tree over time, with specimens at its tips and the diffusion's shapes at its ancestors
    ancestors   the shape of each ancestor under the diffusion and under its baseline, Brownian motion
    root        the same for the root, large, in two projections in 3-D
    held_out    the errors of predictions of each species from the others

A landmark's band is the ellipse that holds 95 % of a normal law with its mean and covariance. Outlines are
joined in their order; other landmarks are points. In 3-D `tree` and `ancestors` show x and y. Where species
differ little, these two enlarge all departures from the mean specimen, bands included, and say so.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon, Rectangle

from ...methods.bridge.trees.brownian import TreeSample
from ..analysis.statistics import Array
from ..figures.style import GREY, PAGE, styled
from ..running.pieces import Result
from .figures import AXIS_NAMES, MOST_NUMBERED, PROJECTIONS
from .tree_tables import RELATIVE, node_labels, rms

DIFFUSION, BASELINE, DATA, BRANCH = "#0072B2", "#D55E00", "#000000", "#999999"
RADIUS = math.sqrt(-2 * math.log(0.05))  # of the ellipse with 95 % of a normal law in the plane
TURN = np.linspace(0, 2 * np.pi, 25)
COLUMNS = 4  # of `ancestors`
LEFT, BOTTOM, TOP, GAP = 0.12, 0.48, 0.45, 0.08  # inches around the tree
TALLEST, ROW = 1.3, 0.42  # inches of a row of the tree, at most and at least
NAME = 0.1  # inches, the height of a name
LONGEST = 7.0  # inches of the tree, unless rows would be lower than `ROW`
ENLARGEMENTS, DEPARTURE = (10, 5, 2), 0.15  # the rms departure of a species, in rms radii, at most
LOOKS = {
    "diffusion": ("landmark diffusion", DIFFUSION, "o"),
    "brownian_gaussian": ("Brownian, kernel at the mean", BASELINE, "s"),
    "brownian_independent": ("Brownian, independent landmarks", "#009E73", "^"),
    RELATIVE: ("nearest relative", "#CC79A7", "D"),
}


@dataclass(frozen=True)
class Pen:
    """Draws shapes on axes, in a plane, moved and scaled, with departures from a middle shape enlarged.

    Args:
        axis: where to draw.
        across: the coordinates that are drawn.
        outline: whether landmarks are points along a closed curve.
        centre: the place of the origin, in units of the axes.
        scale: units of the axes for a unit of the shape, along x and y.
        middle: the middle shape, (n, m); without it nothing is enlarged.
        times: how many times departures from it are enlarged.
    """

    axis: Axes
    across: tuple[int, int]
    outline: bool
    centre: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)
    middle: Array | None = None
    times: float = 1.0

    def enlarged(self, shape: Array) -> Array:
        """Return a shape (n, m) with its departures enlarged."""
        return shape if self.middle is None else self.middle + self.times * (shape - self.middle)

    def place(self, points: Array) -> Array:
        """Return points (..., 2) of the plane in units of the axes."""
        return np.array(self.centre) + points * np.array(self.scale)

    def shape(self, shape: Array, colour: str, size: float, **look: Any) -> None:
        """Draw landmarks (n, m), joined if they are an outline."""
        points = self.place(self.enlarged(shape)[:, list(self.across)])
        line = {"linestyle": "none"}
        if self.outline:
            points, line = np.vstack([points, points[:1]]), {"linestyle": "-"}
        look = {"marker": "o", "markeredgewidth": 0, "linewidth": 0.25 * size, **line, **look}
        self.axis.plot(*points.T, color=colour, markersize=size, **look)

    def bands(self, mean: Array, covariance: Array, **look: Any) -> None:
        """Draw the ellipses of landmarks with means (n, m) and covariances (n, m, m)."""
        plane = list(self.across)
        circle = RADIUS * np.stack([np.cos(TURN), np.sin(TURN)], -1)
        mean, covariance = self.enlarged(mean), self.times**2 * covariance
        for point, spread in zip(mean[:, plane], covariance[:, plane][:, :, plane], strict=True):
            values, vectors = np.linalg.eigh(spread)
            edge = point + circle * np.sqrt(values.clip(0)) @ vectors.T
            self.axis.add_patch(Polygon(self.place(edge), closed=True, **look))


@styled
def tree(sample: TreeSample, found: Result, outline: bool) -> Figure:
    """Draw the tree over time, with specimens at the tips, and ancestors where there is room.

    Args:
        sample: the specimens, aligned.
        found: the fit of the diffusion.
        outline: whether landmarks are points along a closed curve.
    """
    paper = _Paper(sample, np.array(found["mean"]))
    figure = Figure(figsize=(PAGE, paper.height))
    axis = figure.add_axes((LEFT / PAGE, BOTTOM / paper.height, 1 - 2 * LEFT / PAGE, paper.share))
    _branches(axis, sample, paper)
    mean, covariance = np.array(found["mean"]), np.array(found["covariance"])
    tips = dict(zip(sample.tree.tips, range(len(sample.tree.tips)), strict=True))
    for tip, row in tips.items():
        pen = paper.pen(axis, (paper.column, row), outline)
        own = sample.coordinates[[k for k, at in enumerate(sample.tips) if at == tip]].numpy()
        for specimen in own if len(own) > 1 else ():
            pen.shape(specimen, BRANCH, 1.2, alpha=0.5)
        pen.shape(own.mean(0), DATA, 2)
    labels = node_labels(sample.tree)
    for node, roomy in paper.rooms().items():
        at = paper.places[node]
        axis.plot(*at, "o", color=GREY, markersize=2.5, markeredgewidth=0, zorder=3)
        if roomy:
            pen = paper.pen(axis, at, outline)
            axis.add_patch(Rectangle(*paper.box(at), facecolor="white", edgecolor=BRANCH, linewidth=0.4,
                                     alpha=0.9, zorder=4))  # fmt: skip
            pen.bands(mean[node], covariance[node], facecolor=DIFFUSION, alpha=0.3, linewidth=0, zorder=5)
            pen.shape(mean[node], DIFFUSION, 2, zorder=6)
        corner = paper.box(at)[0] if roomy else at
        axis.annotate(labels[node].removeprefix("node "), corner, xytext=(1.5, 1.5),
                      textcoords="offset points", fontsize=5.5, zorder=7)  # fmt: skip
    signs: list[Artist] = [
        Line2D([], [], color=DATA, marker="o", linestyle="-" if outline else "none", label="species"),
        Line2D([], [], color=DIFFUSION, marker="o", linestyle="-" if outline else "none",
               label="ancestor, posterior mean"),
        Patch(color=DIFFUSION, alpha=0.3, linewidth=0, label="95 % of the posterior"),
    ]  # fmt: skip
    if len(sample.tips) > len(tips):
        signs.insert(1, Line2D([], [], color=BRANCH, marker="o", markersize=2, linestyle="none",
                               label="specimens"))  # fmt: skip
    figure.legend(handles=signs, title=_enlarged_title(paper.times), loc="upper center", ncols=len(signs))
    return figure


def enlargement(sample: TreeSample) -> float:
    """Return how many times departures from the mean specimen can be enlarged in a figure: 1, 2, 5 or 10."""
    x = sample.coordinates.numpy()
    tips = np.array(sample.tips)
    means = np.stack([x[tips == tip].mean(0) for tip in sample.tree.tips])
    departure = rms(means - x.mean(0))
    return next((times for times in ENLARGEMENTS if times * departure < DEPARTURE), 1)


def _enlarged_title(times: float) -> str | None:
    return None if times == 1 else f"departures from the mean specimen are enlarged {times:g} times"


class _Paper:
    """Where things stand in the figure `tree`: x is time, y is the row, downwards.

    Attributes:
        height: of the figure, in inches.
        share: of the axes in it.
        places: the (time, row) of each node.
        column: the time at which the shapes of the tips are drawn.
    """

    def __init__(self, sample: TreeSample, means: Array) -> None:
        self.sample = sample
        tree, tips = sample.tree, sample.tree.tips
        self.row = min(TALLEST, max(ROW, LONGEST / (len(tips) + 1)))
        inside = self.row * (len(tips) + 0.4)
        self.height = inside + BOTTOM + TOP
        self.share = inside / self.height
        self.middle, self.times = sample.coordinates.mean(0).numpy(), enlargement(sample)
        every = np.concatenate([means, sample.coordinates.numpy()])
        every = self.middle + self.times * (every - self.middle)
        extent = 2 * np.abs(every[..., :2]).max((0, 1))
        self.scale = min(0.94 * self.row / extent[1], 1.3 / extent[0])  # inches for a unit of the shape
        self.size = self.scale * extent
        names = 0.065 * max(len(tree.names[tip]) for tip in tips)  # about the width of a letter
        left, right = 0.5 * self.size[0] + GAP, names + self.size[0] + 2 * GAP
        self.inch = tree.height / (PAGE - 2 * LEFT - left - right)  # of time
        self.limits = (-left * self.inch, tree.height + right * self.inch)
        self.column = tree.height + (names + GAP + 0.5 * self.size[0]) * self.inch
        rows = dict(zip(tips, range(len(tips)), strict=True))
        heights: dict[int, float] = {}
        for node in tree.postorder:
            below = [heights[child] for child in tree.children[node]]
            heights[node] = sum(below) / len(below) if below else rows[node]
        self.places = {node: (tree.ages[node], heights[node]) for node in range(len(tree))}

    def pen(self, axis: Axes, at: tuple[float, float], outline: bool) -> Pen:
        """Return a pen for a shape at a place; y of a shape points up and rows go down."""
        scale = (self.scale * self.inch, -self.scale / self.row)
        return Pen(axis, (0, 1), outline, at, scale, self.middle, self.times)

    def box(self, at: tuple[float, float]) -> tuple[tuple[float, float], float, float]:
        """Return the lower left corner, the width and the height of a shape's box."""
        width, height = self.size[0] * self.inch, self.size[1] / self.row
        return (at[0] - width / 2, at[1] + height / 2), width, -height

    def rooms(self) -> dict[int, bool]:
        """Return whether each ancestor's shape is clear of older ones and of the tips' shapes and names."""
        tree = self.sample.tree
        tips = [self.places[tip] for tip in tree.tips]
        placed = [(self.column, row) for _, row in tips]
        _, width, height = self.box((0, 0))
        found = {}
        for node in sorted(tree.inner, key=lambda node: tree.ages[node]):
            x, y = self.places[node]
            clear = [abs(x - a) >= width or abs(y - b) >= -height for a, b in placed]
            clear += [x + width / 2 <= a or abs(y - b) >= 0.5 * (NAME / self.row - height) for a, b in tips]
            found[node] = all(clear)
            if found[node]:
                placed.append((x, y))
        return found


def _branches(axis: Axes, sample: TreeSample, paper: _Paper) -> None:
    """Draw the branches, the names of the tips, and the axis of time."""
    tree = sample.tree
    for node in tree.preorder:
        (x, y), (before, above) = paper.places[node], paper.places[tree.parents[node]]
        axis.plot([before, before, x], [above, y, y], color=BRANCH, linewidth=0.8, zorder=1)
    for tip in tree.tips:
        x, y = paper.places[tip]
        axis.annotate(tree.names[tip].replace("_", " "), (x, y), xytext=(2, 0), textcoords="offset points",
                      va="center", fontsize=6.5, fontstyle="italic", zorder=3)  # fmt: skip
    axis.set_xlim(*paper.limits)
    axis.set_ylim(len(tree.tips) - 0.3, -0.7)
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    axis.spines["bottom"].set_bounds(0, tree.height)
    axis.set_xticks([tick for tick in axis.get_xticks() if 0 <= tick <= tree.height])
    axis.set_xlabel(f"time since the root ({tree.unit})")


@styled
def ancestors(sample: TreeSample, fits: Mapping[str, Result], outline: bool) -> Figure:
    """Draw the shape of each ancestor under the diffusion and under its baseline."""
    labels, inner = node_labels(sample.tree), sample.tree.inner
    columns = min(COLUMNS, len(inner))
    lines = -(-len(inner) // columns)
    middle, times = sample.coordinates.mean(0).numpy(), enlargement(sample)
    shapes = middle + times * (np.array(fits["diffusion"]["mean"])[list(inner)] - middle)
    low, high = shapes[..., :2].min((0, 1)), shapes[..., :2].max((0, 1))
    extent, margin = high - low, 0.1 * (high - low).max()
    figure = Figure(layout="constrained")
    figure.set_size_inches(PAGE, lines * (PAGE / columns * extent[1] / extent[0] + 0.25) + 0.3)
    for k, node in enumerate(inner):
        axis = figure.add_subplot(lines, columns, k + 1)
        _compare(Pen(axis, (0, 1), outline, middle=middle, times=times), fits, node)
        axis.set_title(f"{labels[node]}, at {sample.tree.ages[node]:.3g}")
        axis.set_xlim(low[0] - margin, high[0] + margin)
        axis.set_ylim(low[1] - margin, high[1] + margin)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
    figure.legend(handles=_signs(), title=_enlarged_title(times), loc="outside upper center", ncols=4)
    return figure


@styled
def root(fits: Mapping[str, Result], outline: bool) -> Figure:
    """Draw the shape of the root under the diffusion and under its baseline."""
    mean = np.array(fits["diffusion"]["mean"])[0]
    projections = PROJECTIONS[mean.shape[-1]]
    extent = np.ptp(mean, axis=0)
    width = PAGE if len(projections) > 1 else 0.7 * PAGE
    heights = [width / len(projections) * extent[b] / extent[a] for a, b in projections]
    figure = Figure(figsize=(width, max(heights) + 0.8), layout="constrained")
    for p, across in enumerate(projections):
        axis = figure.add_subplot(1, len(projections), p + 1)
        _compare(Pen(axis, across, outline), fits, 0)
        if len(mean) <= 2 * MOST_NUMBERED:
            for k, point in enumerate(mean[:, list(across)], start=1):
                axis.annotate(str(k), point, xytext=(4, 3), textcoords="offset points", fontsize=5.5)
        axis.set_xlabel(f"{AXIS_NAMES[across[0]]} (rms radii)")
        axis.set_ylabel(f"{AXIS_NAMES[across[1]]} (rms radii)")
    figure.legend(handles=_signs(), loc="outside upper center", ncols=2 if len(projections) == 1 else 4)
    return figure


def _compare(pen: Pen, fits: Mapping[str, Result], node: int) -> None:
    """Draw a node under the diffusion and under its baseline."""
    parts = {method: [np.array(fits[method][part])[node] for part in ("mean", "covariance")]
             for method in ("diffusion", "brownian_gaussian")}  # fmt: skip
    pen.bands(*parts["diffusion"], facecolor=DIFFUSION, alpha=0.25, linewidth=0)
    pen.bands(*parts["brownian_gaussian"], facecolor="none", edgecolor=BASELINE, linewidth=0.5)
    pen.shape(parts["brownian_gaussian"][0], BASELINE, 2.4, marker="s", markerfacecolor="none",
              markeredgewidth=0.5)  # fmt: skip
    pen.shape(parts["diffusion"][0], DIFFUSION, 2)
    pen.axis.set_aspect("equal")
    pen.axis.autoscale_view()


def _signs() -> list[Artist]:
    return [
        Line2D([], [], color=DIFFUSION, marker="o", markeredgewidth=0, linestyle="none",
               label="landmark diffusion"),
        Patch(color=DIFFUSION, alpha=0.25, linewidth=0, label="95 % of it"),
        Line2D([], [], color=BASELINE, marker="s", markerfacecolor="none", markeredgewidth=0.6,
               linestyle="none", label="Brownian, kernel at the mean"),
        Patch(facecolor="none", edgecolor=BASELINE, linewidth=0.6, label="95 % of it"),
    ]  # fmt: skip


@styled
def held_out(table: pd.DataFrame) -> Figure:
    """Draw the rms error of each species' prediction by each method."""
    species = list(dict.fromkeys(table["species"]))
    figure = Figure(figsize=(PAGE, 0.19 * len(species) + 0.9), layout="constrained")
    axis = figure.add_subplot()
    for name, (label, colour, marker) in LOOKS.items():
        own = table[table["method"] == name].set_index("species").loc[species]
        axis.plot(own["rms_error"], range(len(species)), marker, color=colour, label=label, markersize=4,
                  markerfacecolor="none", markeredgewidth=0.9)  # fmt: skip
    axis.set_yticks(range(len(species)), [name.replace("_", " ") for name in species], fontstyle="italic")
    axis.set_ylim(len(species) - 0.5, -0.5)
    axis.grid(axis="y", color="#DDDDDD", linewidth=0.5)
    axis.set_axisbelow(True)
    axis.set_xlim(0, None)
    axis.set_xlabel("rms error of a coordinate (rms radii)")
    figure.legend(loc="outside upper center", ncols=4)
    return figure
