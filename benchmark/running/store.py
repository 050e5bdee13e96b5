"""The result folder: one file for each finished cell, written whole or not at all.

    DIR/sweep.yaml           the sweep that the folder belongs to
    DIR/cells/<id>.parquet   the rows of one finished cell
    DIR/table.parquet        all finished cells, made at the end of each run
    DIR/kept/<id>.parquet    draws and ranks of a finished cell, if the sweep keeps samples
    DIR/kept.parquet         those of all finished cells

A folder belongs to the name and root seed of a sweep. If the sweep changes under its name, cells that no
longer belong to it keep their files but are left out of the table. `sweep.yaml` is replaced only if graybench
wrote it, byte for byte, and the sweep has changed; a file that a person wrote or edited is never replaced.

Several runs may work on one folder at a time, without locks. Each takes over cells that another run has
finished. A table is made again if a cell arrived meanwhile, so the last table written is complete.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from ...tasks.errors import UserError
from .cell import Cell
from .kept import FILE, joined, read_of_cell
from .rows import COLUMNS, DTYPES, Ending, ending
from .sweep import Sweep
from .table import DamagedError, read_parquet, to_content, to_frame, to_parquet
from .writing import TEMPORARY, StoreError, explained, write_whole
from .yaml_loader import Dumper, Loader

SUFFIX = ".parquet"
HEADER = "# written by graybench\n"  # of a sweep.yaml
LOT = 100  # cell files that are read into one table at a time

Stamp = tuple[int, int]  # inode and time of change of a file; they differ after it is replaced


class Store:
    """The result folder of one sweep.

    Args:
        folder: the result folder; it is made if it does not exist.
        sweep: the sweep that it belongs to.

    Raises:
        UserError: the folder holds something else: other files, results of another sweep, a table whose cells
            have no files, or another sweep file that a person wrote.
        StoreError: the folder cannot be written.
    """

    def __init__(self, folder: Path, sweep: Sweep) -> None:
        self.folder = folder
        self.cells = folder / "cells"
        self.table = folder / "table.parquet"
        self._known: dict[str, Stamp] = {}
        marker = folder / "sweep.yaml"
        _require_own(folder, sweep)
        _require_cells(self.table, self.cells)
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        if not _says(marker, sweep):
            write_whole(marker, _written(sweep.model_dump()).encode())
        with explained(self.cells):
            self.cells.mkdir(exist_ok=True)

    def write(self, cell: Cell, rows: pd.DataFrame, kept: pd.DataFrame | None = None) -> None:
        """Store the rows of a finished cell and what it keeps; earlier files of the cell are replaced.

        The rows are written last, since a cell is finished once they are there.
        """
        path = kept_path(self.folder, cell)
        with explained(path):
            path.unlink(missing_ok=True)
            if kept is not None and not kept.empty:
                path.parent.mkdir(exist_ok=True)
                write_whole(path, to_content(kept))
        write_whole(self._path(cell), to_parquet(rows))

    def read(self, cell: Cell, warn: Callable[[str], None]) -> pd.DataFrame | None:
        """Return the rows of a finished cell; None if it is not finished.

        A damaged file is put aside as `<id>.damaged` and reported to `warn`; its cell counts as unfinished.
        """
        rows = self._read(cell, warn)
        return None if rows is None else to_frame(rows)

    def finished(self, cells: Sequence[Cell], warn: Callable[[str], None]) -> dict[str, Ending]:
        """Return how each of `cells` that has a file ended, by the id of the cell.

        Every file is read; damaged files are treated as in `read`.
        """
        self._known = self._stamps()
        endings = {cell.id: self._ending(cell, warn) for cell in cells if cell.id in self._known}
        return {cell: ending for cell, ending in endings.items() if ending is not None}

    def appeared(self, cell: Cell, warn: Callable[[str], None]) -> Ending | None:
        """Return how `cell` ended if its file is new or was replaced since `finished`; otherwise None."""
        path = self._path(cell)
        try:
            stamp = _stamp(path.stat())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{path}: it cannot be read: {error.strerror}.") from error
        return None if stamp == self._known.get(cell.id) else self._ending(cell, warn)

    def merge(self, cells: Sequence[Cell], warn: Callable[[str], None]) -> int:
        """Write the finished cells among `cells`, in their order, into the table, and what they keep.

        Returns:
            The number of cell files in the folder that belong to none of `cells` and were left out.
        """
        merged: dict[str, Stamp] | None = None
        table = pa.Table.from_pandas(pd.DataFrame(columns=list(COLUMNS)).astype(DTYPES))
        ids = pa.array([cell.id for cell in cells], pa.string())
        while merged != (present := self._stamps()):
            before = merged or {}
            came = [cell for cell in cells if present.get(cell.id) != before.get(cell.id)]
            old = pa.array([cell.id for cell in came], pa.string())
            kept = table.filter(pc.invert(pc.is_in(table["cell"], old)))
            table = _concatenated([kept, *self._lots(came, warn)])
            table = table.take(pc.sort_indices(pc.index_in(table["cell"], ids)))
            write_whole(self.table, to_parquet(to_frame(table)))
            merged = present
        kept = joined(
            [read_of_cell(kept_path(self.folder, cell), warn) for cell in cells if cell.id in present]
        )
        if kept.empty:
            with explained(self.folder / FILE):
                (self.folder / FILE).unlink(missing_ok=True)
        else:
            write_whole(self.folder / FILE, to_content(kept))
        return len(present.keys() - {cell.id for cell in cells})

    def _lots(self, cells: Sequence[Cell], warn: Callable[[str], None]) -> Iterator[pa.Table]:
        """Yield the cells in tables of up to `LOT`, because each table takes 30 kB whatever its length."""
        for start in range(0, len(cells), LOT):
            read = [self._read(cell, warn) for cell in cells[start : start + LOT]]
            if tables := [rows for rows in read if rows is not None]:
                yield _concatenated(tables).combine_chunks()

    def _path(self, cell: Cell) -> Path:
        return self.cells / f"{cell.id}{SUFFIX}"

    def _stamps(self) -> dict[str, Stamp]:
        """Return the stamp of every cell file, by the id of its cell."""
        stamps = {}
        with os.scandir(self.cells) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX):
                    with suppress(FileNotFoundError):  # another run has put it aside
                        stamps[entry.name.removesuffix(SUFFIX)] = _stamp(entry.stat())
        return stamps

    def _ending(self, cell: Cell, warn: Callable[[str], None]) -> Ending | None:
        rows = self._read(cell, warn)
        return None if rows is None else ending(rows.select(["status", "reason"]).to_pandas())

    def _read(self, cell: Cell, warn: Callable[[str], None]) -> pa.Table | None:
        path = self._path(cell)
        try:
            return _read_cell(path, cell)
        except DamagedError as error:
            aside = path.with_suffix(".damaged")
            with explained(path), suppress(FileNotFoundError):  # another run has put it aside
                path.replace(aside)
            warn(f"{path}: the file is damaged ({error}); it is now {aside.name}, and its cell is missing.")
            return None


def read_foreign(folder: Path, cell: Cell, warn: Callable[[str], None]) -> pd.DataFrame | None:
    """Return the rows of a cell in a folder that must not be changed; None if it is missing or damaged."""
    path = folder / "cells" / f"{cell.id}{SUFFIX}"
    try:
        rows = _read_cell(path, cell)
    except DamagedError as error:
        warn(f"{path}: the file is damaged ({error}), and its cell is missing.")
        return None
    return None if rows is None else to_frame(rows)


def kept_path(folder: Path, cell: Cell) -> Path:
    """Return the file of what a cell keeps in a result folder."""
    return folder / "kept" / f"{cell.id}{SUFFIX}"


def _require_own(folder: Path, sweep: Sweep) -> None:
    marker = folder / "sweep.yaml"
    try:
        text = marker.read_text(encoding="utf-8")
        content = yaml.load(text, Loader=Loader)
        owner = {"name": str(content["name"]), "root_seed": int(content.get("root_seed", 0))}
    except FileNotFoundError as error:
        if folder.is_dir() and any(path.suffix != TEMPORARY for path in folder.iterdir()):
            raise UserError(f"{folder}: the folder is not empty and holds no results of a sweep.") from error
        return
    except NotADirectoryError as error:
        raise UserError(f"{folder}: this is not a folder.") from error
    except OSError as error:
        raise StoreError(f"{marker}: it cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, AttributeError, TypeError, KeyError, ValueError) as error:
        raise UserError(f"{marker}: it does not name the sweep that the folder belongs to.") from error
    if owner != {"name": sweep.name, "root_seed": sweep.root_seed}:
        theirs = f"sweep {owner['name']} with root_seed {owner['root_seed']}"
        ours = f"sweep {sweep.name} with root_seed {sweep.root_seed}"
        raise UserError(f"{folder}: it holds results of {theirs}, not of {ours}; give another --out.")

    if text != _written(content) and not _says(marker, sweep):
        raise UserError(
            f"{marker}: this file was written or edited by hand and would be replaced; give another --out."
        )


def _written(content: dict[str, Any]) -> str:
    return HEADER + yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True)


def _says(marker: Path, sweep: Sweep) -> bool:
    """Return whether a sweep file describes `sweep`."""
    try:
        return Sweep.load(marker) == sweep
    except UserError:
        return False


def _require_cells(table: Path, cells: Path) -> None:
    """Refuse a table whose cells have no files, as in released results: a run would replace it."""
    if not table.exists():
        return
    stems = {path.stem for path in cells.glob(f"*{SUFFIX}")}
    try:
        ids = set(read_parquet(table)["cell"].to_pylist())
    except DamagedError as error:
        if stems:  # the table is made again from the files
            return
        strange = f"it was not made from the files in {cells} ({error}) and would be replaced"
        raise UserError(f"{table}: {strange}; give another --out.") from error
    if ids and ids.isdisjoint(stems):
        missing = f"the files of its {len(ids)} cells are not in {cells}, as in released results"
        raise UserError(f"{table}: {missing}, and a new table would lose them; give another --out.")


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_ino, status.st_mtime_ns


def _read_cell(path: Path, cell: Cell) -> pa.Table | None:
    """Read the file of a cell; None if there is none."""
    try:
        rows = read_parquet(path)
    except FileNotFoundError:
        return None
    if rows["cell"].unique().to_pylist() != [cell.id]:
        raise DamagedError("it holds the rows of another cell")
    return rows


def _concatenated(tables: list[pa.Table]) -> pa.Table:
    # permissive, because versions of pandas write texts with different types
    return pa.concat_tables(tables, promote_options="permissive")
