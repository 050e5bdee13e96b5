"""A method against a baseline: values known by hand, failures named, better marked and nothing else."""

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from graybench.benchmark.analysis.comparison import differences, ratios
from graybench.benchmark.analysis.comparison_table import (
    NO_INTERVAL,
    comparison_as_latex,
    comparison_as_markdown,
    print_comparison,
)
from graybench.benchmark.metrics.catalogue import METRICS
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


def shown(frame: pd.DataFrame, metric: str) -> str:
    out = io.StringIO()
    print_comparison(frame, metric, "mix", "dsm", Console(file=out, width=200))
    return out.getvalue()


def two(metric: str, mix: list[float], dsm: list[float]) -> pd.DataFrame:
    """Replicates of two methods on one task."""
    sides = (("mix", mix), ("dsm", dsm))
    return table(*[row(m, 100, v, r, metric=metric) for m, own in sides for r, v in enumerate(own)])


@pytest.mark.parametrize("metric", ["excess_variance", "mmd_squared", "tarp", "coverage", "c2st_mlp", "sbc"])
def test_no_ratio_where_it_does_not_say_which_is_better(metric: str) -> None:
    """DSM's excess variance is 0 but for rounding: a ratio to it is anything."""
    with pytest.raises(UserError, match=f"a ratio of two values of {metric} does not say which is better"):
        ratios(two(metric, [-0.1], [1e-17]), metric, "mix", "dsm")


@pytest.mark.parametrize("metric", [name for name, record in METRICS.items() if not record.ranked])
def test_what_makes_no_method_better_is_not_compared(metric: str) -> None:
    with pytest.raises(UserError, match=f"{metric} does not say which method is better"):
        print_comparison(two(metric, [0.2], [0.1]), metric, "mix", "dsm", Console())


@pytest.mark.parametrize(
    ("metric", "mix", "dsm", "difference"),
    [
        ("coverage", 0.5, 0.9, 0.4),
        ("coverage", 0.875, 0.5, -0.375),
        ("coverage", 1.0, 0.75, -0.05),  # too wide is as bad as too narrow
        ("coverage", 0.8, 1.0, 0.0),
        ("c2st_mlp", 0.55, 0.8, -0.25),
        ("ess_fraction", 0.5, 0.25, -0.25),
        ("tarp", -0.02, 0.08, -0.06),
        ("mmd_squared", -0.01, 0.02, -0.01),
        ("excess_variance", -0.25, 0.0, -0.25),
    ],
)
def test_distances_from_perfect_are_compared(metric: str, mix: float, dsm: float, difference: float) -> None:
    """Replicates agree, so that the interval has no width, and only what is nearer to perfect is marked."""
    frame = two(metric, [mix] * 3, [dsm] * 3)
    (found,) = differences(frame, metric, "mix", "dsm").itertuples()
    assert (found.value, found.low, found.high) == pytest.approx((difference,) * 3)
    text = f"{difference:+.2g}"  # +0 where the distances are the same but for rounding
    mark = " *" if difference < 0 else " +" if float(text) > 0 else ""
    assert f"{text} [{text}, {text}]{mark} │" in shown(frame, metric)


def test_an_interval_of_distances_is_of_the_same_draws() -> None:
    """Of two replicates the mean is drawn as the first, the second or their average, for both sides alike:
    with coverage 0.9 ± 0.1 against 0.5 the distances are 0.1, 0 and 0.1, less 0.4.
    """
    (found,) = differences(two("coverage", [0.8, 1.0], [0.5, 0.5]), "coverage", "mix", "dsm").itertuples()
    assert (found.value, found.low, found.high) == pytest.approx((-0.4, -0.4, -0.3))


def test_what_is_better_or_worse_by_its_whole_interval_is_marked() -> None:
    assert "0.50 [0.50, 0.50] * │" in shown(two("mmd", [0.1] * 3, [0.2] * 3), "mmd")
    assert "2.00 [2.00, 2.00] + │" in shown(two("mmd", [0.4] * 3, [0.2] * 3), "mmd")
    assert "1.00 [1.00, 1.00] │" in shown(two("mmd", [0.2] * 3, [0.2] * 3), "mmd")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("mix", "dsm", "cell"),
    [
        ([0.0, 0.11], [0.0, 0.2], "0.55 (no interval)"),  # 0/0 in a quarter of the draws
        ([0.05, 0.06], [0.0, 0.2], "0.55 [0.30, ∞]"),  # 0.05/0 in a quarter of the draws, 0.06/0.2 in another
        ([0.1], [0.2], "0.50 (no interval)"),
        ([0.1, 0.1], [0.0, 0.0], "∞ [∞, ∞]"),
        ([0.0, 0.0], [0.0, 0.0], "0/0"),
    ],
)
def test_what_cannot_be_computed_is_said(mix: list[float], dsm: list[float], cell: str) -> None:
    """The estimate of MMD is 0 where that of MMD² is negative."""
    text = shown(two("mmd", mix, dsm), "mmd")
    assert f" {cell} " in text
    assert "nan" not in text
    assert (NO_INTERVAL in text) == ("no interval" in cell)


def test_methods_without_a_place_in_common_are_not_compared() -> None:
    apart = table(
        row("dsm", 100, 0.2),
        row("mix", 1000, 0.1),
        row("mix", 100, 0.1, task="line"),
        row("mix", 100, 0.1, method_settings="recipe=plain"),
        row("mix", 100, 0.1, status="skipped"),
    )
    with pytest.raises(UserError, match="mmd was never measured of both"):
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
        "galton": ["0.50 [0.50, 0.50] *", "3.00 [3.00, 3.00] +"],
        "schloegl": ["timeout", ""],
        "line": ["1.00 (no interval)", ""],
    }


def test_markdown_has_the_same_table() -> None:
    title, _, *lines = comparison_as_markdown(FRAME, "mmd", "mix", "dsm").splitlines()
    assert title == r"mmd, mean of mix / mean of dsm \[95 % interval\], \* better, + worse"
    assert lines[0] == "| task | 100 | 1,000 |"
    assert lines[2:5] == [
        r"| galton | 0.50 \[0.50, 0.50\] \* | 3.00 \[3.00, 3.00\] + |",
        "| schloegl | *timeout* |  |",
        "| line | 1.00 (no interval) |  |",
    ]
    assert lines[-1] == NO_INTERVAL


def test_latex_has_the_same_table() -> None:
    made = comparison_as_latex(FRAME, "mmd", "mix", "dsm")
    assert r"galton & 0.50 [0.50, 0.50] * & 3.00 [3.00, 3.00] + \\" in made
    assert r"schloegl & \textit{timeout} &  \\" in made
    assert r"\begin{tabular}{lrr}" in made
    assert NO_INTERVAL in made
    endless = comparison_as_latex(two("mmd", [0.1, 0.1], [0.0, 0.0]), "mmd", "mix", "dsm")
    assert r"$\infty$ [$\infty$, $\infty$]" in endless
