"""The command `graybench bridges`: experiments with diffusion bridges."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer()


@app.command()
def bridges(
    out: Annotated[Path, typer.Option(help="The result folder.")] = Path("runs/bridges"),
    only: Annotated[
        list[str] | None,
        typer.Option(help="Run only this experiment, which is also the name of its table; may be repeated."),
    ] = None,
) -> None:
    """Run the missing bridge experiments and draw their figures; without --only all but those on trees."""
    from ...tasks.errors import UserError
    from ...tasks.plugin import nearest
    from ..papers.bridge.experiments.catalogue import EXPERIMENTS, count_pieces, run_experiment
    from ..papers.bridge.experiments.trees import TREES
    from ..papers.bridge.figures import draw_bridges
    from ..running.pieces import Pieces
    from ..running.writing import write_whole

    for name in only or ():
        if name not in EXPERIMENTS:
            raise UserError(f"there is no experiment {name!r}: {nearest(name, EXPERIMENTS)}")
    console, names = Console(), only or [name for name in EXPERIMENTS if name not in TREES]
    with Pieces(out, console, count_pieces(names)) as pieces:
        for name in names:
            frame = run_experiment(name, pieces)
            path = out / f"{name}.csv"
            write_whole(path, frame.to_csv(index=False).encode())
            console.print(f"[bold]{path}[/bold]")
            console.print(frame.to_string(index=False), soft_wrap=True)
    for figure in draw_bridges(out):
        console.print(str(figure))
