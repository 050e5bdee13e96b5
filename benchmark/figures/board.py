"""A drawing of the Galton board: nails, the paths of two balls, and the distribution of x for several θ.

Rows of nails are shifted by half a nail against each other, so that a ball moves half a nail to either side.
Before an odd row, position p lies half a nail to the left of position p before an even row. Final positions
lie at x.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...tasks.classic.galton import Galton
from ...tasks.seeding import generator
from .style import COLUMN, Look, handle, styled


class Tilt(NamedTuple):
    """One θ of the drawing. A tilt with a marker also gets a path; the colours are used for no method."""

    theta: float
    colour: str
    dashes: Any
    marker: str = ""
    seed: int = 0


TILTS = (
    Tilt(-1.0, "#542788", "-", "o", seed=3),
    Tilt(0.0, "#777777", "--"),
    Tilt(1.0, "#B35806", "-", "s", seed=6),
)


@styled
def board(task: Galton) -> Figure:
    """Draw the board above the exact distributions of x. Both panels share the horizontal axis."""
    figure = Figure(figsize=(COLUMN, 3.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.7, 1])
    _draw_nails(above, task)
    _draw_paths(above, task)
    _draw_distributions(below, task)
    names = [f"$\\theta$ = {tilt.theta:g}".replace("-", "−") for tilt in TILTS]
    handles = [handle(Look(name, t.colour, t.marker, t.dashes)) for name, t in zip(names, TILTS, strict=True)]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def _shift(task: Galton, row: Any) -> Any:
    """Return the horizontal place of position 0 before a row, or before each of an array of rows."""
    return (task.rows % 2 - row % 2) / 2


def _draw_nails(axis: Axes, task: Galton) -> None:
    for row in range(task.rows):
        places = np.arange(task.nails + row % 2) + _shift(task, row)
        axis.plot(places, np.full(len(places), row), ".", color="#AAAAAA", markersize=1.6, zorder=1)
    ends = np.arange(task.bins + 1) - 0.5
    axis.vlines(ends, task.rows - 0.4, task.rows + 1.6, color="#AAAAAA", linewidth=0.5)
    axis.set_ylim(task.rows + 1.6, -1.4)
    axis.set_ylabel("row of nails")
    axis.set_yticks(np.arange(0, task.rows, 5))
    axis.spines[["bottom", "left"]].set_visible(False)
    axis.tick_params(axis="x", length=0)


def _draw_paths(axis: Axes, task: Galton) -> None:
    rows = np.arange(task.rows + 1)
    for tilt in TILTS:
        if not tilt.marker:
            continue
        path = task.paths(torch.tensor([tilt.theta]), generator(tilt.seed))[0].numpy()
        places = path + _shift(task, rows)
        axis.plot(
            np.insert(places, 0, places[0]),
            np.insert(rows - 0.0, 0, -1.2),
            color=tilt.colour,
            linewidth=1,
            marker=tilt.marker,
            markersize=2.6,
            markeredgewidth=0,
        )


def _draw_distributions(axis: Axes, task: Galton) -> None:
    places = np.arange(task.bins)
    thetas = torch.tensor([tilt.theta for tilt in TILTS], dtype=torch.float64)
    for tilt, pmf in zip(TILTS, task.pmf(thetas).numpy(), strict=True):
        axis.step(places, pmf, where="mid", color=tilt.colour, linestyle=tilt.dashes)
    axis.set_xlabel("final position $x$")
    axis.set_ylabel(r"$p(x \mid \theta)$, exact")
    axis.set_ylim(0, None)
