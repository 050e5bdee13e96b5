"""The result folders of a report, as one frame.

A result counts once: where two folders hold the same metric of the same task, method, settings and budget,
the rows of the folder named first are taken. So a cell that is in both is not averaged with itself, and a
folder that measured one more metric still adds it.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from benchmark.rows import with_variants
from benchmark.store import read_table

RESULT = ["task", "method", "method_settings", "budget", "metric"]


class Source(NamedTuple):
    """A result folder, as the page on provenance shows it.

    Attributes:
        folder: as it was named.
        sweep: the text of its sweep file, empty if it has none.
        digest: SHA-256 of its table.
        cells: number of its cells.
        left_out: number of its results, of one metric and cell each, that an earlier folder has as well.
    """

    folder: str
    sweep: str
    digest: str
    cells: int
    left_out: int


def read_sources(folders: Sequence[Path]) -> tuple[pd.DataFrame, list[Source]]:
    """Read the tables of result folders into one frame, without what is resolved in diffusion time.

    Returns:
        The rows with the columns of `benchmark.rows`, those of `with_variants` and `folder`; and the sources.

    Raises:
        UserError: a folder has no table, or no finished cell.
        StoreError: a table is damaged.
    """
    frames: list[pd.DataFrame] = []
    sources = []
    for folder in folders:
        table = read_table(folder)
        table = table[table["time"].isna()].assign(folder=str(folder))
        results = pd.MultiIndex.from_frame(table[RESULT])
        known = [pd.MultiIndex.from_frame(frame[RESULT]) for frame in frames]
        seen = pd.Series([False] * len(table), index=table.index)
        for earlier in known:
            seen |= results.isin(earlier)
        frames.append(table[~seen])
        sources.append(_source(folder, table, int(results[seen].nunique())))
    return with_variants(pd.concat(frames, ignore_index=True)), sources


def _source(folder: Path, table: pd.DataFrame, left_out: int) -> Source:
    sweep = folder / "sweep.yaml"
    return Source(
        folder=str(folder),
        sweep=sweep.read_text(encoding="utf-8") if sweep.is_file() else "",
        digest=hashlib.sha256((folder / "table.parquet").read_bytes()).hexdigest(),
        cells=table["cell"].nunique(),
        left_out=left_out,
    )
