"""The result folder: whole files or none, damage seen, folders of others refused."""

import errno
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from graybench.benchmark.metrics.fitted import row
from graybench.benchmark.running import store as store_module
from graybench.benchmark.running.cell import Cell
from graybench.benchmark.running.rows import COLUMNS, DTYPES, ESSENTIAL, failure_rows, frame
from graybench.benchmark.running.store import Store
from graybench.benchmark.running.sweep import Sweep
from graybench.benchmark.running.table import read_parquet, read_table, to_frame
from graybench.benchmark.running.writing import StoreError
from graybench.tasks.errors import UserError
from graybench.tests.benchmark.toys import write_sweep


def load(folder: Path, **changes: Any) -> Sweep:
    return Sweep.load(write_sweep(folder / "given.yaml", **{"budgets": [10, 20, 30], **changes}))


def never(message: str) -> None:
    raise AssertionError(message)


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return load(tmp_path)


@pytest.fixture
def store(tmp_path: Path, sweep: Sweep) -> Store:
    return Store(tmp_path / "out", sweep)


def rows_of(cell: Cell, value: float = 0.1) -> pd.DataFrame:
    return frame(cell, [{"metric": "mmd", "replicate": r, "value": value + r} for r in range(2)])


def test_what_is_written_is_read_exactly(store: Store, sweep: Sweep) -> None:
    first, second, _ = sweep.cells()
    failure = failure_rows(second, "failed", "because")
    store.write(second, failure)
    store.write(first, rows_of(first))
    assert store.merge(sweep.cells(), never) == 0
    assert_frame_equal(
        read_table(store.folder), pd.concat([rows_of(first), failure], ignore_index=True), check_exact=True
    )
    assert store.finished(sweep.cells(), never) == {first.id: ("ok", ""), second.id: ("failed", "because")}


def test_numbers_are_those_of_float32(store: Store, sweep: Sweep) -> None:
    """A table of float64, as before, is read as well; what float32 cannot hold is not finite."""
    cell, noisy = sweep.cells()[0], rows_of(sweep.cells()[0], math.pi)
    store.write(cell, noisy)
    store.merge([cell], never)
    assert read_table(store.folder)["value"].tolist() == [np.float32(math.pi), np.float32(math.pi + 1)]
    assert pd.read_parquet(store.table)["value"].dtype == "float32"
    noisy.assign(value=math.pi).to_parquet(store.table)
    assert read_table(store.folder)["value"].tolist() == [math.pi] * 2
    assert [row(value, None).get("status") for value in (3e38, -4e38, math.nan)] == [
        None,
        *["not_finite"] * 2,
    ]


def test_writing_again_replaces(store: Store, sweep: Sweep) -> None:
    cell = sweep.cells()[0]
    store.write(cell, failure_rows(cell, "failed", "because"))
    store.write(cell, rows_of(cell))
    assert store.finished(sweep.cells(), never) == {cell.id: ("ok", "")}
    assert [path.name for path in store.cells.iterdir()] == [f"{cell.id}.parquet"]


def test_cells_of_an_earlier_form_of_the_sweep_are_left_out(
    store: Store, sweep: Sweep, tmp_path: Path
) -> None:
    for cell in sweep.cells():
        store.write(cell, rows_of(cell))
    smaller = load(tmp_path, budgets=[30, 10])
    again = Store(store.folder, smaller)
    assert again.merge(smaller.cells(), never) == 1
    assert read_table(store.folder)["budget"].tolist() == [30, 30, 10, 10]


@pytest.mark.parametrize("lot", [1, 2, 100])
def test_a_cell_that_comes_while_the_table_is_made_is_in_it(
    store: Store, sweep: Sweep, monkeypatch: pytest.MonkeyPatch, lot: int
) -> None:
    monkeypatch.setattr(store_module, "LOT", lot)
    first, second, third = sweep.cells()
    for cell in (first, second):
        store.write(cell, rows_of(cell))
    write_whole, meanwhile = store_module.write_whole, [(third, 3.0), (first, 5.0)]

    def write_late(path: Path, content: bytes) -> None:
        if path == store.table and meanwhile:
            cell, value = meanwhile.pop(0)  # of another run, which has merged its own table by now
            write_whole(store.cells / f"{cell.id}.parquet", store_module.to_parquet(rows_of(cell, value)))
        write_whole(path, content)

    monkeypatch.setattr(store_module, "write_whole", write_late)
    assert store.merge(sweep.cells(), never) == 0
    assert not meanwhile
    expected = [rows_of(first, 5.0), rows_of(second), rows_of(third, 3.0)]
    assert_frame_equal(read_table(store.folder), pd.concat(expected, ignore_index=True), check_exact=True)


