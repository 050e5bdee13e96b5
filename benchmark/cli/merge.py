"""The command `graybench merge`: gather what parts of a sweep have left in several folders."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer()


@app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Result folders of one sweep.")],
    out: Annotated[Path, typer.Option(help="The result folder to gather them in.")],
) -> None:
    """Gather the finished cells of result folders of one sweep, such as its shards', and merge the table."""
    from ..running.merge import merge_folders
    from ..running.progress import say

    console = Console()
    finished, total = merge_folders(folders, out, partial(say, console))
    say(console, f"{finished} of {total} cells are finished. The table is {out / 'table.parquet'}.")
