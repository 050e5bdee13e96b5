"""Result tables as Parquet files: read, checked against the columns of a result table, and written."""

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from ...tasks.errors import UserError
from .rows import COLUMNS, DTYPES, ESSENTIAL, SINGLE
from .writing import StoreError

LEVEL = 9  # of zstd
ARROW = {"string": pa.string(), "Int64": pa.int64(), "float64": pa.float64()}


class DamagedError(Exception):
    """The content of a file is not what was written; the message is half a sentence."""


def read_table(folder: Path) -> pd.DataFrame:
    """Read the table of a result folder.

    Raises:
        UserError: there is no such folder, no table in it, or no finished cell in the table.
        StoreError: the table is damaged.
    """
    path = folder / "table.parquet"
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder.")
    try:
        table = to_frame(read_parquet(path))
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file; `graybench run` makes it.") from error
    except DamagedError as error:
        raise StoreError(f"{path}: the file is damaged ({error}); `graybench run` makes it again.") from error
    if table.empty:
        raise UserError(f"{path}: no cell is finished yet.")
    return table


def to_parquet(rows: pd.DataFrame) -> bytes:
    """Return the content of a Parquet file with checksums; the columns `SINGLE` are stored as float32.

    The bytes of these columns are stored in four streams, which takes three tenths of the space of float64.
    """
    single = [column for column in SINGLE if column in rows]
    return to_content(
        rows.astype(dict.fromkeys(single, "float32")),
        use_dictionary=[column for column in rows if column not in single],
        column_encoding=dict.fromkeys(single, "BYTE_STREAM_SPLIT"),
    )


def to_content(frame: pd.DataFrame, **encoding: Any) -> bytes:
    """Return the content of a Parquet file with checksums, which `read_content` reads."""
    buffer = io.BytesIO()
    frame.to_parquet(
        buffer,
        engine="pyarrow",
        index=False,
        write_page_checksum=True,
        compression="zstd",
        compression_level=LEVEL,
        **encoding,
    )
    return buffer.getvalue()


def read_content(path: Path) -> pa.Table:
    """Read a Parquet file with checksums.

    Raises:
        FileNotFoundError: there is no file.
        StoreError: the file cannot be read.
        DamagedError: the content is not what was written.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{path}: it cannot be read: {error.strerror}.") from error
    try:
        # a buffer, not a Python file: an Arrow thread may release a file after Python has ended, and abort
        file = parquet.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        return file.read(use_threads=False)
    except Exception as error:  # pyarrow raises OSError, ValueError and others for a damaged file
        raise _damaged(error) from error


def _damaged(error: Exception) -> DamagedError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return DamagedError(reason.rstrip("."))


def read_parquet(path: Path) -> pa.Table:
    """Read a result table with pyarrow, which takes a tenth of pandas' time for a small table.

    Raises:
        FileNotFoundError: there is no file.
        StoreError: the file cannot be read.
        DamagedError: the content is not a result table.
    """
    rows = read_content(path)
    try:
        types = {column["name"]: column["numpy_type"] for column in rows.schema.pandas_metadata["columns"]}
        columns = {name: types[name] for name in rows.column_names}
        single = {name for name in SINGLE if columns.get(name) == "float32"}
        columns |= dict.fromkeys(single, "float64")
        for name in single:
            place = rows.column_names.index(name)
            rows = rows.set_column(place, name, rows[name].cast(pa.float64()))
    except Exception as error:  # another kind of table
        raise _damaged(error) from error
    if not columns.items() <= DTYPES.items():
        raise DamagedError("it does not have the columns of a result table")
    if missing := [column for column in ESSENTIAL if column not in columns]:
        raise DamagedError(f"it has no column {missing[0]}")
    return _filled(rows)


def _filled(rows: pa.Table) -> pa.Table:
    """Return a table with the columns that an older version lacks: empty texts and null numbers."""
    for place, (column, dtype) in enumerate(DTYPES.items()):
        if column not in rows.column_names:
            empty = [""] * len(rows) if dtype == "string" else [None] * len(rows)
            rows = rows.add_column(place, column, pa.array(empty, ARROW[dtype]))
    return rows.select(COLUMNS)


def to_frame(rows: pa.Table) -> pd.DataFrame:
    """Return a result table of pyarrow as a table of pandas, with the types of `rows.DTYPES`."""
    return rows.to_pandas().astype(DTYPES)
