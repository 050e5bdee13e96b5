"""Average ranks against tables ranked by hand: ties, failures, what is skipped, and the intervals."""

import numpy as np
import pandas as pd
import pytest

from graybench.benchmark.analysis.ranking import ranks
from graybench.benchmark.metrics.catalogue import record_of
from graybench.tasks.errors import UserError
from graybench.tests.benchmark.analysis.test_table import failed, row, table


def cell(method: str, task: str, values: list[float], **columns: object) -> list[dict[str, object]]:
    """The rows of a cell with one observation."""
    return [row(method, 100, value, r, task=task, observation=0, **columns) for r, value in enumerate(values)]


def found(*cells: list[dict[str, object]], metric: str = "mmd") -> dict[str, tuple[object, ...]]:
    """Rank, low, high, places and failures of each method, best first."""
    lines = ranks(table(*[each for rows in cells for each in rows]), metric)
    assert list(lines.columns) == ["label", "rank", "low", "high", "places", "failures"]
    assert lines["rank"].is_monotonic_increasing
    return {label: tuple(rest) for label, *rest in lines.itertuples(index=False)}


def test_a_method_that_is_always_best_has_rank_1_and_no_spread() -> None:
    cells = [
        cell(method, task, [value + 0.1 * noise for noise in (0, 1, 2)])
        for task in ("a", "b", "c")
        for method, value in (("dsm", 1.0), ("mix", 0.5), ("tsm", 2.0))
    ]
    lines = found(*cells)
    assert lines == {"mix": (1, 1, 1, 3, 0), "dsm": (2, 2, 2, 3, 0), "tsm": (3, 3, 3, 3, 0)}


def test_the_mean_is_over_places_and_the_interval_over_tasks() -> None:
    lines = found(
        *[cell("dsm", task, [1.0, 1.0]) for task in "abcd"],
        *[cell("mix", task, [2.0, 2.0]) for task in "abc"],
        cell("mix", "d", [0.5, 0.5]),
    )
    assert lines["dsm"][0] == 1.25
    assert lines["mix"][0] == 1.75
    # replicates agree, so a draw is 1 + K/4 for K of B(4, ¼): P(K = 0) = 0.32, P(K ≤ 2) = 0.949 and
    # P(K ≤ 3) = 0.996, so its 97.5 percentile is at 3, from which 2,000 draws are seven standard errors away
    assert lines["dsm"][1:3] == (1.0, 1.75)
    assert lines["mix"][1:3] == (1.25, 2.0)


def test_budgets_of_a_task_are_drawn_together() -> None:
    budgets = range(1, 41)
    rows = [row("dsm", budget, 1.0, r) for budget in budgets for r in (0, 1)]
    # the means of two drawn replicates are 0, 1 or 2 at every budget alike: in a quarter of the draws mix is
    # first everywhere, in another last everywhere, so that neither end can be missed in 2,000 draws
    rows += [row("mix", budget, 2.0 * r, r) for budget in budgets for r in (0, 1)]
    assert found(rows) == {"dsm": (1.5, 1, 2, 40, 0), "mix": (1.5, 1, 2, 40, 0)}


def test_ties_share_the_mean_of_their_ranks() -> None:
    lines = found(*[cell(method, "a", [1.0, 3.0]) for method in ("dsm", "ltsm", "mix")])
    assert lines == dict.fromkeys(("dsm", "ltsm", "mix"), (2, 2, 2, 1, 0))


def test_what_failed_is_last_and_what_was_skipped_has_no_rank() -> None:
    one_bad = cell("tsm", "a", [0.1, 0.1])
    one_bad[1] |= {"value": float("nan"), "status": "not_finite"}
    lines = found(
        cell("dsm", "a", [1.0, 1.0]),
        cell("mix", "a", [2.0, 2.0]),
        one_bad,
        [failed("ltsm", 100, "timeout") | {"task": "a"}],
        [failed("npe", 100, "skipped") | {"task": "a"}],
    )
    assert lines == {
        "dsm": (1, 1, 1, 1, 0),
        "mix": (2, 2, 2, 1, 0),
        "ltsm": (3.5, 3.5, 3.5, 1, 1),
        "tsm": (3.5, 3.5, 3.5, 1, 1),
    }


