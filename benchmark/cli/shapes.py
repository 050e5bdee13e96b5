"""The command `graybench shapes`: fit diffusions of landmarks to groups, or to growth (`--age`, `--id`).

Heavy modules are imported inside the functions, so that `graybench --help` is quick.
"""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    import pandas as pd


app = typer.Typer()
POINTS = {"papilio": 20}  # of the 1,000 points of an outline, unless --points says otherwise


@app.command()
def shapes(
    source: Annotated[
        str, typer.Argument(metavar="FILE_OR_NAME", help="A landmark file, or a data set: apes, papilio, ...")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The result folder.")],
    group: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column of the groups (default: one group).")
    ] = None,
    age: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="For growth, with --id: the column of ages.")
    ] = None,
    identity: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="For growth: the column of the animals.")
    ] = None,
    points: Annotated[
        int | None,
        typer.Option(
            help="Thin closed outlines to this many points at equal arc length (default: all; papilio 20)."
        ),
    ] = None,
    particles: Annotated[int, typer.Option(min=2, help="Bridges for each specimen.")] = 16,
    steps: Annotated[int, typer.Option(min=2, help="Steps of a bridge.")] = 50,
    held_out: Annotated[int, typer.Option(min=2, help="Number of folds; each is held out in turn.")] = 5,
    seed: Annotated[int, typer.Option(help="The seed.")] = 0,
    nugget: Annotated[
        float, typer.Option(help="Number added to the kernel's diagonal, in units of a².")
    ] = 1e-3,
    keep_size: Annotated[
        bool, typer.Option("--keep-size", help="Scale all specimens by one factor (growth always does).")
    ] = False,
    as_aligned: Annotated[
        bool,
        typer.Option(
            "--as-aligned", help="Do not integrate out position, orientation and size (an ablation)."
        ),
    ] = False,
) -> None:
    """Fit diffusions of landmarks to the shapes of groups, and classify specimens by likelihood."""
    from ...tasks.errors import UserError
    from ...tasks.landmarks.files import read_landmarks
    from ...tasks.landmarks.outlines import thinned
    from ..running.progress import say
    from ..shapes.fits import Settings
    from ..shapes.report import report_groups, report_growth

    if (age is None) != (identity is None):
        raise UserError("growth needs both --age and --id, the columns of ages and of animals.")
    if age is not None and group is not None:
        raise UserError("--group cannot be used with --age: growth is fitted to all animals together.")
    settings, console = Settings(particles, steps, seed, nugget, keep_size, as_aligned), Console()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        sample = read_landmarks(source)
    points = POINTS.get(source) if points is None else points
    if points is not None:
        sample = replace(sample, coordinates=thinned(sample.coordinates, points))
        say(console, f"Outlines are thinned to {points} points at equal arc length.")
    for warning in heard:
        say(console, f"warning: {warning.message}")
    if age is not None and identity is not None:
        table = report_growth(sample, age, identity, settings, out, console)
    else:
        table = report_groups(sample, group, settings, held_out, out, console)
    _warn_of_low_ess(table, particles, console)


def _warn_of_low_ess(table: "pd.DataFrame", particles: int, console: Console) -> None:
    """Print the least ESS/N of the likelihoods in a table, and a warning if some are too low."""
    from ...methods.bridge.likelihood import least_ess_fraction
    from ..running.progress import say

    floor = least_ess_fraction(particles)
    low, least = int((table["ess_fraction"] < floor).sum()), table["ess_fraction"].min()
    say(console, f"The least ESS/N behind the {len(table)} likelihoods is {least:.2f}.")
    if low:
        say(
            console,
            f"warning: {low} of them have an ESS/N below {floor:.2g} and are too low by an unknown amount; "
            "use more --particles.",
        )
