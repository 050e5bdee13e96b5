"""The command `graybench bench`: timings side by side.

Heavy modules are imported inside the functions, so that `graybench --help` is quick.
"""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def bench(
    quick: Annotated[
        bool, typer.Option("--quick", help="Measure less of everything, in a few minutes.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART",
            help="Measure only this part: training, sampling, simulators, gates, metrics, growth, scale or "
            "end_to_end; may be repeated.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The result folder.")] = Path("runs/bench"),
) -> None:
    """Time the suite and other programs side by side; print and store seconds and ratios."""
    from ..speed.bench import measure

    measure(only or (), quick, out, print)
