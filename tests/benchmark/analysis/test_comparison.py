"""Ratios of a method to a baseline: values known by hand, failures named, the figure drawn from them."""

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from graybench.benchmark.analysis.comparison import comparison, comparisons, print_comparison, ratios
from graybench.benchmark.figures.style import MISSING
from graybench.tasks.errors import UserError
from graybench.tests.benchmark.analysis.test_table import failed, row, table

FRAME = table(
    *[row(method, 100, value, r) for method, value in (("dsm", 0.2), ("mix", 0.1)) for r in range(3)],
    *[
        row(method, 1000, value * (1 + r), r)
        for method, value in (("dsm", 0.1), ("mix", 0.3))
        for r in range(3)
    ],
    *[row("dsm", 100, 0.2, r, task="schloegl") for r in range(3)],
    failed("mix", 100, "timeout") | {"task": "schloegl"},
    *[row(method, 100, value, task="line") for method, value in (("dsm", 0.5), ("mix", 0.5))],
    *[row(method, 100, 9.0, metric="score_error", time=0.5) for method in ("dsm", "mix")],
)


def test_ratios_are_paired_and_failures_are_named() -> None:
    found = ratios(FRAME, "mmd", "mix", "dsm").set_index(["task", "budget"])
    galton = found.loc[("galton", 100)]
    assert (galton["value"], galton["low"], galton["high"]) == pytest.approx((0.5, 0.5, 0.5))
    # both sides grow alike with the replicate, so that a paired ratio has no spread
    assert tuple(found.loc[("galton", 1000), ["value", "low", "high"]]) == pytest.approx((3.0, 3.0, 3.0))
    assert found.loc[("schloegl", 100), "status"] == "timeout"
    assert np.isnan(found.loc[("schloegl", 100), "value"])
    assert found.loc[("line", 100), "value"] == 1
    assert np.isnan(found.loc[("line", 100), "low"])  # one replicate says nothing about another
    assert len(found) == 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("mdm", "mix", "dsm"), "the table has no metric 'mdm' to average: did you mean mmd?"),
        (("score_error", "mix", "dsm"), "the table has no metric 'score_error' to average: there are mmd."),
        (("mmd", "mixx", "dsm"), "the table has no method 'mixx': did you mean mix?"),
        (("mmd", "mix", "tsm"), "the table has no method 'tsm': did you mean dsm?"),
    ],
)
def test_what_is_not_there_is_answered_with_the_nearest(
    arguments: tuple[str, str, str], sentence: str
) -> None:
    with pytest.raises(UserError) as mistake:
        print_comparison(FRAME, *arguments, Console())
    assert str(mistake.value) == sentence


def test_settings_of_one_method_are_compared() -> None:
    """Named with all its settings, a method is that alone: the baseline `dsm` is the one without any."""
    steps = [row("dsm", 100, 0.05 * (1 + r), r, method_settings="rate=0.1 steps=30000") for r in range(3)]
    plain = [row("dsm", 100, 0.2 * (1 + r), r) for r in range(3)]
    others = [row("mix", 100, 9.0, r, method_settings="rate=0.1 steps=30000") for r in range(3)]
    (found,) = ratios(table(*steps, *plain, *others), "mmd", "dsm(rate=0.1, steps=30000)", "dsm").itertuples()
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))
    assert (found.task, found.variant, found.budget) == ("galton", "", 100)
    out = io.StringIO()
    compared = table(*steps, *plain, *others)
    print_comparison(compared, "mmd", "dsm(rate=0.1, steps=30000)", "dsm", Console(file=out, width=200))
    assert "0.25 [0.25, 0.25]" in out.getvalue()
    with pytest.raises(UserError, match=r"no method 'dsm\(steps=3000\)'"):
        print_comparison(compared, "mmd", "dsm(steps=3000)", "dsm", Console())


@pytest.mark.parametrize("metric", ["excess_variance", "mmd_squared", "tarp"])
def test_what_may_be_0_or_negative_has_no_ratio(metric: str) -> None:
    """DSM's excess variance is 0 but for rounding: a ratio to it is anything."""
    values = {"dsm": 1e-17, "mix": -0.1}
    signed = table(*[row(method, 100, value, metric=metric) for method, value in values.items()])
    with pytest.raises(UserError, match=f"{metric} may be 0 or negative, so that a ratio"):
        print_comparison(signed, metric, "mix", "dsm", Console())


def test_methods_without_a_place_in_common_are_not_compared() -> None:
    apart = table(
        row("dsm", 100, 0.2),
        row("mix", 1000, 0.1),
        row("mix", 100, 0.1, task="line"),
        row("mix", 100, 0.1, method_settings="recipe=plain"),
        row("mix", 100, 0.1, status="skipped"),
    )
    with pytest.raises(UserError, match="no task, settings and budget at which mmd was measured of both"):
        print_comparison(apart, "mmd", "mix", "dsm", Console())


def test_the_printed_table_has_a_line_for_each_task() -> None:
    out = io.StringIO()
    print_comparison(FRAME, "mmd", "mix", "dsm", Console(file=out, width=200))
    lines = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:-1]]
        for line in out.getvalue().splitlines()
        if "│" in line
    }
    assert lines == {
        "galton": ["0.50 [0.50, 0.50]", "3.00 [3.00, 3.00]"],
        "schloegl": ["timeout", ""],
        "line": ["1.00", ""],
    }


def test_the_figure_shows_the_ratios() -> None:
    figure = comparison(FRAME, "", "mix", "dsm")
    assert figure is not None
    (axis,) = figure.axes  # score_error is only resolved in time here
    ticks = [label.get_text() for label in axis.get_yticklabels()]
    assert ticks == ["line", "galton", "schloegl"]
    points = [
        line.get_xdata().tolist()
        for line in axis.get_lines()
        if len(line.get_xdata()) and line.get_marker() != "None" and line.get_gid() is None
    ]
    assert points[0] == pytest.approx([0.5, 1.0])
    assert points[1] == pytest.approx([3.0])
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


def test_all_figures_are_drawn_for_several_tasks_alone() -> None:
    assert [(label, variant) for label, variant, _ in comparisons(FRAME)] == [("mix", "")]
    assert list(comparisons(FRAME[FRAME["task"] == "galton"])) == []
