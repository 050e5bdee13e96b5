"""The critical-difference diagram: its tests against SciPy and the formula, its drawing against the tests."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from scipy.stats import friedmanchisquare, studentized_range

from graybench.benchmark.figures import draw as figures
from graybench.benchmark.figures.ranks import critical_difference, rank_test, rank_tests
from graybench.benchmark.running.kept import nothing
from graybench.benchmark.running.rows import with_variants
from graybench.tests.benchmark.analysis.test_table import failed, row, table

LABELS = ("dsm", "ltsm", "mix", "tsm")


def frame(tasks: int, budgets: tuple[int, ...] = (100,), labels: tuple[str, ...] = LABELS) -> pd.DataFrame:
    """One replicate of each method: on every task the methods in the same order but for a little noise."""
    random = np.random.default_rng(1)
    return table(
        *[
            row(label, budget, k + random.uniform(0, 2), task=f"t{t}")
            for t in range(tasks)
            for budget in budgets
            for k, label in enumerate(labels)
        ]
    )


def test_p_values_and_critical_difference_are_those_of_scipy_and_the_formula() -> None:
    random = np.random.default_rng(3)
    blocks = pd.DataFrame(
        random.standard_normal((12, 4)) + np.array([0, 0, 1, 2]), columns=list("abcd")
    ).rank(axis=1)
    found = rank_test(blocks)
    assert found.places == 12
    assert found.ranks.to_dict() == pytest.approx(blocks.mean().to_dict())
    assert found.friedman == friedmanchisquare(*[blocks[c] for c in "abcd"]).pvalue
    # Demšar (2006), table 5: q at 5 % for four methods is 2.569
    assert found.critical_difference == pytest.approx(2.569 * (4 * 5 / (6 * 12)) ** 0.5, rel=2e-4)
    for a in "abcd":
        for b in "abcd":
            apart = abs(found.ranks[a] - found.ranks[b]) / (4 * 5 / (6 * 12)) ** 0.5
            p = studentized_range.sf(apart * 2**0.5, 4, np.inf)
            assert found.nemenyi.loc[a, b] == pytest.approx(p, abs=1e-9)
            apart_by_ranks = abs(found.ranks[a] - found.ranks[b]) > found.critical_difference
            assert (found.nemenyi.loc[a, b] < 0.05) == apart_by_ranks


def test_alike_methods_are_told_apart_in_one_table_of_twenty() -> None:
    random = np.random.default_rng(5)
    alarms = []
    for _ in range(300):
        blocks = pd.DataFrame(random.standard_normal((20, 3))).rank(axis=1)
        alarms.append((rank_test(blocks).nemenyi.to_numpy() < 0.05).any())
    # 0.05 in 300 tables has a standard error of 0.013: four of them, passed by another seed once in 10,000
    assert np.mean(alarms) <= 0.05 + 4 * 0.013


def test_each_budget_is_tested_on_the_places_common_to_all_methods() -> None:
    whole = frame(8, (100, 1000))
    lacking = whole[~((whole["task"] == "t0") & (whole["method"] == "tsm"))]
    skipped = table(failed("tsm", 100, "skipped") | {"task": "t0"})
    found = rank_tests(with_variants(pd.concat([lacking, skipped])), "mmd")
    assert {budget: test.places for budget, test in found.items()} == {100: 7, 1000: 7}
    wide = whole[(whole["budget"] == 100) & (whole["task"] != "t0")].pivot(
        index="task", columns="method", values="value"
    )
    assert found[100].friedman == pytest.approx(friedmanchisquare(*wide.to_numpy(dtype=float).T).pvalue)


def test_a_failure_is_ranked_last_and_not_left_out() -> None:
    whole = frame(5)
    gone = whole[~((whole["task"] == "t0") & (whole["method"] == "dsm"))]
    found = rank_tests(
        with_variants(pd.concat([gone, table(failed("dsm", 100, "timeout") | {"task": "t0"})])), "mmd"
    )
    others = whole[whole["task"] != "t0"].pivot(index="task", columns="method", values="value").rank(axis=1)
    assert found[100].places == 5
    assert found[100].ranks["dsm"] == pytest.approx((others["dsm"].sum() + 4) / 5)


@pytest.mark.parametrize(
    "rows",
    [frame(4), frame(8, labels=("dsm", "mix")), frame(1, (1, 2, 3, 4, 5, 6)), frame(6).assign(value=1.0)],
    ids=["four places", "two methods", "six budgets of one task", "nothing but ties"],
)
def test_too_little_gives_no_figure(rows: pd.DataFrame) -> None:
    assert critical_difference(with_variants(rows), "mmd") is None
    assert critical_difference(with_variants(rows), "score_error") is None


def test_the_figure_says_ranks_and_places() -> None:
    rows = with_variants(frame(6, (100, 1000)))
    figure = critical_difference(rows, "mmd")
    assert figure is not None
    for axis, (budget, test) in zip(figure.axes, rank_tests(rows, "mmd").items(), strict=True):
        assert f"$N$ = {budget:,}: 6 places, Friedman p" in axis.get_title()
        said = [text.get_text() for text in axis.findobj(Text)]
        assert f"CD = {test.critical_difference:.2f}" in said
        for name, label in (("DSM", "dsm"), ("TSM", "tsm"), ("MIX", "mix"), ("LTSM", "ltsm")):
            assert any(name in text.split() and f"{test.ranks[label]:.2f}" in text for text in said)


def test_it_is_among_the_figures_of_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for table_of_figures in ("OF_TASK", "OF_VARIANT", "OF_GATES"):  # which would look for the tasks
        monkeypatch.setattr(figures, table_of_figures, {})
    rows = pd.concat([frame(5), frame(6).assign(method_settings="recipe=plain")])
    names = [
        path.name for path in figures.draw_all(rows, nothing(), tmp_path) if path.name.startswith("crit")
    ]
    stems = ("critical_difference-mmd", "critical_difference-mmd-recipe=plain")
    assert names == [f"{stem}.{ending}" for stem in stems for ending in ("pdf", "png")]
