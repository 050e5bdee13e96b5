"""Figures of the mixture's paper on hand-made tables."""

from graybench.benchmark.papers.ltsm.figures import mmd_by_task
from graybench.tests.benchmark.papers.ltsm.test_claims import TIMES, rows, table


def test_each_row_of_mmd_is_named_by_its_task_however_many_observations_it_has():
    made = []
    for task in ("galton", "hard"):
        for budget in (100, 1000):
            made += rows("mmd", 0.1, task=task, budget=budget)
            made += rows("target_variance", 1.0, task=task, budget=budget, times=TIMES)
    axes = mmd_by_task(table(made)).axes
    assert [axis.get_ylabel() for axis in axes] == ["galton", "", "", "hard", "", ""]  # two observations
    below = [axis.xaxis.get_tick_params()["labelbottom"] for axis in axes]
    assert below == [False] * 3 + [True] * 3
