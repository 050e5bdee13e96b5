"""The criteria, on tables whose answer is known."""

import pandas as pd
import pytest

from graybench.benchmark.choices.report import (
    chosen_size,
    chosen_threshold,
    excesses,
    over_tasks,
    report,
    summary_excesses,
)
from graybench.benchmark.choices.stopping import CAP, METHODS, THRESHOLDS
from graybench.tasks.errors import UserError


def losses(excess):
    """Return a table with a loss of 2 at the cap; replicates have the given excess −1 %, ±0 and +1 %."""
    found = []
    for task in ("a", "b"):
        for method in METHODS:
            for share in (*THRESHOLDS, CAP):
                for r, shift in enumerate((-0.01, 0.0, 0.01)):
                    loss = 2.0 if share == CAP else 2 * (1 + excess(share, method, task) + shift)
                    fit = {"task": task, "method": method, "budget": 1000, "replicate": r}
                    found.append(fit | {"threshold": share, "step": 100, "cpu_seconds": 1.0, "loss": loss})
    return pd.DataFrame(found)


@pytest.mark.parametrize(
    ("excess", "chosen"),
    [
        (lambda share, method, task: 0.0, 0.02),
        (lambda share, method, task: share, 0.01),  # 2 % is over 1 % on average
        (lambda share, method, task: 0.0 if task == "a" else 4 * share, 0.005),  # 1 % has 4 % on task b
        (lambda share, method, task: 0.0 if method == "dsm" else 3 * share, 0.0025),  # each method counts
        (lambda share, method, task: -0.05 if task == "a" else 2 * share, 0.01),
        (lambda share, method, task: 0.02, None),
    ],
)
def test_the_largest_threshold_that_fulfils_the_criterion_is_chosen(excess, chosen):
    def shrunk(share, method, task):
        return excess(share, method, task) * 0.999  # away from equality, which rounding would decide

    assert chosen_threshold(over_tasks(excesses(losses(shrunk)))) == chosen


def test_excesses_are_means_over_replicates_and_then_over_tasks():
    by_task = excesses(losses(lambda share, method, task: share if task == "a" else 3 * share))
    one = by_task[(by_task["threshold"] == 0.01) & (by_task["method"] == "mix")].set_index("task")
    assert one["excess"].tolist() == pytest.approx([0.01, 0.03])
    assert one["stderr"].tolist() == pytest.approx([0.01 / 3**0.5] * 2)
    means = over_tasks(by_task).set_index(["threshold", "method"]).loc[(0.01, "mix")]
    assert means["excess"] == pytest.approx(0.02)
    assert means["stderr"] == pytest.approx(0.01 / 6**0.5)
    assert (means["largest"], means["where"]) == (pytest.approx(0.03), "b")


@pytest.mark.parametrize(
    ("excess", "size"),
    [
        ({4: -0.1, 10: -0.1, 50: -0.1}, 0),
        ({4: 0.1, 10: 0.1, 50: 0.1}, 50),
        ({4: 0.1, 10: -0.05, 50: -0.1}, 4),
        ({4: -0.01, 10: 0.05, 50: -0.1}, 10),  # at 4 it would do, but one size must do for all
        ({4: 0.1, 10: 0.009, 50: -0.1}, 4),  # 0.9 % is not counted
    ],
)
def test_short_is_the_largest_size_at_which_the_summary_alone_is_worse(excess, size):
    assert chosen_size(pd.DataFrame({"size": [*excess], "excess of summary": [*excess.values()]})) == size


def summary_losses(*replicates):
    fit = {"task": "a", "size": 4, "budget": 10}
    return pd.DataFrame(
        fit | {"replicate": r, "learns_from": way, "loss": loss}
        for r, losses in enumerate(replicates)
        for way, loss in zip(("x", "summary", "both"), losses, strict=True)
    )


def test_excesses_over_x_are_paired_by_replicate():
    (row,) = summary_excesses(summary_losses((1.0, 0.5, 0.9), (2.0, 1.2, 1.6))).to_dict("records")
    assert [row["x"], row["summary"], row["both"]] == pytest.approx([1.5, 0.85, 1.25])
    assert row["excess of summary"] == pytest.approx(-0.45)
    assert row["stderr of the excess of summary"] == pytest.approx(0.05)
    assert row["excess of both"] == pytest.approx(-0.15)
    assert row["stderr of the excess of both"] == pytest.approx(0.05)


def test_files_of_a_folder_are_merged(tmp_path):
    whole = losses(lambda share, method, task: 0.9 * share)
    for task, own in whole.groupby("task"):
        own.to_csv(tmp_path / f"stopping-{task}.csv", index=False)
    text = report(tmp_path)
    assert "1 % is the largest threshold that fulfils the criterion." in text
    assert "| 2 % | dsm | 1,000 | 1.8 % | 0.408 % | 1.8 % | a | 100 | 1 |" in text
    assert "SHORT" not in text
    summary_losses((1.0, 0.8, 0.9)).to_csv(tmp_path / "summaries-a.csv", index=False)
    assert "SHORT is 0 by the criterion." in report(tmp_path)


def test_a_folder_without_files_is_refused(tmp_path):
    with pytest.raises(
        UserError,
        match=r"there is no stopping\*\.csv, no summaries\*\.csv and no summary_training\*\.csv here",
    ):
        report(tmp_path)