def test_cells_of_another_run_appear_once_they_are_stored_or_replaced(store: Store, sweep: Sweep) -> None:
    first, second, third = sweep.cells()
    for cell in (first, second):
        store.write(cell, failure_rows(cell, "failed", "because"))
    store.finished([first, second, third], never)
    assert [store.appeared(cell, never) for cell in sweep.cells()] == [None, None, None]
    other = Store(store.folder, sweep)
    other.write(second, rows_of(second))
    other.write(third, failure_rows(third, "failed", "because"))
    assert [store.appeared(cell, never) for cell in sweep.cells()] == [
        None,
        ("ok", ""),
        ("failed", "because"),
    ]


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign"])
def test_damaged_cells_are_put_aside_and_missing(store: Store, sweep: Sweep, damage: str) -> None:
    first, second, _ = sweep.cells()
    store.write(first, rows_of(first))
    store.write(second, rows_of(second))
    path = store.cells / f"{first.id}.parquet"
    content = path.read_bytes()
    replacement = {
        "cut": content[: len(content) // 2],
        "empty": b"",
        "foreign": (store.cells / f"{second.id}.parquet").read_bytes(),
    }
    path.write_bytes(replacement[damage])
    warnings: list[str] = []
    assert store.finished(sweep.cells(), warnings.append).keys() == {second.id}
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{path}: the file is damaged (")
    assert (store.cells / f"{first.id}.damaged").read_bytes() == replacement[damage]
    assert store.finished(sweep.cells(), never).keys() == {second.id}


def test_a_damaged_cell_that_another_run_puts_aside_first_is_missing_all_the_same(
    store: Store, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = sweep.cells()[0]
    path = store.cells / f"{cell.id}.parquet"
    path.write_bytes(b"damaged")
    read = store_module.read_parquet

    def read_after_the_other(own: Path) -> Any:
        try:
            return read(own)
        finally:
            own.replace(own.with_suffix(".damaged"))

    monkeypatch.setattr(store_module, "read_parquet", read_after_the_other)
    warnings: list[str] = []
    assert store.finished([cell], warnings.append) == {}
    assert len(warnings) == 1
    assert [path.name for path in store.cells.iterdir()] == [f"{cell.id}.damaged"]


def test_a_byte_that_changed_is_noticed_or_changes_nothing(store: Store, sweep: Sweep) -> None:
    cell = sweep.cells()[0]
    store.write(cell, rows_of(cell))
    path = store.cells / f"{cell.id}.parquet"
    content = path.read_bytes()
    seen = 0
    for place in range(0, len(content), 101):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        warnings: list[str] = []
        store.merge([cell], warnings.append)
        if warnings:
            seen += 1
        else:
            assert_frame_equal(read_table(store.folder), rows_of(cell), check_exact=True)
    assert seen > 20


@pytest.mark.parametrize(("changes", "theirs"), [({"name": "other"}, "other"), ({"root_seed": 3}, "toys")])
def test_the_folder_of_another_sweep_is_refused(
    store: Store, tmp_path: Path, changes: dict[str, Any], theirs: str
) -> None:
    other = load(tmp_path, **changes)
    with pytest.raises(UserError) as caught:
        Store(store.folder, other)
    assert str(caught.value) == (
        f"{store.folder}: it holds results of sweep toys with root_seed 0, "
        f"not of sweep {theirs} with root_seed {other.root_seed}; give another --out."
    )


def test_a_table_without_its_cells_is_not_lost(store: Store, sweep: Sweep) -> None:
    first, second, _ = sweep.cells()
    for cell in (first, second):
        store.write(cell, rows_of(cell))
    store.merge(sweep.cells(), never)
    (store.cells / f"{first.id}.parquet").unlink()  # to be done again
    Store(store.folder, sweep)
    content = store.table.read_bytes()
    (store.cells / f"{second.id}.parquet").unlink()
    with pytest.raises(UserError, match=r"table\.parquet: the files of its 2 cells .* give another --out\.$"):
        Store(store.folder, sweep)
    assert store.table.read_bytes() == content


def test_a_table_that_is_not_of_the_suite_is_not_replaced(tmp_path: Path, sweep: Sweep) -> None:
    """A person's sweep file makes its folder a result folder, whatever else is in it."""
    (tmp_path / "given.yaml").rename(tmp_path / "sweep.yaml")
    pd.DataFrame({"mine": [1]}).to_parquet(tmp_path / "table.parquet")
    content = (tmp_path / "table.parquet").read_bytes()
    with pytest.raises(
        UserError, match=r"table\.parquet: it was not made from the files in .* give another --out\.$"
    ):
        Store(tmp_path, sweep)
    assert (tmp_path / "table.parquet").read_bytes() == content


def test_a_sweep_file_that_a_person_wrote_or_edited_is_never_replaced(tmp_path: Path, sweep: Sweep) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    marker = folder / "sweep.yaml"
    (tmp_path / "given.yaml").rename(marker)
    marker.write_text(f"# mine\n{marker.read_text()}")
    text, stamp = marker.read_text(), marker.stat()
    Store(folder, sweep)  # as it says the same
    assert (marker.read_text(), marker.stat()) == (text, stamp)
    with pytest.raises(UserError) as caught:
        Store(folder, load(tmp_path, budgets=[10]))
    assert str(caught.value) == (
        f"{marker}: this file was written or edited by hand and would be replaced; give another --out."
    )
    assert marker.read_text() == text


def test_the_suites_own_sweep_file_is_replaced_until_it_is_edited(
    store: Store, sweep: Sweep, tmp_path: Path
) -> None:
    marker = store.folder / "sweep.yaml"
    first = marker.read_text()
    grown = load(tmp_path, budgets=[10, 20, 30, 40])
    Store(store.folder, grown)
    assert marker.read_text() == first.replace("- 30\n", "- 30\n- 40\n")
    assert Sweep.load(marker) == grown
    edited = marker.read_text().replace("- 40\n", "- 40  # the dear one\n")
    marker.write_text(edited)
    Store(store.folder, grown)
    with pytest.raises(UserError, match=r"sweep\.yaml: this file was written or edited by hand"):
        Store(store.folder, sweep)
    assert marker.read_text() == edited


GAPS = [column for column in COLUMNS if column not in ESSENTIAL]


@pytest.mark.parametrize("column", GAPS)
def test_the_gap_of_an_older_table_is_filled(store: Store, sweep: Sweep, column: str) -> None:
    first, second, _ = sweep.cells()
    store.write(first, rows_of(first).drop(columns=column))
    store.write(second, rows_of(second))
    assert store.finished(sweep.cells(), never).keys() == {first.id, second.id}
    store.merge(sweep.cells(), never)
    table = read_table(store.folder)
    assert table.dtypes.astype(str).to_dict() == DTYPES
    assert list(table.columns) == list(COLUMNS)
    older = table[column][table["cell"] == first.id]
    assert (older == "").all() if DTYPES[column] == "string" else older.isna().all()
    expected = pd.concat([rows_of(first), rows_of(second)], ignore_index=True)
    assert_frame_equal(table.drop(columns=column), expected.drop(columns=column), check_exact=True)
    rows_of(first).drop(columns=column).to_parquet(store.table)  # a table of released results
    assert read_table(store.folder)["value"].tolist() == rows_of(first)["value"].tolist()


@pytest.mark.parametrize("column", ESSENTIAL)
def test_a_table_without_an_essential_column_is_refused(store: Store, sweep: Sweep, column: str) -> None:
    rows_of(sweep.cells()[0]).drop(columns=column).to_parquet(store.table)
    with pytest.raises(StoreError, match=rf"the file is damaged \(it has no column {column}\)"):
        read_table(store.folder)


@pytest.mark.parametrize("change", [{"valve": 1.0}, {"budget": "ten"}, {"value": 1}])
def test_a_table_with_an_unknown_column_or_type_is_refused(
    store: Store, sweep: Sweep, change: dict[str, Any]
) -> None:
    rows_of(sweep.cells()[0]).assign(**change).to_parquet(store.table)
    with pytest.raises(StoreError, match="it does not have the columns of a result table"):
        read_table(store.folder)


def test_a_folder_of_something_else_is_refused(tmp_path: Path, sweep: Sweep) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.tex").write_text("…")
    with pytest.raises(UserError, match="the folder is not empty and holds no results of a sweep"):
        Store(folder, sweep)
    assert [path.name for path in folder.iterdir()] == ["chapter.tex"]
    with pytest.raises(UserError, match="this is not a folder"):
        Store(folder / "chapter.tex", sweep)


def test_a_run_killed_before_its_first_file_can_be_repeated(tmp_path: Path, sweep: Sweep) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / ".sweep.yaml.0123.tmp").write_text("name: to")
    Store(folder, sweep)
    assert (folder / "sweep.yaml").is_file()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    store: Store, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = sweep.cells()[0]
    store.write(cell, rows_of(cell))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store_module.os, "fsync", full)
    with pytest.raises(StoreError) as caught:
        store.write(cell, rows_of(cell, 7.0))
    path = store.cells / f"{cell.id}.parquet"
    assert str(caught.value) == f"{path}: it cannot be written: No space left on device."
    assert list(store.cells.iterdir()) == [path]
    assert_frame_equal(to_frame(read_parquet(path)), rows_of(cell))


def test_tables_that_cannot_be_read(store: Store, sweep: Sweep, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: there is no such folder\.$"):
        read_table(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"table\.parquet: there is no such file"):
        read_table(store.folder)
    store.merge(sweep.cells(), never)
    with pytest.raises(UserError, match=r"table\.parquet: no cell is finished yet\.$"):
        read_table(store.folder)
    store.table.write_bytes(store.table.read_bytes()[:100])
    with pytest.raises(
        StoreError, match=r"table\.parquet: the file is damaged \(.*\); `graybench run` makes it again\.$"
    ):
        read_table(store.folder)
