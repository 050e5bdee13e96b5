"""The command line: `graybench run | table | compare | figures`; other modules of this folder add commands.

The exit status is 2 for a mistake of the user and 1 for any other error, with one line on stderr, and 1 if a
check fails. Heavy modules are imported inside the functions, so that `graybench --help` is quick.
"""

import os
import re
import sys
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from . import advise, bench, bridges, merge, plugins, report, reproduce, shapes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas import DataFrame

    from ..running.cell import Cell
    from ..running.store import Store

app = typer.Typer(
    help="Benchmark simulation-based inference with simulators that report joint scores.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(plugins.app)
app.add_typer(merge.app)
app.add_typer(bridges.app)
app.add_typer(shapes.app)
app.add_typer(bench.app)
app.add_typer(reproduce.app)
app.add_typer(report.app)
app.add_typer(advise.app)


class Format(StrEnum):
    """How a table is printed."""

    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    LATEX = "latex"


Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A result folder of `graybench run`.")]


def main() -> None:
    """Run the command line. This is the entry point of `graybench`."""
    try:
        sys.path.append(_working_folder())  # plug-ins in files here are `module:Class`
        app([_with_home(argument) for argument in sys.argv[1:]])
    except Exception as error:
        status = _exit_status(error)
        if status is None:
            raise
        print(f"graybench: {error}", file=sys.stderr)
        sys.exit(status)


def _working_folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # printed here, because torch cannot be imported without a working folder
        print("graybench: the current folder has been deleted; change to another one.", file=sys.stderr)
        sys.exit(2)


def _with_home(argument: str) -> str:
    """Replace ~ by the home folder in `~/x` and in `--out=~/x`, where most shells do not."""
    option, path = re.fullmatch(r"(--[\w-]+=)?(.*)", argument, re.DOTALL).groups(default="")  # type: ignore[union-attr]
    return option + os.path.expanduser(path)


def _exit_status(error: Exception) -> int | None:
    """Return the exit status of an error that needs no traceback; None for a bug."""
    from ...tasks.errors import UserError

    if isinstance(error, UserError):
        return 2
    from ..running.writing import StoreError

    if isinstance(error, StoreError | OSError):
        return 1
    from ..running.cluster.runner import ClusterError

    return 1 if isinstance(error, ClusterError) else None


@app.command()
def run(
    sweep: Annotated[
        Path, typer.Argument(metavar="SWEEP", help="A sweep file, or the name of a sweep of graybench.")
    ],
    out: Annotated[Path | None, typer.Option(help="The result folder (default: runs/SWEEP-NAME).")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes (default: all cores).")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a running Dask scheduler.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Run only this task; may be repeated.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Run only this method; may be repeated.")] = None,
    budget: Annotated[list[int] | None, typer.Option(help="Run only this budget; may be repeated.")] = None,
    shard: Annotated[str | None, typer.Option(metavar="I/N", help="Run only part I of N, from 1.")] = None,
    device: Annotated[
        str, typer.Option(help="cpu, cuda or cuda:N, for score matching; other methods use the CPU.")
    ] = "cpu",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Rerun cells that failed, timed out or were not finite.")
    ] = False,
) -> None:
    """Run the missing cells of a sweep, and make its table."""
    from ...tasks.errors import UserError

    try:
        import dask  # noqa: F401  # Dask reads its configuration
    except Exception as error:
        raise UserError(f"Dask cannot be imported: {' '.join(str(error).split())}.") from error
    if scheduler is None:
        from ..running.cluster import forks

        forks.start()  # first, for it takes as long as all that follows
    from ...methods.device import require, require_name
    from ..running.cluster.interruption import end, interruptible
    from ..running.cluster.runner import ClusterError
    from ..running.progress import say, summarize
    from ..running.shard import Shard
    from ..running.store import Store
    from ..running.sweep import Sweep, sweep_file

    if workers is not None and scheduler is not None:
        raise UserError("--workers is for the local cluster and cannot be used with --scheduler.")
    (require if scheduler is None else require_name)(device)
    loaded = Sweep.load(sweep_file(sweep))
    asked = Shard.parse(shard or "1/1").of(loaded.select(task or (), method or (), budget or ()))
    cells = loaded.cells()
    store = Store(out or Path("runs") / loaded.name, loaded)
    console = Console()
    try:
        with interruptible():
            endings = _run_missing(asked, store, console, workers, scheduler, device, retry_failed)
    except KeyboardInterrupt:
        _merge(cells, store, console)
        finished = len(store.finished(asked, warn=partial(say, console)))
        told = f"interrupted with {finished} of {len(asked)} cells finished"
        end(f"{told}; run the same command again to finish.")
    except ClusterError:
        _merge(cells, store, console)
        raise
    _merge(cells, store, console)
    summarize(console, asked, endings, store.folder)


def _run_missing(
    asked: "Sequence[Cell]",
    store: "Store",
    console: Console,
    workers: int | None,
    scheduler: str | None,
    device: str,
    retry_failed: bool,
) -> "dict[str, Any]":
    from dask.system import CPU_COUNT

    from ..running.cluster.runner import local_cluster, remote_cluster, run_cells
    from ..running.progress import Display, say
    from ..running.rows import TO_RETRY

    endings = store.finished(asked, warn=partial(say, console))
    kept = {i: e for i, e in endings.items() if not (retry_failed and e.status in TO_RETRY)}
    missing = [cell for cell in asked if cell.id not in kept]
    say(console, f"{len(asked)} cells, {len(kept)} of them finished before.")
    if not missing:
        return kept
    processes = min(workers or CPU_COUNT, len(missing))
    cluster = remote_cluster(scheduler) if scheduler else local_cluster(processes)
    with cluster as client, Display(console, len(asked), len(kept)) as display:
        return kept | run_cells(missing, client, store, display, device)


