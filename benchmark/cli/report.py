"""The command `graybench report`: a static site from result folders."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()
PACKAGES = ("altair", "jinja2", "vl_convert")  # the packages of the extra `report`


@app.command()
def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Result folders of `graybench run`.")
    ],
    out: Annotated[Path, typer.Option(metavar="SITE", help="The folder of the site; open its index.html.")],
) -> None:
    """Write a static site: overview, leaderboard, tasks, methods, figures, failures and provenance."""
    from ...tasks.errors import UserError

    try:
        from ..report.site import write_site
    except ModuleNotFoundError as error:
        if error.name not in PACKAGES:
            raise
        raise UserError(
            f"graybench report needs the package {error.name}: pip install 'graybench[report]'."
        ) from error
    written = write_site(folders, out)
    size = sum(path.stat().st_size for path in written)
    print(f"{out / 'index.html'}: {len(written)} files, {size / 1e6:.1f} MB.")