def test_where_all_failed_they_tie() -> None:
    lines = found(
        cell("dsm", "a", [1.0, 1.0]),
        cell("mix", "a", [2.0, 2.0]),
        *[[failed(method, 100, "failed") | {"task": "b"}] for method in ("dsm", "mix")],
    )
    assert lines["dsm"] == (
        1.25,
        1,
        1.5,
        2,
        1,
    )  # (1 + 1½)/2, and both tasks are drawn alone in ¼ of the draws
    assert lines["mix"] == (1.75, 1.5, 2, 2, 1)


def test_a_place_with_one_method_says_nothing() -> None:
    lines = found(
        cell("dsm", "a", [1.0, 1.0]),
        cell("mix", "a", [2.0, 2.0]),
        cell("mix", "a", [0.1, 0.1], method_settings="recipe=plain"),
        cell("mix", "b", [0.1, 0.1]),
    )
    assert lines == {"dsm": (1, 1, 1, 1, 0), "mix": (2, 2, 2, 1, 0)}
    assert found(cell("dsm", "a", [1.0])) == {}


def test_renaming_methods_renames_the_ranks() -> None:
    random = np.random.default_rng(4)
    values = {(m, t): random.uniform(size=3).tolist() for m in "pqr" for t in "abcde"}
    names = {"p": "q", "q": "r", "r": "p"}
    lines = found(*[cell(m, t, value) for (m, t), value in values.items()])
    renamed = found(*[cell(names[m], t, value) for (m, t), value in values.items()])
    assert renamed == {names[m]: line for m, line in lines.items()}


def test_one_replicate_has_ranks_without_intervals() -> None:
    (_, low, high, *_), _ = found(cell("dsm", "a", [1.0]), cell("mix", "a", [2.0])).values()
    assert np.isnan([low, high]).all()


def test_each_method_is_ranked_in_the_same_draws() -> None:
    # mix is the better by a little in every replicate, while replicates differ by a lot
    lines = found(cell("dsm", "a", [1.0, 10.0, 100.0]), cell("mix", "a", [0.9, 9.9, 99.9]))
    assert lines["mix"][:3] == (1, 1, 1)


def test_the_order_is_by_distance_from_perfect() -> None:
    c2st = {"metric": "c2st_mlp"}
    cells = [cell(m, "a", [v, v], **c2st) for m, v in (("dsm", 0.53), ("ltsm", 0.48), ("mix", 0.9))]
    assert list(found(*cells, metric="c2st_mlp")) == ["ltsm", "dsm", "mix"]
    assert record_of("ess_fraction").distance(np.array([0.2, 1.0])) == pytest.approx([0.8, 0])
    # of an excess over DSM, less than nothing is better than nothing
    assert record_of("excess_variance").distance(np.array([-0.5, 0.0])).tolist() == [-0.5, 0.0]


def test_intervals_cover_the_rank_by_true_means() -> None:
    """Three methods with true means 0, 1 and 2 on average, and tasks and replicates that differ as much."""
    random, covered = np.random.default_rng(8), []
    true = random.standard_normal((100_000, 3)) + np.arange(3)
    wanted = true.argsort(1).argsort(1).mean(0) + 1
    for _ in range(15):
        means = random.standard_normal((10, 3)) + np.arange(3)
        lines = found(
            *[
                cell(f"m{k}", f"t{t}", (means[t, k] + random.standard_normal(5)).tolist())
                for t, k in np.ndindex(10, 3)
            ]
        )
        covered += [lines[f"m{k}"][1] <= wanted[k] <= lines[f"m{k}"][2] for k in range(3)]
    # In 150 tables they covered 0.96 of the time; the share of a table's three has standard deviation 0.14,
    # so that 15 tables of another seed are four standard errors lower once in 30,000 times.
    assert np.mean(covered) >= 0.96 - 4 * 0.14 / 15**0.5


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(UserError, match="no metric 'mdm' to average: did you mean mmd"):
        ranks(pd.DataFrame(table(row("dsm", 100, 1.0))), "mdm")
