"""What a cell keeps besides its rows: posterior draws for corner plots, and ranks for calibration curves.

Kept numbers are a table with a row for each number:

    kind         "draw": θ from the posterior of replicate 0, given observation 0
                 "reference": θ from the reference posterior, given observation 0
                 "rank": the share of posterior draws below the true u, for fresh pairs (u, x)
    replicate    the replicate
    index        the draw, or the pair
    parameter    the component of θ or u, from 0
    value        the number, in float32

and the columns that say whose they are: task, method, method_settings, budget and cell.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from ..metrics.diagnostics import calibrated, rank_shares
from ..metrics.fitted import Fitted
from .cell import Cell
from .table import DamagedError, read_content
from .writing import StoreError

FILE = "kept.parquet"
DTYPES = {
    "cell": "string",
    "task": "string",
    "method": "string",
    "method_settings": "string",
    "budget": "Int64",
    "kind": "string",
    "replicate": "int64",
    "index": "int64",
    "parameter": "int64",
    "value": "float32",
}


def nothing() -> pd.DataFrame:
    """Return a table of kept numbers without rows."""
    return pd.DataFrame(columns=list(DTYPES)).astype(DTYPES)


def kept_of(cell: Cell, fitted: Fitted) -> pd.DataFrame:
    """Return what a cell keeps: `keep_samples` draws and reference draws, and ranks if its metrics need them.

    A cell that keeps no samples keeps nothing. Draws that are not finite are kept as they are. A reference or
    ranks that cannot be drawn are left out. If a metric needs them, its row says why.
    """
    n = cell.keep_samples
    if n == 0:
        return nothing()
    numbers = [_long("draw", 0, fitted.samples[0, 0, :n])]
    with suppress(BaseException):  # of a plug-in
        if "reference" in cell.task.capabilities:
            numbers.append(_long("reference", 0, fitted.truth.reference_sample(0, 0).theta[:n]))
    with suppress(BaseException):
        if calibrated(cell.metrics):
            numbers += [_long("rank", r, rank_shares(fitted, r)) for r in range(cell.replicates)]
    table = pd.concat(numbers, ignore_index=True).assign(
        cell=cell.id,
        task=cell.task.label,
        method=cell.method.name,
        method_settings=cell.method.settings,
        budget=cell.budget,
    )
    return table[list(DTYPES)].astype(DTYPES)


def _long(kind: str, replicate: int, values: Tensor) -> pd.DataFrame:
    """Return a row for each number of a (n, d) tensor."""
    n, d = values.shape
    return pd.DataFrame(
        {
            "kind": kind,
            "replicate": replicate,
            "index": torch.arange(n).repeat_interleave(d).numpy(),
            "parameter": torch.arange(d).repeat(n).numpy(),
            "value": values.flatten().float().numpy(),
        }
    )


def joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return one table of what cells kept. Cells of a task have the same reference draws, which stay once."""
    every = pd.concat([nothing(), *parts], ignore_index=True).astype(DTYPES)
    again = every.duplicated(["task", "kind", "index", "parameter"]) & (every["kind"] == "reference")
    return every[~again].reset_index(drop=True)


def belonging(kept: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return what the cells of `rows` kept, and the reference draws of their tasks, of whichever cell."""
    shared = (kept["kind"] == "reference") & kept["task"].isin(rows["task"])
    return kept[kept["cell"].isin(rows["cell"]) | shared]


def kept_in(folder: Path) -> pd.DataFrame:
    """Return what the cells of a result folder kept, as `read_kept` does."""
    return read_kept(folder / FILE)


def read_of_cell(path: Path, warn: Callable[[str], None]) -> pd.DataFrame:
    """Return what one cell kept; a damaged file is reported to `warn` and holds nothing."""
    try:
        return read_kept(path)
    except StoreError:
        warn(
            f"{path}: the file is damaged, so the draws of this cell are left out; delete it and "
            f"{path.parents[1] / 'cells' / path.name}, and run again to draw them anew."
        )
        return nothing()


def read_kept(path: Path) -> pd.DataFrame:
    """Read a file of kept numbers; there are none if there is no such file.

    Raises:
        StoreError: the file is damaged or cannot be read.
    """
    try:
        return read_content(path).to_pandas()[list(DTYPES)].astype(DTYPES)
    except FileNotFoundError:
        return nothing()
    except (DamagedError, KeyError, ValueError, TypeError) as error:
        raise StoreError(f"{path}: the file is damaged; `graybench run` makes it again.") from error
