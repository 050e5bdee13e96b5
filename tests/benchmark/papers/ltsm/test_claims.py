"""Claims about mixtures and weights against hand-made tables with known answers."""

import numpy as np
import pandas as pd
import pytest

from graybench.benchmark.analysis.comparison import ratios
from graybench.benchmark.papers.ltsm import claims, weights
from graybench.benchmark.running.rows import DTYPES

TIMES = (0.001, 0.1, 0.5, 1.0)


def table(rows):
    return pd.DataFrame(rows).reindex(columns=list(DTYPES)).astype(DTYPES)


def rows(
    metric,
    value,
    *,
    task="galton",
    method="mix",
    settings="",
    budget=100,
    times=(None,),
    replicates=3,
    grows=True,
):
    """Rows of a metric for all replicates, two observations and times; a value may be a function of t."""
    made = []
    for replicate in range(replicates):
        for time in times:
            at = {"task": task, "method": method, "method_settings": settings, "budget": budget}
            at |= {"replicate": replicate, "metric": metric, "status": "ok", "time": time}
            number = value(time) if callable(value) else value
            # shared by all methods, so that paired ratios have no spread
            scaled = number * (1 + replicate) if grows else number
            if metric in ("mmd", "score_error"):
                made += [{**at, "observation": o, "value": scaled} for o in range(2)]
            else:
                made.append({**at, "value": scaled if "variance" in metric else number})
    return made


def failed(metric, **at):
    """The row of a cell that gave no result."""
    return {"metric": metric, "status": "failed", "reason": "diverged", "method_settings": "", **at}


def variances():
    """DSM 1/t, LTSM 10 t, MIX the lower of both but for a tenth more at t = 0.5."""
    of = {
        "dsm": lambda t: 1 / t,
        "ltsm": lambda t: 10 * t,
        "mix": lambda t: min(1 / t, 10 * t) * (1.1 if t == 0.5 else 1),
    }
    return table(
        [r for m, value in of.items() for r in rows("target_variance", value, method=m, times=TIMES)]
    )


def test_variances_of_targets_over_time():
    made = variances()
    (dsm,), (ltsm,) = claims.dsm_variance_rises(made), claims.ltsm_variance_rises(made)
    assert dsm.found == pytest.approx((0.01,) * 3)  # 1/0.1 over 1/0.001
    assert ltsm.found == pytest.approx((0.1,) * 3)
    least, early = claims.ltsm_variance_is_low(made)
    assert least.found == pytest.approx((1e-5,) * 3)
    assert early.found == pytest.approx((0.1,) * 3)  # 1 over 10, at t = 0.1
    (mix,) = claims.keeps_the_best("mix")(made)
    assert mix.found == pytest.approx((1.1,) * 3)
    assert (dsm.verdict, mix.verdict) == ("holds", "fails")
    assert list(claims.elsewhere(claims.dsm_variance_rises)(made)) == []


@pytest.mark.parametrize(
    ("method", "lost"),
    [
        ("dsm", {"dsm_rises": 1, "ltsm_low": 2, "keeps": 1}),
        ("ltsm", {"ltsm_rises": 1, "ltsm_low": 2, "keeps": 1}),
        ("mix", {"keeps": 1}),
    ],
)
def test_variances_of_a_method_that_failed_are_no_result_and_stay_in_sight(method, lost):
    made = variances()
    gone = table([failed("target_variance", task="galton", method=method, budget=100)])
    made = pd.concat([made[made["method"] != method], gone])
    found = {
        "dsm_rises": claims.dsm_variance_rises(made),
        "ltsm_rises": claims.ltsm_variance_rises(made),
        "ltsm_low": claims.ltsm_variance_is_low(made),
        "keeps": claims.keeps_the_best("mix")(made),
    }
    verdicts = {name: [finding.verdict for finding in each] for name, each in found.items()}
    assert {n: v.count("no result") for n, v in verdicts.items() if "no result" in v} == lost
    assert {n: len(v) for n, v in verdicts.items()} == {
        "dsm_rises": 1, "ltsm_rises": 1, "ltsm_low": 2, "keeps": 1,
    }  # fmt: skip


