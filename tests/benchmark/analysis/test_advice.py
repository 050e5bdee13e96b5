"""Advice from tables made by hand: the budget, the methods, the tasks, and what differs from the best."""

import math

import numpy as np
import pandas as pd
import pytest

from graybench.benchmark.analysis.advice import SCORES, Features, features_of, on_like_tasks, on_task
from graybench.benchmark.analysis.quality import time_to_quality
from graybench.tasks import get_task
from graybench.tasks.errors import UserError
from graybench.tests.benchmark.analysis.test_table import failed, row, table

NOISE = np.random.default_rng(1).normal(0, 0.01, (5, 4))


def rows_of(method: str, mean: float, budget: int = 100, task: str = "galton", seconds: float = 1.0) -> list:
    """A cell of five replicates and four observations; its fits took `seconds` each."""
    place = {"task": task, "fit_seconds": 5 * seconds, "cell": f"{method} {budget} {task}"}
    random = np.random.default_rng(len(method) * budget)
    values = mean + NOISE + random.normal(0, 0.01, NOISE.shape)
    return [
        row(method, budget, float(value), r, observation=o, **place)
        for (r, o), value in np.ndenumerate(values)
    ]


def told(
    frame: pd.DataFrame, budget: int = 100, seconds: float = math.inf, offers: frozenset = SCORES
) -> dict:
    advice = on_task(frame, "galton", budget, "mmd", seconds, offers)
    return {line.label: line.verdict for line in advice.methods}


def test_the_best_comes_first_and_what_differs_from_it_is_told() -> None:
    """The means are 1, 1.001 and 1.5, with a standard error of 0.004."""
    frame = table(*rows_of("dsm", 1.5), *rows_of("mix", 1.0), *rows_of("ltsm", 1.001))
    found = told(frame)
    assert list(found) in (["mix", "ltsm", "dsm"], ["ltsm", "mix", "dsm"])
    assert list(found.values()) == ["best", "not told apart", "worse"]
    worst = on_task(frame, "galton", 100, "mmd", math.inf, SCORES).methods[-1]
    assert worst.low < worst.value < worst.high
    assert worst.value == pytest.approx(1.5, abs=0.02)
    assert worst.seconds == 1.0


def test_means_on_both_sides_of_perfect_are_compared_by_their_distance() -> None:
    """A coverage of 0.85 and one of 0.95 are as far from 0.9; 0.99 is farther, by 20 standard errors."""
    cells = rows_of("dsm", 0.85) + rows_of("mix", 0.95) + rows_of("ltsm", 0.99)
    frame = table(*[each | {"metric": "coverage"} for each in cells])
    advice = on_task(frame, "galton", 100, "coverage", math.inf, SCORES)
    assert [line.verdict for line in advice.methods] == ["best", "not told apart", "worse"]
    assert advice.methods[-1].label == "ltsm"


def test_a_metric_that_ranks_nothing_is_refused() -> None:
    frame = table(*[each | {"metric": "sbc"} for each in rows_of("dsm", 0.3) + rows_of("mix", 0.4)])
    with pytest.raises(UserError, match="sbc does not say which method is better"):
        on_task(frame, "galton", 100, "sbc", math.inf, SCORES)
    with pytest.raises(UserError, match="sbc does not say which method is better"):
        on_like_tasks(frame, Features(1, 1, "vector", SCORES), 100, "sbc", math.inf)
    with pytest.raises(UserError, match="sbc does not say which method is better"):
        time_to_quality(frame, "sbc", 0.02)


def test_the_budget_is_the_largest_below_or_else_the_smallest() -> None:
    frame = table(*[each for b in (100, 1000, 10_000) for each in rows_of("dsm", 1.0, b)])
    budgets = [on_task(frame, "galton", asked, "mmd", math.inf, SCORES).budget for asked in (10, 100, 9999)]
    assert budgets == [100, 100, 1000]


def test_methods_that_are_too_slow_or_need_a_score_are_left_out() -> None:
    frame = table(
        *rows_of("dsm", 1.5),
        *rows_of("mix", 1.0),
        *rows_of("tsm", 0.5),
        *rows_of("sbi_npe", 0.7, seconds=30.0),
    )
    assert list(told(frame)) == ["tsm", "sbi_npe", "mix", "dsm"]
    assert list(told(frame, offers=frozenset({"joint_score"}))) == ["sbi_npe", "mix", "dsm"]
    assert list(told(frame, seconds=29.0, offers=frozenset())) == ["dsm"]
    with pytest.raises(UserError, match="no result of a method that is allowed; allow more seconds"):
        told(frame, seconds=0.5)


def test_a_method_that_failed_is_last_with_its_status() -> None:
    frame = table(*rows_of("dsm", 1.5), *rows_of("mix", 1.0)[:-1], failed("mix", 100, "timeout"))
    assert told(frame) == {"dsm": "best", "mix": "timeout"}
    with pytest.raises(UserError, match="every method that is allowed failed on galton with 100 simulations"):
        told(frame[frame["method"] == "mix"])


def test_a_task_that_is_not_in_the_table_is_answered_from_those_like_it() -> None:
    """linear_gaussian and gaussian_mixture have two parameters; ar1_noise is a series of 100 times."""
    cells = [("linear_gaussian", 1.0, 2.0), ("gaussian_mixture", 1.0, 2.0), ("ar1_noise", 3.0, 1.0)]
    rows = [rows_of("dsm", dsm, task=task) + rows_of("mix", mix, task=task) for task, dsm, mix in cells]
    frame = table(*[each for cell in rows for each in cell])
    vector = on_like_tasks(frame, Features(2, 2, "vector", SCORES), 100, "mmd", math.inf)
    assert (vector.tasks, vector.given_up) == (["gaussian_mixture", "linear_gaussian"], [])
    assert [(line.label, line.value) for line in vector.methods] == [("dsm", 1.0), ("mix", 2.0)]
    series = on_like_tasks(frame, features_of(get_task("ar1_noise")), 100, "mmd", math.inf)
    assert (series.tasks, series.given_up) == (["ar1_noise"], [])
    assert [line.label for line in series.methods] == ["mix", "dsm"]
    wide = on_like_tasks(frame, Features(2, 900, "vector", SCORES), 100, "mmd", math.inf)
    assert (wide.tasks, wide.given_up) == (vector.tasks, ["dim_x"])
    large = on_like_tasks(frame, Features(40, 900, "series", SCORES), 100, "mmd", math.inf)
    assert (large.tasks, large.given_up) == (["ar1_noise"], ["dim_theta", "dim_x"])
    field = on_like_tasks(frame, Features(2, 2, "field", SCORES), 100, "mmd", math.inf)
    assert (len(field.tasks), field.given_up) == (3, ["structure", "dim_theta", "dim_x"])
    with pytest.raises(UserError, match="fewer than two methods"):  # mix needs a score
        on_like_tasks(frame, Features(2, 2, "field", frozenset()), 100, "mmd", math.inf)
