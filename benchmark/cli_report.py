"""The command `graybench report`: result folders as a static site."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Result folders of `graybench run`.")
    ],
    out: Annotated[Path, typer.Option(metavar="SITE", help="Where the site goes: open its index.html.")],
) -> None:
    """Write a site that opens from disk: leaderboard, tasks, methods, figures, failures, provenance."""
    from benchmark.report.site import write_site

    written = write_site(folders, out)
    size = sum(path.stat().st_size for path in written)
    print(f"{out / 'index.html'}: {len(written)} files, {size / 1e6:.1f} MB.")
