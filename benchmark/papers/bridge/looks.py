"""Colours, marks, rows and the legend of the figures of bridges. Colours are from Okabe and Ito."""

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...analysis.statistics import Interval

BLUE, ORANGE, GREEN, YELLOW, LIGHT = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#999999"
Look = tuple[str, str, str]  # label, marker, colour
BASE: Look = ("base alone", "o", BLUE)
NETWORK: Look = ("network", "s", GREEN)


def legend(figure: Figure, looks: Iterable[Look], extra: Iterable[Line2D] = ()) -> None:
    """Draw a row of marks above the panels, and further entries behind them."""
    signs = [*(sign(*look) for look in looks), *extra]
    figure.legend(handles=signs, loc="outside upper center", ncols=len(signs))


def sign(label: str, marker: str, colour: str, **more: Any) -> Line2D:
    """Return the legend entry of a mark."""
    return Line2D([], [], color=colour, marker=marker, linestyle="none", label=label, **more)


def wanted() -> Line2D:
    """Return the legend entry of targets."""
    return Line2D([], [], color=ORANGE, linestyle="--", label="wanted")


def draw_row(axis: Axes, found: Interval, place: float, look: Line2D) -> None:
    """Draw a number with its interval in a row of a panel, with the look of a mark."""
    error = [[found.value - found.low], [found.high - found.value]]
    axis.errorbar([found.value], [place], xerr=error, fmt="none", color=look.get_color(), elinewidth=0.9)
    face = look.get_markerfacecolor()
    axis.plot(found.value, place, marker=look.get_marker(), color=look.get_color(), markerfacecolor=face)


def label_rows(panels: Sequence[Axes], labels: Sequence[str]) -> None:
    """Make y the rows of a table, from the top, with labels at the first panel."""
    for axis in panels:
        axis.set_yticks(range(len(labels)), labels)
        axis.set_ylim(len(labels) - 0.5, -0.5)
        axis.grid(axis="y", linewidth=0.3)
        if axis is not panels[0]:
            axis.set_yticklabels([])


def plain(value: float, _place: int) -> str:
    """Return a tick's number without exponents."""
    return f"{value:g}"
