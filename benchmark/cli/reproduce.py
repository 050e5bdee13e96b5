"""The command `graybench reproduce`: results, figures and claims of a paper on one page.

Heavy modules are imported inside the function, so that `graybench --help` is quick.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer()


@app.command()
def reproduce(
    context: typer.Context,
    paper: Annotated[
        str, typer.Argument(metavar="PAPER", help="`ltsm`, `bridge`, or `suite` for the suite's own claims.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The folder of the page and the results (default: runs/reproduce-PAPER)."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Use the results in the folders of DIR and run nothing."),
    ] = None,
) -> None:
    """Run the missing results of a paper, draw its figures, and test its claims."""
    from ...tasks.errors import UserError
    from ...tasks.plugin import nearest
    from ..papers.reproduce import PAPERS, run_missing, write_page
    from ..running.progress import say

    if paper not in PAPERS:
        raise UserError(f"there is no paper {paper!r}: {nearest(paper, PAPERS)}")
    if source is not None and not source.is_dir():
        raise UserError(f"{source}: there is no such folder.")
    target, console = out or Path("runs") / f"reproduce-{paper}", Console()
    command = f"graybench reproduce {paper}"
    if source is None:
        root = context.find_root().command
        run_missing(PAPERS[paper], target, lambda arguments: root.main(arguments, standalone_mode=False))
    else:
        command += f" --from {source}"
    for path in write_page(PAPERS[paper], source or target, target, f"{command} --out {target}"):
        say(console, str(path))
