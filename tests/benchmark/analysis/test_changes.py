"""What changed between two runs: nothing where they are alike, and each kind of change where it was made."""

import io

import numpy as np
import pandas as pd
from rich.console import Console

from graybench.benchmark.analysis.changes import changes, print_changes, summary
from graybench.tests.benchmark.analysis.test_table import failed, row, table

REPLICATES = 5


def run(seed: int = 0, **columns: object) -> pd.DataFrame:
    """Two methods on three tasks at two budgets, with noise that each replicate of a task brings to all."""
    random = np.random.default_rng(seed)
    noise = random.standard_normal((3, 2, 2, REPLICATES))
    return table(
        *[
            row(method, budget, noise[t, m, b, r], r, task=f"t{t}", root_seed=1, task_version=1, **columns)
            for t in range(3)
            for m, method in enumerate(("dsm", "mix"))
            for b, budget in enumerate((100, 1000))
            for r in range(REPLICATES)
        ]
    )


def at(frame: pd.DataFrame, task: str, method: str, budget: int) -> "pd.Series[bool]":
    return (frame["task"] == task) & (frame["method"] == method) & (frame["budget"] == budget)


def said(a: pd.DataFrame, b: pd.DataFrame) -> str:
    out = io.StringIO()
    print_changes(a, b, "mmd", ["old", "new"], Console(file=out, width=200))
    return out.getvalue()


def test_identical_runs_have_nothing_beyond_noise() -> None:
    found = changes(run(), run().sample(frac=1, random_state=0), "mmd")
    assert (found["kind"] == "same").all()
    assert len(found) == 12
    assert not found[["beyond", "holm"]].any(axis=None)
    assert (found["difference"] == 0).all()
    assert summary(found) == [
        "12 cells: 0 only in A, 0 only in B, 0 with another status, 0 without a value in both, "
        "12 equal to the last digit, 0 that differ."
    ]


def test_a_shifted_cell_is_found_and_no_other() -> None:
    shifted = run()
    shifted.loc[at(shifted, "t1", "mix", 1000), "value"] += 0.01
    found = changes(run(), shifted, "mmd")
    (change,) = found[found["kind"] == "differs"].itertuples()
    assert (change.task, change.label, change.budget) == ("t1", "mix", 1000)
    # every replicate moved alike, so that the paired difference has no spread, small as it is beside noise
    assert np.allclose([change.difference, change.low, change.high], 0.01)
    assert change.paired
    assert change.beyond
    assert change.holm
    out = " ".join(said(run(), shifted).split())
    assert "+0.01 [+0.01, +0.01] **" in out
    assert "A: old. B: new." in out
    assert (
        "about 0.1 (5 %) are expected beyond noise by chance; 1 are, 0.9 more than expected, and 1 remain"
        in out
    )


def test_another_root_seed_is_not_paired() -> None:
    other = run().assign(root_seed=2)
    other["value"] += 0.01
    found = changes(run(), other, "mmd")
    assert not found[["paired", "beyond"]].any(axis=None)
    assert (found["kind"] == "differs").all()
    assert not changes(run(), run().assign(task_version=2), "mmd")["paired"].any()
    other["value"] += 100
    assert changes(run(), other, "mmd")["holm"].all()


def test_missing_cells_and_changed_statuses_are_listed() -> None:
    a, b = run(), run()
    a = a[~at(a, "t0", "dsm", 100)]
    b = b[~at(b, "t2", "mix", 1000) & ~at(b, "t1", "dsm", 100)]
    a = pd.concat([a, table(failed("tsm", 100, "failed"), failed("ltsm", 100, "skipped"))])
    b = pd.concat([b, table(failed("dsm", 100, "timeout") | {"task": "t1"}, failed("tsm", 100, "failed"))])
    b = pd.concat([b, table(row("ltsm", 100, 1.0), row("mix", 100, 1.0, method_settings="recipe=plain"))])
    found = changes(a, b, "mmd").set_index(["task", "variant", "label", "budget"])
    kinds = found.loc[found["kind"] != "same", ["kind", "status_a", "status_b"]]
    assert {key: tuple(rest) for key, *rest in kinds.itertuples()} == {
        ("t2", "", "mix", 1000): ("only in A", "ok", ""),
        ("t0", "", "dsm", 100): ("only in B", "", "ok"),
        ("galton", "recipe=plain", "mix", 100): ("only in B", "", "ok"),
        ("t1", "", "dsm", 100): ("status", "ok", "timeout"),
        ("galton", "", "ltsm", 100): ("status", "skipped", "ok"),
        ("galton", "", "tsm", 100): ("no value", "failed", "failed"),
    }
    out = " ".join(said(a, b).split())
    assert (
        "15 cells: 1 only in A, 2 only in B, 2 with another status, 1 without a value in both, 9 equal" in out
    )
    assert "timeout" in out


def test_one_replicate_has_a_difference_without_a_mark() -> None:
    found = changes(table(row("dsm", 100, 1.0)), table(row("dsm", 100, 3.0)), "mmd")
    assert found["difference"].tolist() == [2.0]
    assert found["low"].isna().all()
    assert not found["beyond"].any()
    assert len(summary(found)) == 1


def test_noise_alone_is_beyond_noise_in_one_of_twenty() -> None:
    beyond = np.concatenate([changes(run(2 * k), run(2 * k + 1), "mmd")["beyond"] for k in range(12)])
    # 0.05 in 144 cells has a standard error of 0.018: four of them, passed by another seed once in 10,000
    # times; none at all happens in 6 of 10,000
    assert 0 < beyond.mean() <= 0.05 + 4 * 0.018
