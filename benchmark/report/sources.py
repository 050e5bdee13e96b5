"""The result folders of a report, as one frame.

A result counts once: if two folders hold the same metric of the same task, method, settings and budget, the
rows of the folder named first count. So a cell in both folders is not averaged with itself, and a folder that
measured one more metric still adds that metric. If folders hold two versions of a method for the same task,
settings and budget, only the rows of the newest version count. Methods must be compared on the same
simulations, which the root seed decides, so folders with different methods of a task must have the same root
seed.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import pandas as pd

from ...tasks.errors import UserError
from ..analysis.ranking import PLACE
from ..metrics.catalogue import record_of, reported
from ..papers.commits import last_commit
from ..running.rows import TIMINGS, TO_RETRY, with_variants
from ..running.table import read_table

CELL = ["task", "method", "method_settings", "budget"]
RESULT = [*CELL, "metric"]


class Source(NamedTuple):
    """A result folder, as the page on provenance shows it.

    Attributes:
        folder: the folder, as the user named it.
        sweep: the text of its sweep file, empty if it has none.
        digest: the SHA-256 of its table.
        commit: the last commit that touched the folder; empty outside of git.
        cells: the number of its cells.
        left_out: the number of its results (a metric of a cell) that an earlier folder has as well.
        older: the number of its cells of an older version, by method and version: {"mix v1": 69}.
    """

    folder: str
    sweep: str
    digest: str
    commit: str
    cells: int
    left_out: int
    older: dict[str, int]


def read_sources(folders: Sequence[Path]) -> tuple[pd.DataFrame, list[Source]]:
    """Read the tables of result folders into one frame.

    Returns:
        The rows, with the columns of `running.rows` and `with_variants` and the column `folder`; the sources.

    Raises:
        UserError: a folder has no table or no finished cell; no cell of any folder gave a result, or none
            that a report shows; or methods of one task have different root seeds.
        StoreError: a table is damaged.
    """
    tables = [read_table(folder).assign(folder=str(folder)) for folder in folders]
    frames: list[pd.DataFrame] = []
    sources = []
    for folder, table, older in zip(folders, tables, _older(tables), strict=True):
        results = pd.MultiIndex.from_frame(table[RESULT])
        seen = np.zeros(len(table), dtype=bool)
        for earlier in frames:
            seen |= results.isin(pd.MultiIndex.from_frame(earlier[RESULT].drop_duplicates()))
        frames.append(table[~seen & ~older])
        sources.append(_source(folder, table, int(results[seen & ~older].nunique()), table[older]))
    rows = with_variants(pd.concat(frames, ignore_index=True))
    _require_averages(rows, ", ".join(map(str, folders)))
    _require_one_seed(rows)
    return rows, sources


def _older(tables: Sequence[pd.DataFrame]) -> list["pd.Series[bool]"]:
    """Return for each table which rows are of an older version of a method than another row of the same cell.

    The cell is task, method, settings and budget. A row without a version is older than any other.
    """
    every = pd.concat(tables, keys=range(len(tables)))
    version = every["method_version"].fillna(0)
    older = (version < version.groupby([every[key] for key in CELL]).transform("max")).astype(bool)
    return [cast("pd.Series[bool]", older.loc[k]) for k in range(len(tables))]


def in_common(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the replicates and observations that all methods of a place have, except methods that failed.

    So methods of folders with 5 and with 3 replicates are compared on the same 3. A cell's seconds are those
    of all its replicates, so they are cut to the share of the replicates that stay.
    """
    keys = [rows[key] for key in ("metric", *PLACE)]
    size = [rows[key].fillna(-1) for key in ("replicate", "observation")]
    failed = rows["status"].isin(TO_RETRY).groupby([*keys, rows["label"]]).transform("any")
    counted = rows["label"].where((rows["status"] == "ok") & ~failed)
    methods = counted.groupby(keys).transform("nunique")
    here = counted.groupby([*keys, *size]).transform("nunique")
    cell = ["cell", "metric"]
    every = rows.groupby(cell)["replicate"].transform("nunique")
    kept = rows[counted.isna() | (here == methods)]
    share = kept.groupby(cell)["replicate"].transform("nunique") / every[kept.index]
    return kept.assign(**{name: kept[name] * share for name in TIMINGS})


def _require_averages(rows: pd.DataFrame, named: str) -> None:
    ok = rows[rows["status"] == "ok"]
    if ok.empty:
        raise UserError(f"{named}: no cell gave a result, so there is nothing to report.")
    plain = set(ok.loc[ok["time"].isna(), "metric"])
    if not plain:
        raise UserError(
            f"{named}: a report shows averages, but all metrics are resolved in diffusion time "
            f"({', '.join(ok['metric'].unique())}); `graybench figures` draws them."
        )
    if not reported(plain):
        told = [(metric, record_of(metric).same_as) for metric in sorted(plain)]
        said = "; ".join(f"{metric} is not reported, as {other} says the same" for metric, other in told)
        raise UserError(f"{named}: {said}; add {' and '.join({o: '' for _, o in told})} to the metrics.")


def _require_one_seed(rows: pd.DataFrame) -> None:
    for task, own in rows[rows["status"] != "skipped"].groupby("task", sort=False):
        seeds = own.groupby("root_seed")["folder"].first()
        if len(seeds) > 1:
            given = " and ".join(f"{folder} has {seed}" for seed, folder in seeds.items())
            raise UserError(
                f"the results of {task} have different root seeds ({given}), so the methods had different "
                "simulations; report these folders one by one."
            )


def _source(folder: Path, table: pd.DataFrame, left_out: int, older: pd.DataFrame) -> Source:
    sweep = folder / "sweep.yaml"
    named = older["method"] + " v" + older["method_version"].astype("string").fillna("?")
    return Source(
        folder=str(folder),
        sweep=sweep.read_text(encoding="utf-8") if sweep.is_file() else "",
        digest=hashlib.sha256((folder / "table.parquet").read_bytes()).hexdigest(),
        commit=last_commit(folder, sweep, folder / "table.parquet"),
        cells=table["cell"].nunique(),
        left_out=left_out,
        older={str(name): own["cell"].nunique() for name, own in older.groupby(named, sort=False)},
    )
