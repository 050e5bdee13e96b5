"""Tables of `graybench shapes` as files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from ..running.progress import say
from ..running.writing import write_whole


def write_tables(written: Mapping[str, pd.DataFrame], folder: Path, console: Console) -> None:
    """Write each table to DIR/<name>.csv, with six significant digits."""
    for name, table in written.items():
        path = folder / f"{name}.csv"
        write_whole(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode())
        tell([path], console)


def tell(paths: Sequence[Path], console: Console) -> None:
    """Name files on the console, a line each."""
    for path in paths:
        say(console, str(path))
