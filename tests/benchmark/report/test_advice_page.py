"""The page of the best methods says what the table says, and links to the methods."""

import re
from pathlib import Path

import numpy as np

from graybench.benchmark.report.pages.advice import advice_page
from graybench.benchmark.report.report import Report
from graybench.tests.benchmark.conftest import made_up


def test_the_best_method_of_each_task_and_budget_is_the_one_of_least_mean(made_up_folder: Path) -> None:
    page = advice_page(Report([made_up_folder]))
    frame = made_up().query("metric == 'score_error' and status == 'ok' and time.isna()")
    label = frame["method"] + frame["method_settings"].map(lambda own: f"({own})" if own else "")
    means = frame.groupby(["task", "budget", label.rename("label")])["value"].mean()
    assert [line[:2] for line in page["lines"]] == [
        [[(task, f"tasks/{task}.html")], [(f"{budget:,}", "")]]
        for task in ("galton", "linear_gaussian", "elsewhere")
        for budget in (100, 1000)
    ]
    for line in page["lines"]:
        task, budget = line[0][0][0], int(line[1][0][0].replace(",", ""))
        own = means.loc[task, budget]
        ((text, href),) = line[2]
        assert text.split(" ")[0] == own.idxmin()
        assert float(text.split(" ")[1]) == float(f"{own.min():.3g}")
        assert href == f"methods/{re.sub('[^a-z]+', '-', own.idxmin()).strip('-')}.html"


def test_methods_that_are_told_from_the_best_are_not_listed_beside_it(tmp_path: Path) -> None:
    """LTSM's errors are six times MIX's. Two replicates tell them apart without much noise only."""
    noisy, noise = made_up(), np.random.default_rng(7)
    means = noisy.groupby(["task", "method", "method_settings", "budget", "metric"])["value"].transform(
        "mean"
    )
    clear = noisy.assign(value=means * noise.lognormal(0, 0.01, len(noisy)))
    beside = []
    for name, frame in (("noisy", noisy), ("clear", clear)):
        (tmp_path / name).mkdir()
        frame.to_parquet(tmp_path / name / "table.parquet", index=False)
        lines = advice_page(Report([tmp_path / name]))["lines"]
        beside.append({text for line in lines for text, _ in line[3]})
    assert "ltsm" in beside[0]
    assert "ltsm" not in beside[1]


def test_a_place_where_every_method_failed_has_no_line(tmp_path: Path) -> None:
    frame = made_up()
    gone = (frame["task"] == "galton") & (frame["budget"] == 100)
    frame.loc[gone, ["status", "reason", "value"]] = ["failed", "because", float("nan")]
    frame.to_parquet(tmp_path / "table.parquet")
    lines = advice_page(Report([tmp_path]))["lines"]
    assert [line[1] for line in lines if line[0][0][0] == "galton"] == [[("1,000", "")]]
