"""The numbers of a report: selections of the leaderboard, means over places, what is compared with what."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from graybench.benchmark.analysis.ranking import places_of, ranks
from graybench.benchmark.report.contests import contests
from graybench.benchmark.report.leaderboard import board_of
from graybench.benchmark.report.numbers import number
from graybench.benchmark.report.points import costs_of, points_of, with_ranks
from graybench.benchmark.report.report import Report
from graybench.benchmark.report.scores import costs_as_scores, means, scores_of
from graybench.benchmark.report.site import write_site
from graybench.benchmark.report.sources import in_common, read_sources
from graybench.benchmark.running.rows import DTYPES, with_variants
from graybench.tasks.errors import UserError
from graybench.tests.benchmark.conftest import made_up


def board(frame: pd.DataFrame) -> dict[str, Any]:
    rows = with_variants(frame[frame["time"].isna()])
    places = {metric: places_of(rows, metric) for metric in ("score_error", "mmd")}
    return board_of(rows, costs_of(rows), places)


def test_the_leaderboard_has_the_ranks_of_every_selection() -> None:
    frame, found = made_up(), board(made_up())

    def shown(scope: str, budget: str, metric: str) -> dict[str, str]:
        record = found["found"][found["selections"][""][scope][budget]]
        methods = [found["methods"][k] for k in record["methods"]]
        return dict(zip(methods, record["rank"][metric], strict=True))

    def text(line: Any) -> str:
        ends = "" if line.low != line.low else f" [{number(line.low)},\xa0{number(line.high)}]"
        return number(line.rank) + ends

    of_budget = frame[frame["budget"] == 100]
    for scope, budget, rows in (
        ("", "", frame),
        ("", "100", of_budget),
        ("task:galton", "", frame[frame["task"] == "galton"]),
        ("task:galton", "100", of_budget[of_budget["task"] == "galton"]),
        ("can:marginal_score", "", frame[frame["task"] != "elsewhere"]),
    ):
        for metric in ("mmd", "score_error"):
            expected = {line.label: text(line) for line in ranks(rows, metric).itertuples()}
            assert shown(scope, budget, metric) == expected, (scope, budget, metric)


def table(*lines: tuple[str, str, int, list[list[float]]]) -> pd.DataFrame:
    """Rows of a metric: task, method and budget with values (replicates, observations).

    A replicate took 10 seconds to fit and 2 to sample.
    """
    records = [
        {"task": task, "variant": "", "budget": budget, "label": label, "metric": "mmd", "status": "ok"}
        | {"replicate": r, "observation": o, "value": value, "cell": f"{task} {label} {budget}"}
        | {"fit_seconds": 10.0 * len(values), "sample_seconds": 2.0 * len(values)}
        for task, label, budget, values in lines
        for r, row in enumerate(values)
        for o, value in enumerate(row)
    ]
    return pd.DataFrame(records)


def test_means_are_over_places_that_all_have() -> None:
    def same(value: float) -> list[list[float]]:
        return [[value], [value]]

    rows = table(
        *[("a", "x", n, same(v)) for n, v in ((1, 1.0), (2, 3.0), (3, 7.0), (4, 9.0))],
        *[("a", "y", n, same(v)) for n, v in ((1, 4.0), (2, 16.0), (4, 1.0))],
        ("a", "z", 2, same(5.0)),
    )
    scores = scores_of(rows, ["x", "y", "z"], "mmd")
    found = means(scores, geometric=False)
    assert [mean.value for mean in found] == pytest.approx([13 / 3, 7, 5])
    assert [mean.low for mean in found] == pytest.approx([13 / 3, 7, 5])  # all replicates agree
    assert [mean.partial for mean in found] == [False, False, True]
    assert means(scores, geometric=True)[1].value == pytest.approx(4)
    bad = rows.assign(status=np.where((rows["label"] == "y") & (rows["budget"] == 4), "failed", "ok"))
    assert means(scores_of(bad[bad["label"] != "z"], ["x", "y"], "mmd"), geometric=False)[
        0
    ].value == pytest.approx(2)


def test_intervals_of_means_are_over_replicates_observations_and_tasks() -> None:
    random = np.random.default_rng(3)
    one = random.normal(size=(5, 4))
    alone = means(scores_of(table(("a", "x", 1, one.tolist())), ["x"], "mmd"), geometric=False)[0]
    # the standard deviation of the crossed bootstrap: rows, columns, and what is left
    rows, columns = one.mean(1).var() / 5, one.mean(0).var() / 4
    rest = (one - one.mean(1, keepdims=True) - one.mean(0) + one.mean()).var() / 20
    width = 2 * 1.96 * (rows + columns + rest) ** 0.5
    # of 2,000 nearly normal draws, each end is known to 3 % of the width: beyond 10 % in 3 of 100 seeds
    assert alone.high - alone.low == pytest.approx(width, rel=0.1)
    shifted = [(task, "x", 1, [[k, k], [k, k]]) for k, task in enumerate("abcd")]
    over = means(scores_of(table(*shifted), ["x"], "mmd"), geometric=False)[0]
    # no spread inside a task: four tasks drawn from four, of which all are 0 or 3 in 2/256 < 2.5 %
    assert over.value == 1.5
    assert 0 < over.low < 1 < 2 < over.high < 3


def test_a_cost_on_one_task_has_no_interval() -> None:
    costs = pd.DataFrame(
        {"task": ["a", "a", "b"], "variant": "", "budget": [1, 2, 1], "label": ["x", "y", "y"]}
    )
    scores = costs_as_scores(costs.assign(fit_seconds=[2.0, 4.0, 6.0]), ["x", "y"], "fit_seconds")
    x, y = means(scores, geometric=False)
    assert (x.value, y.value) == (2, 5)
    assert np.isnan(x.low)
    assert (y.low, y.high) == (4, 6)


def test_methods_are_compared_on_what_all_of_them_have() -> None:
    rows = table(
        ("a", "x", 1, [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
        ("a", "y", 1, [[1.0], [2.0]]),
        ("a", "z", 1, [[1.0]]),
        ("b", "x", 1, [[1.0], [2.0]]),
    )
    rows.loc[rows["label"] == "z", "status"] = "failed"
    kept = in_common(rows)
    assert kept.loc[(kept["task"] == "a") & (kept["label"] == "x"), "value"].tolist() == [1, 3]
    assert kept.loc[kept["label"] == "y", "value"].tolist() == [1, 2]
    assert len(kept[kept["label"] == "z"]) == 1
    assert len(kept[kept["task"] == "b"]) == 2
    seconds = kept.groupby(["task", "label"])[["fit_seconds", "sample_seconds"]].agg(set)
    assert seconds.loc[("a", "x")].tolist() == [{20.0}, {4.0}]  # of the two replicates in common
    assert seconds.loc[("b", "x")].tolist() == [{20.0}, {4.0}]


def test_folders_with_other_root_seeds_are_not_mixed(made_up_folder: Path, tmp_path: Path) -> None:
    other = made_up().assign(method="other", root_seed=2).astype(DTYPES)
    other.to_parquet(tmp_path / "table.parquet")
    with pytest.raises(UserError, match="galton have different root seeds"):
        read_sources([made_up_folder, tmp_path])
    made_up().assign(status="failed").astype(DTYPES).to_parquet(tmp_path / "table.parquet")
    with pytest.raises(UserError, match="no cell gave a result"):
        read_sources([tmp_path])


def test_p_values_are_shown_but_not_ranked(tmp_path: Path) -> None:
    frame = made_up()
    averages = frame[frame["time"].isna() & (frame["metric"] == "mmd")]
    p_values = averages.assign(metric="sbc", floor=np.nan, observation=pd.NA).drop_duplicates(
        ["cell", "replicate"]
    )
    pd.concat([frame, p_values], ignore_index=True).astype(DTYPES).to_parquet(tmp_path / "table.parquet")
    report = Report([tmp_path])
    assert set(report.places) == {"score_error", "mmd"}
    own = report.points[report.points["metric"] == "sbc"]
    assert own["value"].notna().any()
    assert own["rank"].isna().all()


@pytest.mark.parametrize(
    ("metric", "time", "sentence"),
    [
        ("mmd_squared", np.nan, "mmd_squared is not reported, as mmd says the same; add mmd to the metrics."),
        (
            "target_variance",
            0.5,
            r"all metrics are resolved in diffusion time \(target_variance\); `graybench",
        ),
    ],
)
def test_what_a_report_does_not_show_is_named(
    metric: str, time: float, sentence: str, tmp_path: Path
) -> None:
    frame = made_up()
    only = frame[(frame["metric"] == "mmd")].assign(metric=metric, time=time).reset_index(drop=True)
    only.astype(DTYPES).to_parquet(tmp_path / "table.parquet")
    with pytest.raises(UserError, match=sentence):
        read_sources([tmp_path])


def test_wins_and_losses_are_beyond_noise() -> None:
    random = np.random.default_rng(4)
    base = random.lognormal(0, 0.2, (5, 4))
    rows = table(("a", "x", 1, base.tolist()), ("a", "y", 1, (2 * base).tolist()))
    rows = rows.assign(reason="", cell="c", folder="f", floor=0.0)
    points = with_ranks(points_of(rows), {"mmd": places_of(_plain(rows), "mmd")})
    found = contests(rows, points)
    assert (found["x"][0]["verdict"], found["y"][0]["verdict"]) == ("wins", "loses")
    assert found["x"][0]["ratio"] == pytest.approx(0.5)
    assert found["x"][0]["ratio_low"] == pytest.approx(0.5)  # paired: the noise of both is the same
    once = rows[rows["replicate"] == 0]
    points = with_ranks(points_of(once), {"mmd": places_of(_plain(once), "mmd")})
    assert contests(once, points)["x"][0]["verdict"] == "unknown"


def test_only_the_newest_version_of_a_method_counts(made_up_folder: Path, tmp_path: Path) -> None:
    frame = made_up()
    newer = frame[(frame["method"] == "mix") & (frame["budget"] == 100)].assign(method_version=2, value=99.0)
    newer = newer[newer["metric"] == "mmd"]
    newer.astype(DTYPES).to_parquet(tmp_path / "table.parquet", index=False)
    rows, (old, new) = read_sources([made_up_folder, tmp_path])
    mix = rows[rows["method"] == "mix"]
    at_100 = mix[mix["budget"] == 100]
    assert set(at_100["metric"]) == {"mmd"}  # the newer version has no score error here
    assert (at_100["value"] == 99).all()
    assert len(at_100) == len(newer)
    assert len(rows) - len(mix) == (frame["method"] != "mix").sum()
    assert len(mix) - len(at_100) == ((frame["method"] == "mix") & (frame["budget"] != 100)).sum()
    assert (old.older, old.left_out) == ({"mix v1": 6}, 0)  # three tasks, two gates
    assert (new.older, new.left_out) == ({}, 0)
    write_site([made_up_folder, tmp_path], tmp_path / "site")
    page = (tmp_path / "site/provenance.html").read_text()
    assert "6 cells of mix v1 left out, as a newer version of the method" in page
    assert "mix v2" in page
    assert (tmp_path / "site/tasks/galton.html").read_text().count(">99</a>") == 2


def _plain(rows: pd.DataFrame) -> pd.DataFrame:
    """The same rows as a result table."""
    return rows.assign(time=np.nan, method=rows["label"], method_settings="")


def test_a_result_that_two_folders_have_counts_once(made_up_folder: Path, tmp_path: Path) -> None:
    more = made_up().assign(value=99.0)
    more = pd.concat([more, more[more["metric"] == "mmd"].assign(metric="c2st_mlp")], ignore_index=True)
    more.astype(DTYPES).to_parquet(tmp_path / "table.parquet")
    rows, sources = read_sources([made_up_folder, tmp_path])
    assert len(rows) == len(made_up()) + (made_up()["metric"] == "mmd").sum()
    assert (rows.loc[rows["value"] == 99, "metric"] == "c2st_mlp").all()
    assert [source.left_out for source in sources] == [0, 48]
