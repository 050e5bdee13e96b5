"""The command `graybench shapes`: diffusions of landmarks for groups, growth (`--age`, `--id`) or a `--tree`.

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

    from ...tasks.landmarks.sample import LandmarkSample
    from ...tasks.landmarks.trees import Tree

app = typer.Typer()
POINTS = {"papilio": 20}  # of the 1,000 points of an outline, unless --points says otherwise
UNITS = {"papilio": "expected substitutions", "carnivores": "million years"}  # of the trees with names
BRIDGES_ONLY = ("particles", "steps", "base", "start", "as_aligned", "age", "identity", "also")
FOLDS = 5
TREES_ONLY = ("chains", "draws", "time_unit")


@app.command()
def shapes(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="FILE_OR_NAME", help="A landmark file, or a data set: apes, papilio, ...")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The result folder.")],
    group: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="The column of the groups (default: one group; with --tree the column species, else names).",
        ),
    ] = None,
    also: Annotated[
        str | None,
        typer.Option(
            metavar="FILE_OR_NAME",
            help="More specimens with the same landmarks, of no group: score them under every group's fit.",
        ),
    ] = None,
    tree: Annotated[
        str | None,
        typer.Option(
            metavar="FILE_OR_NAME",
            help="A Newick file with the tree of the groups, or papilio or carnivores.",
        ),
    ] = None,
    time_unit: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="With --tree: the unit of the lengths of branches."),
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
    base: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What guides bridges: auto, heat_kernel, or midpoint, which takes four times as long.",
        ),
    ] = "auto",
    start: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The shape that a group's diffusion starts in: fitted with a and ℓ, or held at the mean.",
        ),
    ] = "fitted",
    chains: Annotated[int, typer.Option(min=2, help="With --tree: number of chains.")] = 4,
    draws: Annotated[int, typer.Option(min=4, help="With --tree: number of draws of each chain.")] = 200,
    held_out: Annotated[
        int | None,
        typer.Option(min=2, help="Number of folds, of specimens or species; each is held out (default: 5)."),
    ] = None,
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
    """Fit diffusions of landmarks to the shapes of groups and classify specimens, or estimate ancestors."""
    from ...tasks.errors import UserError
    from ..running.progress import say
    from ..shapes.fits import Settings
    from ..shapes.report import report_groups, report_growth

    console = Console()
    _refuse(context, *((BRIDGES_ONLY, "with") if tree is not None else (TREES_ONLY, "without")))
    if tree is not None:
        from ..shapes.tree_report import report_tree
        from ..shapes.trees import TreeSettings

        known = _tree(tree, time_unit)
        sample, outline = _landmarks(source, points, console)
        on_tree = TreeSettings(chains, draws, seed, nugget, keep_size)
        report_tree(sample, known, group, on_tree, held_out, outline, out, console)
        return
    if (age is None) != (identity is None):
        raise UserError("growth needs both --age and --id, the columns of ages and of animals.")
    if age is not None and group is not None:
        raise UserError("--group cannot be used with --age: growth is fitted to all animals together.")
    if age is not None and also is not None:
        raise UserError("--also cannot be used with --age: it scores specimens under the fits of groups.")
    if age is not None and held_out is not None:
        raise UserError("--held-out cannot be used with --age: growth holds nothing out; leave it out.")
    if age is not None and start != "fitted":
        raise UserError("--start cannot be used with --age: each animal starts in its own younger shape.")
    settings = Settings(particles, steps, seed, nugget, keep_size, as_aligned, base, start)
    sample, outline = _landmarks(source, points, console)
    if start == "mean":
        say(console, "Starts of groups are held at their mean shapes: only a and ℓ are fitted.")
    if age is not None and identity is not None:
        table = report_growth(sample, age, identity, settings, out, console)
    else:
        others = None if also is None else _landmarks(also, points or POINTS.get(source), console)[0]
        table = report_groups(sample, group, settings, held_out or FOLDS, out, console, others, outline)
    _warn_of_low_ess(table, particles, console)


def _refuse(context: typer.Context, options: tuple[str, ...], word: str) -> None:
    """Raise if one of some options is given, which has no meaning with, or without, --tree."""
    from ...tasks.errors import UserError

    flags = {parameter.name: parameter.opts[-1] for parameter in context.command.params}
    for name in options:
        given = context.get_parameter_source(name)
        if given is not None and given.name == "COMMANDLINE":
            raise UserError(f"{flags[name]} has no meaning {word} --tree; leave it out.")


def _tree(tree: str, unit: str | None) -> "Tree":
    """Read a Newick file, or the tree of a data set."""
    from ...tasks.landmarks.public import tree_file
    from ...tasks.landmarks.trees import read_tree

    path = tree_file(tree) if tree in UNITS else Path(tree)
    return read_tree(path, unit or UNITS.get(tree, "units of branch length"))


def _landmarks(source: str, points: int | None, console: Console) -> "tuple[LandmarkSample, bool]":
    """Read landmarks, with outlines thinned; return also whether they are outlines."""
    from ...tasks.landmarks.files import read_landmarks
    from ...tasks.landmarks.outlines import thinned
    from ..running.progress import say

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        sample = read_landmarks(source)
    points = POINTS.get(source) if points is None else points
    if points is not None:
        sample = replace(sample, coordinates=thinned(sample.coordinates, points))
        say(console, f"Outlines are thinned to {points} points at equal arc length.")
    for warning in heard:
        say(console, f"warning: {warning.message}")
    return sample, points is not None


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
