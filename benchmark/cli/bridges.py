"""The command `graybench bridges`: what bridges reach where the truth is known."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer()


@app.command()
def bridges(
    out: Annotated[Path, typer.Option(help="The result folder.")] = Path("runs/bridges"),
    only: Annotated[list[str] | None, typer.Option(help="Run only this experiment; may be repeated.")] = None,
) -> None:
    """Run the bridge experiments that DIR lacks, and draw them; about an hour on one core."""
    from ...methods.progress import listening
    from ...tasks.errors import UserError
    from ...tasks.plugin import nearest
    from ..papers.bridge.experiments import EXPERIMENTS, run_experiment
    from ..papers.bridge.figures import draw_bridges
    from ..running.store import write_whole
    from ..running.writing import make_folder

    for name in only or ():
        if name not in EXPERIMENTS:
            raise UserError(f"there is no experiment {name!r}: {nearest(name, EXPERIMENTS)}")
    make_folder(out)
    console = Console()
    for name in only or EXPERIMENTS:
        path = out / f"{name}.csv"
        if path.exists():
            console.print(f"{path} is there already; delete it to run the experiment again.")
            continue
        with console.status(name) as status:

            def show(stage: str, done: int, total: int, label: str = name) -> None:
                status.update(f"{label}: {stage} {done} of {total}")

            with listening(show):
                frame = run_experiment(name)
        write_whole(path, frame.to_csv(index=False).encode())
        console.print(f"[bold]{path}[/bold]")
        console.print(frame.to_string(index=False), soft_wrap=True)
    for figure in draw_bridges(out):
        console.print(str(figure))