def test_methods_are_compared_at_every_budget():
    means = {("mix", 100): 3.0, ("dsm", 100): 4.0, ("mix", 1000): 2.0, ("dsm", 1000): 4.0}
    made = table([r for (m, n), v in means.items() for r in rows("mmd", v, method=m, budget=n, replicates=5)])
    found = {f.budget: f for f in claims.against("mmd", "mix", "dsm")(made)}
    assert found[100].found == pytest.approx((0.75,) * 3)
    assert "5 replicates" in found[100].claim
    assert found[1000].found == pytest.approx((0.5,) * 3)


def test_errors_between_times_are_averaged_over_them_alone():
    made = table([r for m, value in (("mix", lambda t: t), ("ltsm", lambda t: 2.0))
                  for r in rows("score_error", value, method=m, times=TIMES)])  # fmt: skip
    (found,) = claims.between_times(0.5, 1, "mix", "ltsm")(made)
    assert found.found == pytest.approx((0.375,) * 3)


def test_fewer_simulations_are_compared_with_the_next_budget():
    errors = {("mix", 100): 3.0, ("dsm", 100): 8.0, ("mix", 300): 1.0, ("dsm", 300): 6.0}
    made = table([r for (m, n), v in errors.items() for r in rows("score_error", v, method=m, budget=n)])
    (found,) = claims.fewer_simulations(made)
    assert found.found == pytest.approx((0.5,) * 3)
    assert (found.budget, found.claim) == (100, "galton: score_error of mix / of dsm with 300")


def test_the_gap_is_that_of_the_largest_budget_less_that_of_the_smallest():
    values = {("mix", 100): 1.0, ("dsm", 100): 4.0, ("mix", 1000): 1.0, ("dsm", 1000): 2.0}
    made = [r for (m, n), v in values.items() for r in rows("mmd", v, method=m, budget=n)]
    made += rows("target_variance", 1.0, method="dsm", times=TIMES)
    (found,) = claims.gap_shrinks(table(made))
    assert found.found.value == pytest.approx((1 - 3) * 2)  # replicates scale by 1, 2 and 3
    assert found.found.low == pytest.approx(-6, abs=0.01)  # the percentile of draws of three replicates
    assert found.verdict == "holds"


def test_over_tasks_the_mean_is_geometric_and_counts_are_of_what_is_shown():
    ratio = {"a": 0.25, "b": 0.5, "c": 2.0}
    made = [r for task, v in ratio.items() for r in rows("mmd", v, task=task, grows=False)]
    made += [r for task in ratio for r in rows("mmd", 1.0, task=task, method="dsm", grows=False)]
    mean, worse, better = claims.over_tasks("mmd", "mix", "dsm")(table(made))
    assert mean.found.value == pytest.approx(0.25 ** (1 / 3))
    logs = np.log([0.25, 0.5, 2.0])
    reach = 4.302653 * logs.std(ddof=1) / 3**0.5  # Student's t of two degrees of freedom
    assert mean.found.high == pytest.approx(np.exp(logs.mean() + reach), rel=1e-6)
    assert (worse.found.value, worse.verdict) == (1, "fails")
    assert better.found.value == pytest.approx(2 / 3)


@pytest.mark.parametrize(("tasks", "shown"), [("a", 1), ("ab", 0)])
def test_what_one_task_shows_alone_two_do_not_show_together(tasks, shown):
    """MIX is worse with p between 0.05/2 and 0.05, which is what Holm's rule asks of two and of one."""
    at = {"metric": "mmd", "budget": 100, "observation": 0, "status": "ok", "method_settings": ""}
    made = [
        {**at, "task": task, "method": method, "replicate": r, "value": 1.0 + (method == "mix") * excess}
        for task in tasks
        for method in ("mix", "dsm")
        for r, excess in enumerate((0.9, 0.3, 0.6, 0.3))
    ]
    (p,) = {*ratios(table(made), "mmd", "mix", "dsm")["p"]}
    assert 0.025 < p < 0.05
    _, worse, better = claims.over_tasks("mmd", "mix", "dsm")(table(made))
    assert (worse.found.value, better.found.value) == (shown, 0)


