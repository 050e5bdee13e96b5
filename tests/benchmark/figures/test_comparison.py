"""Figures of a method against a baseline: the ratios of the table, failures marked."""

import numpy as np
import pandas as pd
import pytest

from graybench.benchmark.analysis.comparison import ratios
from graybench.benchmark.figures.comparison import comparison, comparisons
from graybench.benchmark.figures.style import MISSING
from graybench.tests.benchmark.analysis.test_comparison import FRAME, two
from graybench.tests.benchmark.analysis.test_table import row, table


def test_the_figure_shows_the_ratios() -> None:
    figure = comparison(FRAME, "", "mix", "dsm")
    assert figure is not None
    (axis,) = figure.axes  # score_error is only resolved in time here
    ticks = [label.get_text() for label in axis.get_yticklabels()]
    assert ticks == ["line", "galton", "schloegl"]
    points = [line for line in axis.get_lines() if line.get_marker() != "None" and line.get_gid() is None]
    places = [point.get_xydata()[np.isfinite(point.get_xdata())].round(9).tolist() for point in points]
    assert places == [[[1.0, -0.125], [0.5, 0.875]], [[3.0, 1.125]]]  # the budgets beside each other
    numbers = ratios(FRAME, "mmd", "mix", "dsm").dropna(subset="low")
    bars = [list(line.get_xdata()) for line in axis.get_lines() if line.get_marker() == "None"]
    assert len(numbers) > 0
    for interval in numbers[["low", "high"]].to_numpy().tolist():
        assert pytest.approx(interval) in bars
    (cross,) = [line for line in axis.get_lines() if line.get_gid() == MISSING]
    assert cross.get_xydata().tolist() == [[0.97, 2 - 0.125]]  # schloegl at the first of two budgets
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "no result"
    assert comparison(FRAME[FRAME["method"] == "dsm"], "", "dsm", "dsm") is not None
    assert comparison(FRAME[FRAME["time"].notna()], "", "mix", "dsm") is None


def test_a_task_that_only_the_second_metric_has_is_drawn_last() -> None:
    errors = [row(method, 100, 2.0, metric="score_error", task="line") for method in ("dsm", "mix")]
    figure = comparison(pd.concat([FRAME, table(*errors)]), "", "mix", "dsm")
    assert figure is not None
    assert [axis.get_title() for axis in figure.axes] == ["score error: mix / dsm", "mmd: mix / dsm"]
    ticks = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert ticks == ["line", "galton", "schloegl"]


def test_a_metric_that_the_method_never_has_is_left_out() -> None:
    skipped = [
        row("mix", 100, None, metric="score_error", task=task, status="skipped")
        for task in ("galton", "schloegl")
    ]
    errors = [row("dsm", 100, 2.0, metric="score_error", task=task) for task in ("galton", "schloegl")]
    figure = comparison(pd.concat([FRAME, table(*skipped, *errors)]), "", "mix", "dsm")
    assert figure is not None
    assert [axis.get_title() for axis in figure.axes] == ["mmd: mix / dsm"]


def test_all_figures_are_drawn_for_several_tasks_alone() -> None:
    assert [(label, variant) for label, variant, _ in comparisons(FRAME)] == [("mix", "")]
    assert list(comparisons(FRAME[FRAME["task"] == "galton"])) == []


@pytest.mark.filterwarnings("error")
def test_ratios_that_a_logarithmic_axis_cannot_hold_are_marked() -> None:
    """One is 0, one infinite, and one has an interval without end, which is left out."""
    values = {
        "zero": ([0.0, 0.0], [0.1, 0.1]),
        "infinite": ([0.1, 0.1], [0.0, 0.0]),
        "wide": ([0.1, 0.1], [0.0, 0.4]),
    }
    frame = pd.concat([two("mmd", *sides).assign(task=task) for task, sides in values.items()])
    figure = comparison(frame, "", "mix", "dsm")
    assert figure is not None
    figure.canvas.draw()
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["wide", "zero", "infinite"]
    (crosses,) = [line for line in axis.get_lines() if line.get_gid() == MISSING]
    assert crosses.get_ydata().tolist() == [1, 2]
