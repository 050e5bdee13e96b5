"""The figure of all tasks draws the means and intervals of the table, a panel for each task."""

from pathlib import Path

import numpy as np
import pytest

from graybench.benchmark.analysis.statistics import mean_interval, table_of
from graybench.benchmark.analysis.table import method_labels, of_methods
from graybench.benchmark.figures.draw import draw_all
from graybench.benchmark.figures.style import FLOOR
from graybench.benchmark.figures.tasks import over_tasks
from graybench.benchmark.running.kept import nothing
from graybench.benchmark.running.rows import with_variants
from graybench.tasks.errors import UserError
from graybench.tests.benchmark.figures.test_draw import frame_of, lines_in, marks_in
from graybench.tests.benchmark.figures.test_options import METHODS, results

TASKS, BUDGETS = ["galton", "iid_mixture", "linear_gaussian"], (100, 1000)


def test_the_drawn_numbers_are_the_means_and_intervals_of_the_table() -> None:
    frame = frame_of(results(TASKS, BUDGETS))
    figure = over_tasks(with_variants(frame), "c2st_mlp")
    assert figure is not None
    assert [axis.get_title() for axis in figure.axes] == TASKS
    assert len({axis.get_ylim() for axis in figure.axes}) == 1
    frame = frame[(frame["metric"] == "c2st_mlp")].assign(label=method_labels(frame))
    for task, axis in zip(TASKS, figure.axes, strict=True):
        lines, own = lines_in(axis), frame[frame["task"] == task]
        assert set(lines) == set(METHODS.values())
        for label, name in METHODS.items():
            of_line = own[own["label"] == label.replace(" ", ", ")]
            expected = [mean_interval(table_of(of_line[of_line["budget"] == n])).value for n in BUDGETS]
            np.testing.assert_array_equal(lines[name].get_xdata(), BUDGETS)
            np.testing.assert_array_equal(lines[name].get_ydata(), expected)
        (floor,) = marks_in(axis, FLOOR)
        np.testing.assert_allclose(floor.get_ydata(), 0.02)


@pytest.mark.parametrize(("tasks", "budgets"), [(TASKS, (100,)), (TASKS[:1], BUDGETS)])
def test_one_task_or_one_budget_is_not_drawn(tasks: list[str], budgets: tuple[int, ...]) -> None:
    assert over_tasks(with_variants(frame_of(results(tasks, budgets))), "mmd") is None


def test_the_files_bear_the_metric(tmp_path: Path) -> None:
    drawn = draw_all(frame_of(results(TASKS, BUDGETS)), nothing(), tmp_path, "over_tasks")
    expected = {f"over_tasks-{m}.{end}" for m in ("c2st_mlp", "mmd", "score_error") for end in ("pdf", "png")}
    assert {file.name for file in drawn} == expected == {file.name for file in tmp_path.iterdir()}


def test_methods_are_chosen_by_name_or_label() -> None:
    frame = frame_of(results(TASKS, BUDGETS))
    labels = {
        (): set(METHODS),
        ("dsm",): {"dsm"},
        ("sbi_npse",): {"sbi_npse(embedding=true iid_method=auto_gauss)"},
        ("dsm(composition=jac)", "mix"): {"dsm(composition=jac)", "mix(composition=jac gate=matrix)"},
    }
    for chosen, expected in labels.items():
        found = set(method_labels(of_methods(frame, chosen)))
        assert found == {label.replace(" ", ", ") for label in expected}
    with pytest.raises(UserError, match="has no method 'mx': did you mean mix"):
        of_methods(frame, ["mx"])
