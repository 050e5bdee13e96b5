"""Figures over an option of a task draw the means and intervals of the table, at the value of the option."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from graybench.benchmark.analysis.statistics import mean_interval, table_of
from graybench.benchmark.analysis.table import method_labels
from graybench.benchmark.figures.draw import draw_all
from graybench.benchmark.figures.options import (
    Family,
    families_of,
    looks_of_settings,
    option_axis,
    over_options,
)
from graybench.benchmark.figures.style import FLOOR, KNOWN, MISSING
from graybench.benchmark.running.kept import nothing
from graybench.benchmark.running.rows import with_variants
from graybench.tasks.errors import UserError
from graybench.tests.benchmark.figures.test_draw import frame_of, lines_in, marks_in, row

DRAWS = {"iid_mixture(draws=2)": 2, "iid_mixture(draws=20)": 20, "iid_mixture": 200}  # 200 is the default
BALLS = {f"galton({balls}positions=true)": n for balls, n in (("", 1), ("balls=3, ", 3), ("balls=10, ", 10))}
METHODS = {
    "dsm": "DSM",
    "dsm(composition=jac)": "DSM, jac",
    "mix(composition=jac gate=matrix)": "MIX, matrix, jac",
    "sbi_npse(embedding=true iid_method=auto_gauss)": "sbi_npse, embedding, auto_gauss",
}
METRICS = ("c2st_mlp", "mmd", "score_error")


def results(tasks: list[str], budgets: tuple[int, ...] = (1000,)) -> list[dict[str, object]]:
    """Positive numbers of which no two are alike: two replicates, two observations."""
    random = np.random.default_rng(0)

    def rows() -> Iterator[dict[str, object]]:
        for task in tasks:
            for label in METHODS:
                for budget in budgets:
                    for metric in METRICS:
                        for r, o in np.ndindex(2, 2):
                            at = {"task": task, "replicate": r, "observation": o, "floor": 0.02}
                            yield row(label, budget, metric, random.uniform(0.1, 0.9), **at)
                        if metric == "score_error":  # at one diffusion time: no part of the figure
                            yield row(label, budget, metric, 9.0, **at, time=0.5)
                    yield row(label, budget, "target_variance", 9.0, task=task, replicate=0)

    return list(rows())


def figures_of(rows: list[dict[str, object]]) -> dict[str, Figure]:
    return dict(over_options(with_variants(frame_of(rows))))


def test_the_drawn_numbers_are_the_means_and_intervals_of_the_table() -> None:
    rows = results([*DRAWS, *BALLS, "linear_gaussian"])
    figures, frame = figures_of(rows), frame_of(rows)
    assert tuple(figures) == METRICS
    frame = frame[frame["time"].isna()].assign(label=method_labels(frame))
    for metric, figure in figures.items():
        titles = ["iid_mixture, $N$ = 1,000", "galton(positions=true), $N$ = 1,000"]
        assert [axis.get_title() for axis in figure.axes] == titles
        assert [axis.get_xlabel() for axis in figure.axes] == ["draws", "balls"]
        for axis, values in zip(figure.axes, (DRAWS, BALLS), strict=True):
            assert axis.get_xscale() == "log"
            assert [tick.get_text() for tick in axis.get_xticklabels()] == [f"{n}" for n in values.values()]
            lines = lines_in(axis)
            assert set(lines) == set(METHODS.values())
            bands = [band.get_paths()[0].vertices for band in axis.collections if band.get_paths()]
            for label, name, band in zip(METHODS, METHODS.values(), bands, strict=True):
                settings = label.replace(" ", ", ")
                own = frame[(frame["metric"] == metric) & (frame["label"] == settings)]
                expected = [mean_interval(table_of(own[own["task"] == task])) for task in values]
                np.testing.assert_array_equal(lines[name].get_xdata(), [*values.values()])
                np.testing.assert_array_equal(lines[name].get_ydata(), [i.value for i in expected])
                for n, interval in zip(values.values(), expected, strict=True):
                    ends = band[band[:, 0] == n, 1]
                    assert (ends.min(), ends.max()) == (interval.low, interval.high)
            (floor,) = marks_in(axis, FLOOR)
            np.testing.assert_allclose(floor.get_xydata(), [(n, 0.02) for n in values.values()])


def test_each_budget_has_its_panel() -> None:
    figure = figures_of(results([*DRAWS], budgets=(100, 1000)))["mmd"]
    titles = ["iid_mixture, $N$ = 100", "iid_mixture, $N$ = 1,000"]
    assert [axis.get_title() for axis in figure.axes] == titles
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


def test_a_family_has_three_values_of_one_number() -> None:
    assert families_of([*DRAWS]) == [Family("iid_mixture", "draws", DRAWS)]
    assert families_of([*DRAWS][:2]) == []
    assert families_of(["galton", "galton(balls=3)", "galton(balls=10, positions=true)"]) == []
    assert families_of(["unknown(n=1)", "unknown(n=2)", "unknown(n=3)"]) == []
    assert figures_of(results([*DRAWS][:2])) == {}


def test_only_an_axis_of_positive_values_is_logarithmic() -> None:
    for least, scale in ((0, "linear"), (0.1, "log")):
        axis = Figure().add_subplot()
        option_axis(axis, Family("task", "noise", {"task": 0.5, "task(noise=1)": 1, "least": least}))
        assert axis.get_xscale() == scale
        assert [tick.get_text() for tick in axis.get_xticklabels()] == [f"{least}", "0.5", "1"]


def test_a_failed_cell_is_a_cross_at_its_value() -> None:
    task = "iid_mixture(draws=20)"
    rows = [r for r in results([*DRAWS]) if (r["task"], r["method"]) != (task, "sbi_npse")]
    label = "sbi_npse(embedding=true iid_method=auto_gauss)"
    rows.append(row(label, 1000, "mmd", np.nan, task=task, status="timeout"))
    figure = figures_of(rows)["mmd"]
    (cross,) = marks_in(figure.axes[0], MISSING)
    assert cross.get_xdata().tolist() == [20]


def test_the_colour_is_the_methods_and_every_line_is_its_own() -> None:
    looks = looks_of_settings(with_variants(frame_of(results(["galton"]))))
    assert looks["dsm"] == KNOWN["dsm"]
    assert looks["dsm(composition=jac)"].colour == KNOWN["dsm"].colour
    jac = looks["dsm(composition=jac)"], looks["mix(composition=jac, gate=matrix)"]
    assert jac[0].marker == jac[1].marker
    assert len({look[1:] for look in looks.values()}) == len(METHODS)


@pytest.mark.parametrize("metric", METRICS)
def test_the_legend_lies_inside_the_figure_and_above_the_panels(metric: str) -> None:
    figure = figures_of(results([*DRAWS, *BALLS]))[metric]
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert figure.bbox.x0 <= box.x0
    assert box.x1 <= figure.bbox.x1
    assert box.y0 >= max(axis.get_window_extent().y1 for axis in figure.axes)


def test_a_floor_below_the_axis_is_not_in_the_legend() -> None:
    for floor, named in ((0.5, True), (1e-9, False)):
        figure = figures_of([r | {"floor": floor} for r in results([*DRAWS])])["score_error"]
        assert ("floor" in [text.get_text() for text in figure.legends[0].get_texts()]) == named


def test_the_files_bear_the_metric(tmp_path: Path) -> None:
    rows = [r for r in results([*DRAWS]) if r["metric"] == "mmd" and r["method"] == "dsm"]
    names = {file.name for file in draw_all(frame_of(rows), nothing(), tmp_path)}
    own = {"over_option-mmd.pdf", "over_option-mmd.png"}
    assert own < names
    one = draw_all(frame_of(rows), nothing(), tmp_path / "one", "over_option")
    assert {file.name for file in one} == own == {file.name for file in (tmp_path / "one").iterdir()}
    with pytest.raises(UserError, match="did you mean over_option"):
        draw_all(frame_of(rows), nothing(), tmp_path, "over_options")
