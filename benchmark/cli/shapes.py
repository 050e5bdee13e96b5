"""The command line about shapes: `graybench shapes FILE --group COLUMN --out DIR`, or `--age` and `--id`.

What is heavy to import is imported inside the functions, so that `graybench --help` is quick.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

if TYPE_CHECKING:
    import pandas as pd

    from ..shapes.work import Units

app = typer.Typer()


@app.command()
def shapes(
    source: Annotated[
        str, typer.Argument(metavar="FILE_OR_NAME", help="A landmark file, or a shipped sample: apes, ...")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The result folder.")],
    group: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Which column has the groups (default: one group).")
    ] = None,
    age: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="For growth, with --id: the column of ages.")
    ] = None,
    identity: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="For growth: the column of the animals.")
    ] = None,
    particles: Annotated[int, typer.Option(min=2, help="Bridges for each specimen.")] = 16,
    steps: Annotated[int, typer.Option(min=2, help="Steps of a bridge.")] = 50,
    held_out: Annotated[int, typer.Option(min=2, help="How many folds are held out in turn.")] = 5,
    seed: Annotated[int, typer.Option(help="Names the random streams.")] = 0,
    nugget: Annotated[float, typer.Option(help="Of the kernel, in units of a².")] = 1e-3,
    keep_size: Annotated[
        bool, typer.Option("--keep-size", help="Scale all specimens by one factor (growth always does).")
    ] = False,
    as_aligned: Annotated[
        bool,
        typer.Option(
            "--as-aligned", help="Do not integrate position, orientation and size out: an ablation."
        ),
    ] = False,
) -> None:
    """Fit diffusions of landmarks to the shapes of groups, and tell the groups apart by likelihood."""
    from ...tasks.errors import UserError
    from ...tasks.landmarks.files import read_landmarks
    from ..shapes.fits import Settings
    from ..shapes.report import report_groups, report_growth

    if (age is None) != (identity is None):
        raise UserError("growth needs both --age and --id: the columns of the ages and of the animals.")
    if age is not None and group is not None:
        raise UserError("--group does not go with --age: growth is of all animals together.")
    settings = Settings(particles, steps, held_out, seed, nugget, keep_size, as_aligned)
    sample, console = read_landmarks(source), Console()
    units: list[Units] = []
    try:
        if age is not None and identity is not None:
            table = report_growth(sample, age, identity, settings, out, console, units)
        else:
            table = report_groups(sample, group, settings, out, console, units)
    except KeyboardInterrupt:
        _end_interrupted(units)
    _warn_of_low_ess(table, particles, console)


def _end_interrupted(units: "list[Units]") -> NoReturn:
    done, total = (units[0].done, units[0].total) if units else (0, 0)
    print(
        f"graybench: interrupted with {done} of {total} units finished; "
        "the same command goes on with the rest.",
        file=sys.stderr,
    )
    sys.exit(1)


def _warn_of_low_ess(table: "pd.DataFrame", particles: int, console: Console) -> None:
    """Say how many of the likelihoods behind the tables have collapsed onto a few bridges."""
    from ...methods.bridge.likelihood import least_ess_fraction
    from ..running.progress import say

    floor = least_ess_fraction(particles)
    low, least = int((table["ess_fraction"] < floor).sum()), table["ess_fraction"].min()
    say(console, f"The least ESS/N behind the {len(table)} likelihoods is {least:.2f}.")
    if low:
        say(
            console,
            f"warning: {low} of them have an ESS/N below {floor:.2g}, and are too low by an unknown amount: "
            "take more --particles.",
        )