def test_a_task_without_a_result_is_counted_and_may_be_on_either_side():
    made = [r for task in "abc" for r in rows("mmd", 0.5, task=task, grows=False)]
    made += [r for task in "abcd" for r in rows("mmd", 1.0, task=task, method="dsm", grows=False)]
    made.append(failed("mmd", task="d", method="mix", budget=100))
    mean, worse, better = claims.over_tasks("mmd", "mix", "dsm")(table(made))
    assert mean.found == pytest.approx((0.5,) * 3)
    assert "over 3 of 4 tasks" in mean.claim
    assert (worse.found, worse.verdict) == ((0, 0, 1), "open")
    assert better.found.value == 0.75
    made = rows("excess_variance", -1.0, task="a", grows=False)
    made.append(failed("excess_variance", task="b", method="mix", budget=100))
    worse, better = claims.variance_improves(table(made))
    assert (worse.found, worse.verdict) == ((0, 0, 1), "open")
    assert better.found.value == 0.5


def test_one_budget_shows_no_trend_and_a_failure_at_an_end_is_no_result():
    made = [r for m in ("mix", "dsm") for r in rows("mmd", 2.0, method=m)]
    made += rows("target_variance", 1.0, method="dsm", times=TIMES)
    assert list(claims.few_simulations_gain_more(table(made))) == []
    assert list(claims.gap_shrinks(table(made))) == []
    made += rows("mmd", 2.0, method="dsm", budget=1000)
    made.append(failed("mmd", task="galton", method="mix", budget=1000))
    (found,) = claims.gap_shrinks(table(made))
    assert found.verdict == "no result"


def test_few_simulations_gain_more_if_ratios_grow_with_the_budget():
    made = []
    for task in "ab":
        for n, value in ((100, 0.5), (1000, 0.8)):
            made += rows("mmd", value, task=task, budget=n)
            made += rows("mmd", 1.0, task=task, method="dsm", budget=n)
    (found,) = claims.few_simulations_gain_more(table(made))
    assert found.found == pytest.approx((0.625,) * 3)


def test_variance_improves_where_the_excess_is_negative():
    made = [
        r
        for task, v in (("a", -1.0), ("b", -0.5), ("c", 0.5))
        for r in rows("excess_variance", v, task=task, grows=False)
    ]
    worse, better = claims.variance_improves(table(made))
    assert (worse.found.value, better.found.value) == (1, pytest.approx(2 / 3))


def test_the_board_overlaps_less_than_half():
    (found,) = claims.board_differs()
    assert 0 < found.found.value < 0.5  # the sum of the lower of two distributions


def optimal(tasks):
    made = [r for task, w in tasks.items() for r in rows("optimal_weight", w, task=task, times=TIMES)]
    return table(made)


def test_the_optimal_weight_is_held_at_both_ends():
    (start, end) = weights.optimal_weight_rises(optimal({"galton": lambda t: t**0.5}))
    assert start.found == pytest.approx((0.001**0.5,) * 3)
    assert end.found == pytest.approx((0, 0, 0))
    made = optimal({"galton": lambda t: t, "hard": lambda t: 0.5 + t / 4})
    found = list(weights.optimal_weight_rises(made))
    assert [f.found.value for f in found[2:]] == [1, 1]
    (fall,) = weights.optimal_weight_never_falls(made)
    assert fall.found.value == 0
    (fall,) = weights.optimal_weight_never_falls(optimal({"galton": lambda t: 1 - t}))
    assert fall.found.value == pytest.approx(0.5)


