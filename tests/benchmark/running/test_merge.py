"""Shards in folders of their own, gathered: the table of one run, and every disagreement said."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from graybench.benchmark.running.cell import Cell
from graybench.benchmark.running.merge import merge_folders
from graybench.benchmark.running.rows import TIMINGS, failure_rows, frame
from graybench.benchmark.running.shard import Shard
from graybench.benchmark.running.store import Store
from graybench.benchmark.running.sweep import Sweep
from graybench.benchmark.running.table import read_table
from graybench.tasks.errors import UserError
from graybench.tests.benchmark.toys import toy, write_sweep


def load(folder: Path, **changes: Any) -> Sweep:
    changes = {"budgets": [10, 20, 30], "methods": [toy("Fast"), toy("Raises")], **changes}
    return Sweep.load(write_sweep(folder / "given.yaml", **changes))


def never(message: str) -> None:
    raise AssertionError(message)


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return load(tmp_path)


def rows_of(cell: Cell, value: float = 0.1, seconds: float = 1.0) -> pd.DataFrame:
    if cell.method.name == "raises":
        return failure_rows(cell, "failed", "no luck today")
    same = {"metric": "mmd", "fit_seconds": seconds}
    return frame(cell, [{**same, "replicate": r, "value": value + r} for r in range(2)])


def fill(folder: Path, sweep: Sweep, cells: list[Cell], **changes: float) -> Path:
    store = Store(folder, sweep)
    for cell in cells:
        store.write(cell, rows_of(cell, **changes))
    return folder


def test_shards_apart_give_the_table_of_one_run(sweep: Sweep, tmp_path: Path) -> None:
    cells = sweep.cells()
    whole = Store(fill(tmp_path / "whole", sweep, cells), sweep)
    whole.merge(cells, never)
    shards = [
        fill(tmp_path / f"shard{i}", sweep, Shard(i, 4).of(cells), seconds=float(i)) for i in range(1, 5)
    ]
    before = {path: path.read_bytes() for shard in shards for path in shard.rglob("*.*")}
    out = tmp_path / "out"
    assert merge_folders(shards[:3], out, never) == (5, 6)
    assert merge_folders(shards, out, never) == (6, 6)
    left, right = (read_table(f).drop(columns=list(TIMINGS)) for f in (out, whole.folder))
    assert_frame_equal(left, right, check_exact=True)
    assert {path: path.read_bytes() for shard in shards for path in shard.rglob("*.*")} == before
    assert merge_folders([whole.folder], whole.folder, never) == (6, 6)


def test_cells_that_disagree_are_said_and_what_failed_gives_way(sweep: Sweep, tmp_path: Path) -> None:
    first, second = sweep.cells()[0], sweep.cells()[2]
    a = fill(tmp_path / "a", sweep, [first])
    Store(a, sweep).write(second, failure_rows(second, "timeout", "it took longer than 2 s"))
    b = fill(tmp_path / "b", sweep, [first, second], value=0.2, seconds=2.0)
    said: list[str] = []
    out = tmp_path / "out"
    assert merge_folders([a, b], out, said.append) == (2, 6)
    assert said == [
        f"line · fast · budget 10 ({first.id}): {a} and {b} differ; {a} is used.",
        f"line · fast · budget 20 ({second.id}): {a} and {b} differ; {b} is used.",
    ]
    expected = pd.concat([rows_of(first), rows_of(second, 0.2, 2.0)], ignore_index=True)
    assert_frame_equal(read_table(out), expected, check_exact=True)


def test_a_damaged_cell_is_said_and_left_where_it_is(sweep: Sweep, tmp_path: Path) -> None:
    cells = sweep.cells()
    a = fill(tmp_path / "a", sweep, cells)
    path = a / "cells" / f"{cells[0].id}.parquet"
    path.write_bytes(path.read_bytes()[:50])
    said: list[str] = []
    assert merge_folders([a], tmp_path / "out", said.append) == (5, 6)
    assert len(said) == 1
    assert said[0].startswith(f"{path}: the file is damaged (")
    assert path.stat().st_size == 50


def test_cells_of_other_versions_are_said_to_be_left_out(sweep: Sweep, tmp_path: Path) -> None:
    a = fill(tmp_path / "a", sweep, sweep.cells())
    for cell in sweep.cells()[:2]:
        path = a / "cells" / f"{cell.id}.parquet"
        path.rename(path.with_stem(f"other-{cell.id}"))
    said: list[str] = []
    assert merge_folders([a], tmp_path / "out", said.append) == (4, 6)
    assert said == [f"2 cells in {a / 'cells'} do not belong to the current sweep and are left out."]


def test_folders_of_different_sweeps_are_refused(sweep: Sweep, tmp_path: Path) -> None:
    a, out = fill(tmp_path / "a", sweep, []), tmp_path / "out"
    b = fill(tmp_path / "b", load(tmp_path, budgets=[10], root_seed=3), [])
    with pytest.raises(UserError) as caught:
        merge_folders([a, b], out, never)
    assert str(caught.value) == (
        f"{a} and {b} hold results of different sweeps: in their sweep.yaml, root_seed and budgets differ."
    )
    with pytest.raises(UserError, match="different sweeps"):
        merge_folders([a], b, never)
    with pytest.raises(UserError, match=r"nowhere: this is not a result folder: it has no sweep\.yaml\.$"):
        merge_folders([a, tmp_path / "nowhere"], out, never)
    assert not out.exists()