def _merge(cells: "Sequence[Cell]", store: "Store", console: Console) -> None:
    from ..running.progress import say

    strangers = store.merge(cells, warn=partial(say, console))
    if strangers:
        say(
            console,
            f"{strangers} cells in {store.cells} do not belong to the current sweep and are left out.",
        )


@app.command()
def table(
    folder: Folder,
    metric: Annotated[str | None, typer.Option(help="The metric (default: mmd, or the first).")] = None,
    form: Annotated[Format, typer.Option("--format", help="LaTeX needs booktabs.")] = Format.TERMINAL,
    wide: Annotated[
        bool, typer.Option("--wide", help="Means, tasks across: a table for each budget.")
    ] = False,
) -> None:
    """Print a table of one metric: methods down, budgets across, one table for each task."""
    from ..running.table import read_table

    frame = read_table(folder)
    if metric is None:
        averaged = frame[frame["time"].isna() & (frame["status"] == "ok")]["metric"].unique()
        metrics = [*averaged, *frame["metric"].unique()]
        metric = "mmd" if "mmd" in metrics else metrics[0]
    _require_metric(metric, frame, folder)
    if form is Format.TERMINAL:
        from ..analysis.table import print_table

        print_table(frame, metric, plugins.table_console(), wide)
        return
    from ..analysis.formats import as_latex, as_markdown

    print((as_latex if form is Format.LATEX else as_markdown)(frame, metric, wide))


@app.command()
def compare(
    folder: Folder,
    other: Annotated[
        Path | None, typer.Argument(metavar="DIR_B", help="A second result folder: print what changed.")
    ] = None,
    metric: Annotated[str, typer.Option(help="The metric.")] = "score_error",
    method: Annotated[
        str | None, typer.Option(help="Such as 'mix(gate=learned)' or 'dsm(steps=30000)' (default: mix).")
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="The method to compare with (default: dsm).")] = None,
    form: Annotated[Format, typer.Option("--format", help="LaTeX needs booktabs.")] = Format.TERMINAL,
) -> None:
    """Compare a method with a baseline; or, with two folders, print what changed cell by cell."""
    from ...tasks.errors import UserError
    from ..running.table import read_table

    console = plugins.table_console()
    if other is None:
        from ..analysis import comparison_table

        asked = read_table(folder), metric, method or "mix", baseline or "dsm"
        if form is Format.TERMINAL:
            comparison_table.print_comparison(*asked, console)
        elif form is Format.LATEX:
            print(comparison_table.comparison_as_latex(*asked))
        else:
            print(comparison_table.comparison_as_markdown(*asked))
        return
    if method or baseline or form is not Format.TERMINAL:
        raise UserError("--method, --baseline and --format are for one folder and cannot be used with DIR_B.")
    from ..analysis.changes import print_changes

    tables = read_table(folder), read_table(other)
    for path, frame in zip((folder, other), tables, strict=True):
        _require_metric(metric, frame, path)
    print_changes(*tables, metric, [str(folder), str(other)], console)


@app.command()
def quality(
    folder: Folder,
    metric: Annotated[str, typer.Option(help="The metric.")] = "c2st_mlp",
    margin: Annotated[float, typer.Option(min=0, help="How much worse than the best still counts.")] = 0.02,
) -> None:
    """Print the seconds of the methods that are as good as the best: tasks down, a table for each budget."""
    from ..analysis.quality import print_time_to_quality
    from ..running.table import read_table

    frame = read_table(folder)
    _require_metric(metric, frame, folder)
    print_time_to_quality(frame, metric, margin, plugins.table_console())


def _require_metric(metric: str, frame: "DataFrame", folder: Path) -> None:
    from ...tasks.errors import UserError
    from ...tasks.plugin import nearest

    metrics = list(frame["metric"].unique())
    if metric not in metrics:
        raise UserError(f"there is no metric {metric!r} in {folder}: {nearest(metric, metrics)}")


@app.command()
def figures(
    folder: Folder,
    only: Annotated[str, typer.Option(help="Draw one kind of figure, such as over_option.")] = "",
    method: Annotated[
        list[str] | None,
        typer.Option(help="Draw only this method, such as mix or 'mix(gate=auto)'; may be repeated."),
    ] = None,
) -> None:
    """Draw every figure that a result folder allows, as PDF and PNG."""
    from ..analysis.table import of_methods
    from ..running.kept import belonging, kept_in
    from ..running.table import read_table

    frame = of_methods(read_table(folder), method or [])
    from ..figures.draw import draw_all

    drawn = draw_all(frame, belonging(kept_in(folder), frame), folder / "figures", only)
    for path in drawn:
        print(path)
    if not drawn and only:
        print(f"no figure of the kind {only} can be drawn; leave out --only to draw all that can be.")
    elif not drawn:
        ok = sorted(frame["metric"][frame["status"] == "ok"].unique())
        why = f"there is no figure of {', '.join(ok)}" if ok else "no row of the table is ok"
        print(f"no figure can be drawn: {why}.")


if __name__ == "__main__":
    main()
