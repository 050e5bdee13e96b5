"""The command `graybench advise`: which method at a budget, from result tables."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from ..analysis.advice import Advice, Features

app = typer.Typer()

RELEASED = tuple(Path(__file__).parents[2] / "results" / name for name in ("rivals", "suite"))
STRUCTURES = ("vector", "items", "series", "field")


@app.command()
def advise(
    budget: Annotated[int, typer.Option(min=1, help="The number of simulations that you can afford.")],
    task: Annotated[str | None, typer.Argument(help="A task, as in `galton` or `galton(rows=10)`.")] = None,
    dim_theta: Annotated[int | None, typer.Option(min=1, help="Without a task: the parameters.")] = None,
    dim_x: Annotated[
        int | None, typer.Option(min=1, help="Without a task: the components of the data.")
    ] = None,
    structure: Annotated[
        str | None, typer.Option(help="Without a task: vector (the default), items, series or field.")
    ] = None,
    joint_score: Annotated[bool, typer.Option(help="Does the simulator report joint scores?")] = True,
    seconds: Annotated[float, typer.Option(min=0, help="The longest fit that is allowed.")] = math.inf,
    metric: Annotated[str, typer.Option(help="What decides.")] = "c2st_mlp",
    folders: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            metavar="DIR",
            help="A result folder; may be repeated (default: results/rivals and results/suite of a clone).",
        ),
    ] = None,
) -> None:
    """Print which methods did best at a budget, on a task or on tasks like yours.

    If a result folder holds the task, the others are not asked.
    """
    from ...tasks.errors import UserError
    from ..analysis.advice import on_like_tasks, on_task
    from ..running.table import read_table

    console = Console()
    asked = folders or [folder for folder in RELEASED if folder.is_dir()]
    if not asked:
        raise UserError("advise: there are no released results here; name a result folder by --from.")
    features = _features(task, dim_theta, dim_x, structure, joint_score)
    tables = {folder: read_table(folder) for folder in asked}
    knowing = {folder: table for folder, table in tables.items() if task in set(table["task"])}
    for folder, table in (knowing or tables).items():
        if knowing:
            advice = on_task(table, str(task), budget, metric, seconds, features.offers)
        else:
            advice = on_like_tasks(table, features, budget, metric, seconds)
        _print(advice, folder, metric, task, console)


def _features(
    task: str | None, dim_theta: int | None, dim_x: int | None, structure: str | None, joint_score: bool
) -> "Features":
    from ...tasks.errors import UserError
    from ...tasks.plugin import require_choice
    from ..analysis.advice import SCORES, Features, features_of
    from ..analysis.labels import task_of

    if task is None:
        if dim_theta is None or dim_x is None:
            raise UserError("advise: name a task, or give --dim-theta and --dim-x.")
        form = structure or "vector"
        require_choice("advise", "structure", form, STRUCTURES)
        return Features(dim_theta, dim_x, form, SCORES & {"joint_score"} if joint_score else frozenset())
    if dim_theta is not None or dim_x is not None or structure is not None:
        raise UserError(
            "advise: a task has its own dimensions and structure; leave out --dim-theta, --dim-x and "
            "--structure."
        )
    made = task_of(task)
    if made is None:
        raise UserError(f"advise: there is no task {task!r}; `graybench tasks` lists them.")
    own = features_of(made)
    return own if joint_score else own._replace(offers=own.offers - {"joint_score"})


def _print(advice: "Advice", folder: Path, metric: str, task: str | None, console: Console) -> None:
    from rich.table import Table

    from ..running.progress import say

    known = advice.tasks == [task]
    what = f"{metric}, mean" if known else f"rank by {metric}, mean over tasks ({len(advice.tasks)})"
    say(console, f"{folder}: {task or 'tasks like yours'}, {advice.budget:,} simulations")
    table = Table()
    for column in ("method", f"{what} \\[95 % interval]", "seconds a fit", "" if known else None):
        if column is not None:
            table.add_column(column, justify="left" if column in ("method", "") else "right")
    for row in advice.methods:
        ends = "" if math.isnan(row.low) else f" \\[{row.low:.3g}, {row.high:.3g}]"
        value = "" if math.isnan(row.value) else f"{row.value:.3g}{ends}"
        seconds = "" if math.isnan(row.seconds) else f"{row.seconds:.3g}"
        cells = [row.label.replace("[", "\\["), value, seconds, row.verdict]
        table.add_row(*cells[: len(table.columns)])
    console.print(table)
    if not known:
        say(console, f"The tasks are {', '.join(advice.tasks)}.")
    if advice.given_up:
        features = " and ".join(advice.given_up)
        say(console, f"No task in the table is like yours in {features}, so these ranks may not hold for it.")