def test_the_learned_weight_is_held_by_its_distance():
    made = []
    for task, off in (("galton", 0.01), ("hard", 0.07), ("harder", 0.2)):
        same = {"task": task, "settings": "gate=learned", "times": TIMES}
        made += rows("optimal_weight", lambda t: t, **same) + rows(
            "learned_weight", lambda t, o=off: t + o, **same
        )
    mean, largest = weights.learned_weight_tracks(table(made))
    assert mean.found == pytest.approx((0.01,) * 3)
    assert largest.found == pytest.approx((0.01,) * 3)
    mean, largest = weights.learned_weight_tracks_on_all_tasks(table(made))
    assert (mean.found.value, largest.found.value) == (2, 1)  # beyond 0.05, and beyond 0.1


def test_a_weight_without_a_result_is_not_taken_for_one_that_tracks():
    same = {"settings": "gate=learned", "times": TIMES}
    made = [r for which in ("learned", "optimal") for r in rows(f"{which}_weight", lambda t: t, **same)]
    lost = {"task": "lost", "method": "mix", "method_settings": "gate=learned", "budget": 100}
    made += [failed(f"{which}_weight", **lost) for which in ("learned", "optimal")]
    for found in weights.learned_weight_tracks_on_all_tasks(table(made)):
        assert (found.found, found.verdict) == ((0, 0, 1), "open")


def test_a_task_without_an_optimal_weight_is_not_taken_for_one_where_it_rises():
    made = [
        r for task in ("galton", "hard") for r in rows("optimal_weight", lambda t: t, task=task, times=TIMES)
    ]
    lost = failed("optimal_weight", task="lost", method="mix", budget=made[0]["budget"])
    found = list(weights.optimal_weight_rises(table([*made, lost])))
    assert [f.found for f in found[2:]] == [(0, 0, 1)] * 2
    (fall,) = weights.optimal_weight_never_falls(table([*made, lost]))
    assert fall.verdict == "no result"


@pytest.mark.parametrize(
    ("tasks", "rises"), [(["galton"], 2), (["hard", "harder"], 2), (["galton", "hard"], 4)]
)
def test_optimal_weights_of_which_none_has_a_result_stay_in_sight(tasks, rises):
    lost = table([failed("optimal_weight", task=task, method="mix", budget=300) for task in tasks])
    found = list(weights.optimal_weight_rises(lost))
    assert len(found) == rises
    assert all(f.budget == 300 and f.verdict in ("no result", "open") for f in found)
    counted = [f.found for f in found if f.claim.startswith("number of")]
    assert counted == [(0, 0, len(tasks))] * (2 * (len(tasks) > 1))  # each may be one where it does not rise
    (fall,) = weights.optimal_weight_never_falls(lost)
    assert (fall.budget, fall.verdict) == (300, "no result")
    never_run = table(rows("optimal_weight", 0.5, method="dsm"))
    assert [*weights.optimal_weight_rises(never_run), *weights.optimal_weight_never_falls(never_run)] == []


def test_the_largest_distance_of_the_learned_weight_is_over_t():
    same = {"settings": "gate=learned", "times": TIMES}
    made = rows("optimal_weight", 0.5, **same) + rows(
        "learned_weight", lambda t: 0.8 if t < 0.01 else 0.5, **same
    )
    mean, largest = weights.learned_weight_tracks(table(made))
    assert largest.found == pytest.approx((0.3,) * 3)
    assert mean.found == pytest.approx((0.3 / 2 * 0.099 / 0.999,) * 3)  # a triangle from 0.001 to 0.1
    assert (mean.verdict, largest.verdict) == ("holds", "fails")


def test_the_variance_of_tsm_is_compared_with_that_of_ltsm_where_both_were_measured():
    of = {"tsm": lambda t: 3 * t, "ltsm": lambda t: 4 if t > 0.5 else 10 * t, "dsm": lambda t: 1 / t}
    made = [r for m, value in of.items() for r in rows("target_variance", value, method=m, times=TIMES)]
    (found,) = claims.tsm_has_less_variance(table(made))
    assert found.found == pytest.approx((0.75,) * 3)
    without = [r for r in made if r["method"] != "tsm"]
    assert list(claims.tsm_has_less_variance(table(without))) == []
    lost = failed("target_variance", task="galton", method="tsm", budget=100)
    assert [f.verdict for f in claims.tsm_has_less_variance(table([*without, lost]))] == ["no result"]
