"""The command `graybench merge`: merge result folders of one sweep, such as the folders of its shards."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer()


@app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Result folders of one sweep.")],
    out: Annotated[Path, typer.Option(help="The result folder to write.")],
) -> None:
    """Copy the finished cells of several result folders of one sweep into one folder, and make its table."""
    from ..running.merge import merge_folders
    from ..running.progress import say

    console = Console()
    finished, total = merge_folders(folders, out, partial(say, console))
    say(console, f"{finished} of {total} cells are finished. The table is {out / 'table.parquet'}.")
