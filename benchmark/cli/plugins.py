"""The commands about tasks and methods: `graybench tasks | methods | check | information`.

Heavy modules are imported inside the functions, so that `graybench --help` is quick.
"""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...methods.method import Method
    from ...tasks.registry import Registry
    from ...tasks.task import Task
    from ..checks.conformance import Finding

app = typer.Typer()
check_app = typer.Typer(help="Check that a plug-in keeps its contract.", no_args_is_help=True)
app.add_typer(check_app, name="check")

FILE_WIDTH = 200  # width of a table in a file or pipe, which have no width of their own


def table_console() -> Console:
    """Return a console for tables."""
    console = Console()
    return console if console.is_terminal else Console(width=FILE_WIDTH)


@app.command()
def tasks() -> None:
    """List the tasks: dimensions, capabilities and a line of description."""
    from ...tasks import REGISTRY

    def row(name: str, task: "Task") -> list[str]:
        kinds = {"reference": f"reference ({task.reference_kind})"}
        capabilities = ", ".join(kinds.get(c, c) for c in sorted(task.capabilities))
        return [name, str(task.dim_theta), str(task.dim_x), capabilities, task.summary]

    _print_list(REGISTRY, row, Column("task", no_wrap=True), "dim θ", "dim x", "capabilities", "summary")


@app.command()
def methods() -> None:
    """List the methods: what each requires of a task, and its options with their defaults."""
    from ...methods import REGISTRY

    def row(name: str, method: "Method") -> list[str]:
        options = ", ".join(f"{key}={value}" for key, value in method.options().items())
        return [name, ", ".join(sorted(method.requires)), options, method.summary]

    _print_list(REGISTRY, row, Column("method", no_wrap=True), "requires", "options", "summary")


def _each_plugin(registry: "Registry[Any]", say: "Callable[[str], object]") -> "Iterator[tuple[str, Any]]":
    """Yield each name with its plug-in.

    `say` receives a sentence for each plug-in that cannot be imported or made, or that is hidden by another.
    """
    from ...tasks.errors import UserError

    for name in registry.names():
        try:
            yield name, registry.get(name)
        except UserError as error:
            say(str(error))
    for sentence in registry.hidden():
        say(sentence)


def _print_list(
    registry: "Registry[Any]", row: "Callable[[str, Any], list[str]]", *columns: Column | str
) -> None:
    from .listing import Listing, kept

    def make() -> Listing:
        broken: list[str] = []
        rows = [row(name, plugin) for name, plugin in _each_plugin(registry, broken.append)]
        return Listing(rows=rows, broken=broken)

    listing = kept(registry, make)
    table = Table(*columns)
    for cells in listing.rows:
        table.add_row(*map(escape, cells))
    console = table_console()
    console.print(table)
    for sentence in listing.broken:
        console.print(f"[red]{escape(sentence)}[/red]", soft_wrap=True)


Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME...", help="Registered names or module:Class (default: all)."),
]
Seed = Annotated[int, typer.Option(help="The seed.")]


@check_app.command("task")
def check_tasks(
    names: Names = None,
    n: Annotated[int, typer.Option(min=1000, help="Simulations of the first stage of each check.")] = 20_000,
    seed: Seed = 0,
) -> None:
    """Check joint scores, simulators and references; the exit status is 1 if a check fails."""
    from ...tasks import REGISTRY
    from ..checks.conformance import check_task

    _check(REGISTRY, names, lambda task: check_task(task, n, seed))


@check_app.command("method")
def check_methods(
    names: Names = None,
    n: Annotated[int, typer.Option(min=100, help="Simulations of most fits.")] = 1000,
    seed: Seed = 0,
) -> None:
    """Check seeds, state, batches and calibration of methods; the exit status is 1 if a check fails."""
    from ...methods import REGISTRY
    from ..checks.conformance import check_method

    _check(REGISTRY, names, lambda method: check_method(method, n, seed))


def _check(
    registry: "Registry[Any]", names: list[str] | None, check: "Callable[[Any], Iterator[Finding]]"
) -> None:
    from ..checks.conformance import print_findings

    console, failed = table_console(), False

    def leave_out(sentence: str) -> None:
        console.print(f"left out: {escape(sentence)}", soft_wrap=True)

    plugins = [(name, registry.get(name)) for name in names] if names else _each_plugin(registry, leave_out)
    for _, plugin in plugins:
        findings = []
        with console.status(f"{plugin.label}: ") as status:
            for finding in check(plugin):
                findings.append(finding)
                status.update(f"{plugin.label}: {finding.check} {finding.verdict}")
        print_findings(plugin.label, findings, console)
        failed |= any(finding.verdict == "failed" for finding in findings)
    if failed:
        sys.exit(1)


@app.command()
def information(names: Annotated[list[str] | None, typer.Argument(metavar="NAME...")] = None) -> None:
    """Estimate the information in the scores of tasks, and the gain from mixing, as a Markdown table."""
    from ...tasks import REGISTRY, get_task
    from ...tasks.errors import UserError
    from ..checks.information import as_markdown, information_of

    def leave_out(sentence: str) -> None:
        print(f"left out: {sentence}", file=sys.stderr)

    scored = []
    for _, task in [(n, get_task(n)) for n in names] if names else _each_plugin(REGISTRY, leave_out):
        if "joint_score" in task.capabilities:
            scored.append((task.label, information_of(task)))
        elif names:
            raise UserError(f"task {task.label} has no joint score.")
    print(as_markdown(scored))
