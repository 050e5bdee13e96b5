"""Colours, marks and the legend of the figures of bridges. Colours are from Okabe and Ito."""

from collections.abc import Iterable
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

BLUE, ORANGE, GREEN, YELLOW, LIGHT = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#999999"
Look = tuple[str, str, str]  # label, marker, colour


def legend(figure: Figure, looks: Iterable[Look], extra: Iterable[Line2D] = ()) -> None:
    """Draw a row of marks above the panels, and further entries behind them."""
    signs: list[Any] = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", label=label)
        for label, marker, colour in looks
    ]
    signs += extra
    figure.legend(handles=signs, loc="outside upper center", ncols=len(signs))
