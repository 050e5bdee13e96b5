"""The command line about speed: `graybench bench`.

What is heavy to import is imported inside the functions, so that `graybench --help` is quick.
"""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Less of everything: a few minutes.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="PART", help="Only this part; may be repeated.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The result folder.")] = Path("runs/bench"),
) -> None:
    """Measure speeds side by side, as ratios; print them, and store them in DIR."""
    from ..speed.bench import measure

    measure(only or (), quick, out, print)
