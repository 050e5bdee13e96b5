"""The table of results: its columns, and the rows of one cell.

A cell has one row for each metric, replicate, observation and diffusion time. A column that does not apply is
null.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

if TYPE_CHECKING:
    from .cell import Cell

DTYPES = {
    "task": "string",
    "task_version": "Int64",
    "method": "string",
    "method_settings": "string",
    "method_version": "Int64",
    "budget": "Int64",
    "replicate": "Int64",
    "observation": "Int64",
    "time": "float64",
    "metric": "string",
    "value": "float64",
    "stderr": "float64",
    "floor": "float64",
    "status": "string",
    "reason": "string",
    "n_simulations": "Int64",
    "n_score_calls": "Int64",
    "n_network_evaluations": "Int64",
    "fit_seconds": "float64",
    "sample_seconds": "float64",
    "device": "string",
    "cell": "string",
    "graybench": "string",
    "torch": "string",
    "root_seed": "Int64",
}
COLUMNS = tuple(DTYPES)
SINGLE = ("value", "stderr", "floor", "fit_seconds", "sample_seconds")  # numbers rounded to float32
ESSENTIAL = (  # a result table must have these columns; any other can be filled in
    "task",
    "method",
    "method_settings",
    "budget",
    "replicate",
    "observation",
    "time",
    "metric",
    "value",
    "status",
    "cell",
)
TIMINGS = ("fit_seconds", "sample_seconds")

STATUSES = ("ok", "skipped", "failed", "timeout", "not_finite")
IDENTITY = ("gate",)
TO_RETRY = ("failed", "timeout", "not_finite")


class Ending(NamedTuple):
    """How a cell ended: one of `STATUSES`, and a reason, which is empty for "ok"."""

    status: str
    reason: str


def frame(cell: "Cell", rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the table of one cell.

    The columns are `COLUMNS` with the types of `DTYPES`; those of `SINGLE` are rounded to float32. A row may
    leave out columns that are null or are the same for the whole cell. Missing whole numbers are NA, missing
    real numbers NaN, missing texts empty, and a missing status is "ok". Reasons are put on one line.

    Raises:
        ValueError: a row has an unknown column.
    """
    same = {
        **dict.fromkeys((column for column, dtype in DTYPES.items() if dtype == "string"), ""),
        "task": cell.task.label,
        "task_version": cell.task.version,
        "method": cell.method.name,
        "method_settings": cell.method.settings,
        "method_version": cell.method.version,
        "budget": cell.budget,
        "status": "ok",
        "cell": cell.id,
        "graybench": _installed("graybench"),
        "torch": _installed("torch"),
        "root_seed": cell.root_seed,
    }
    records = [{**same, **row} for row in rows]
    for record in records:
        if unknown := record.keys() - DTYPES.keys():
            raise ValueError(f"a result row has no column {sorted(unknown)[0]!r}")
        record["reason"] = " ".join(record["reason"].split())
    made = pd.DataFrame.from_records(records, columns=list(COLUMNS))
    return made.astype(dict.fromkeys(SINGLE, "float32")).astype(DTYPES)


@cache
def _installed(package: str) -> str:
    """Return the version of an installed package; cached, because a look-up reads files."""
    return version(package)


def failure_rows(cell: "Cell", status: str, reason: str) -> pd.DataFrame:
    """Return the table of a cell without a result: one row for each metric, all with the same reason."""
    return frame(cell, [{"metric": metric, "status": status, "reason": reason} for metric in cell.metrics])


def ending(rows: pd.DataFrame) -> Ending:
    """Return how the cell of these rows ended.

    A row that timed out, failed or was not finite decides, in this order. The cell is skipped only if all its
    rows are: a metric that does not apply to a method is a skipped row of an ok cell.
    """
    statuses = list(rows["status"])
    for status in ("timeout", "failed", "not_finite"):
        if status in statuses:
            return Ending(status, str(rows["reason"].iloc[statuses.index(status)]))
    if set(statuses) == {"skipped"}:
        return Ending("skipped", str(rows["reason"].iloc[0]))
    return Ending("ok", "")


def with_variants(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with two more columns, made from the settings: `label` and `variant`.

    The gate belongs to the label, as in `mix(gate=learned)`. All other settings make the variant.
    """
    settings = frame["method_settings"].str.split()
    identity = [" ".join(s for s in each if s.split("=")[0] in IDENTITY) for each in settings]
    variant = [" ".join(s for s in each if s.split("=")[0] not in IDENTITY) for each in settings]
    label = [f"{name}({own})" if own else name for name, own in zip(frame["method"], identity, strict=True)]
    return frame.assign(label=label, variant=variant)
