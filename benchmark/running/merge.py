"""Merging of result folders of one sweep into one folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from ...tasks.errors import UserError
from .kept import read_of_cell
from .rows import TIMINGS, TO_RETRY, ending
from .store import Store, kept_path, read_foreign
from .sweep import Sweep


def merge_folders(folders: Sequence[Path], out: Path, say: Callable[[str], None]) -> tuple[int, int]:
    """Copy every finished cell of `folders` to `out`, and make its table; `folders` are not changed.

    If two folders have different rows for a cell, timings aside, `say` is told. A failed cell gives way to
    one that did not fail. Otherwise the cell that is already in `out` stays, then the cell of the folder
    named first. `say` is also told of cells that do not belong to the current sweep, such as cells of another
    version of a method.

    Args:
        folders: result folders of one sweep.
        out: the result folder to write.
        say: prints a line.

    Returns:
        The number of cells in `out`, and the number of cells in the sweep.

    Raises:
        UserError: a folder holds no results, or the sweeps of two folders differ in a key.
        StoreError: `out` cannot be written.
    """
    sweep = _same_sweep([*folders, *([out] if (out / "sweep.yaml").exists() else [])])
    cells = sweep.cells()
    sources = [folder for folder in folders if folder.resolve() != out.resolve()]
    store = Store(out, sweep)
    for folder in (*sources, out):
        _tell_strangers(folder, {cell.id for cell in cells}, say)
    finished = 0
    for cell in cells:
        kept, origin = store.read(cell, say), out
        for folder in sources:
            rows = read_foreign(folder, cell, say)
            if rows is None:
                continue
            better = kept is None or (ending(kept).status in TO_RETRY and ending(rows).status not in TO_RETRY)
            if kept is not None and not _same(kept, rows):
                stays = folder if better else origin
                say(f"{cell.title} ({cell.id}): {origin} and {folder} differ; {stays} is used.")
            if better:
                store.write(cell, rows, read_of_cell(kept_path(folder, cell), say))
                kept, origin = rows, folder
        finished += kept is not None
    store.merge(cells, say)
    return finished, len(cells)


def _tell_strangers(folder: Path, known: set[str], say: Callable[[str], None]) -> None:
    strangers = sum(path.stem not in known for path in (folder / "cells").glob("*.parquet"))
    if strangers:
        say(f"{strangers} cells in {folder / 'cells'} do not belong to the current sweep and are left out.")


def _same_sweep(folders: Sequence[Path]) -> Sweep:
    """Return the sweep of all folders.

    Raises:
        UserError: a folder has no sweep, or two sweeps differ.
    """
    for folder in folders:
        if not (folder / "sweep.yaml").is_file():
            raise UserError(f"{folder}: this is not a result folder: it has no sweep.yaml.")
    first, *others = [Sweep.load(folder / "sweep.yaml") for folder in folders]
    for folder, other in zip(folders[1:], others, strict=True):
        mine, theirs = first.model_dump(), other.model_dump()
        differing = [key for key in mine if mine[key] != theirs[key]]
        if differing:
            raise UserError(
                f"{folders[0]} and {folder} hold results of different sweeps: in their sweep.yaml, "
                f"{' and '.join(differing)} differ."
            )
    return first


def _same(rows: pd.DataFrame, others: pd.DataFrame) -> bool:
    timings = list(TIMINGS)
    return rows.drop(columns=timings).equals(others.drop(columns=timings))
