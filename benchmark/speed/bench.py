"""The parts of `graybench bench`, and how their timings are stored.

A part is a module with a function `rows(quick)`. Programs that are compared take turns, see `timing`.
Everything runs on one thread.
"""

import csv
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from io import StringIO
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from ...tasks.errors import UserError
from ...tasks.plugin import nearest
from ..running.writing import make_folder, write_whole
from . import (
    c2st_power,
    end_to_end,
    gates,
    growth,
    metrics,
    sampling,
    scale,
    simulators,
    solver_errors,
    training,
)
from .timing import Timing, as_markdown

PARTS: dict[str, Callable[[bool], list[Timing]]] = {
    "training": training.rows,
    "sampling": sampling.rows,
    "simulators": simulators.rows,
    "gates": gates.rows,
    "metrics": metrics.rows,
    "growth": growth.rows,
    "scale": scale.rows,
    "end_to_end": end_to_end.rows,
}
# The files that a part writes into the folder besides its table.
FIGURES: dict[str, Callable[[list[Timing], bool, Path], object]] = {
    "sampling": lambda rows, quick, folder: solver_errors.store(quick, folder),
    "metrics": lambda rows, quick, folder: c2st_power.store(quick, folder),
    "growth": lambda rows, quick, folder: growth.draw(rows, folder),
}


def measure(
    only: Sequence[str], quick: bool, folder: Path, say: Callable[[str], None]
) -> dict[str, list[Timing]]:
    """Measure the parts in `only`, or all parts, and write tables and figures after each.

    Raises:
        UserError: there is no such part, or the folder cannot be made.
    """
    for name in only:
        if name not in PARTS:
            raise UserError(f"there is no part {name!r} of the bench: {nearest(name, list(PARTS))}")
    make_folder(folder)
    measured: dict[str, list[Timing]] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):  # the threads of numpy and scikit-learn
            for name in [name for name in PARTS if not only or name in only]:
                say(f"measuring {name} ...")
                measured[name] = PARTS[name](quick)
                _store(name, measured[name], quick, folder)
                say(as_markdown(measured[name]) + "\n")
                if name in FIGURES:
                    FIGURES[name](measured[name], quick, folder)
    finally:
        torch.set_num_threads(threads)
    return measured


def _store(part: str, rows: list[Timing], quick: bool, folder: Path) -> None:
    """Replace the rows of a part in the stored table, and keep the rows of the other parts."""
    path = folder / "bench.csv"
    made = {part: (_made_by(part, quick), rows)}
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            for name, group in groupby(csv.DictReader(file), key=itemgetter("part")):
                lines = list(group)
                kept = [Timing(x["what"], float(x["seconds"]), float(x["ratio"])) for x in lines]
                made.setdefault(name, (lines[0]["made_by"], kept))
    ordered = {name: made[name] for name in sorted(made, key=[*PARTS, *made].index)}
    table = StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["part", "what", "seconds", "ratio", "made_by"])
    for name, (by, timings) in ordered.items():
        writer.writerows((name, t.what, t.seconds, t.ratio, by) for t in timings)
    write_whole(path, table.getvalue().encode())
    sections = [f"## {name}\n\n{by}\n\n{as_markdown(own)}\n" for name, (by, own) in ordered.items()]
    write_whole(folder / "bench.md", "\n".join(sections).encode())


def _made_by(part: str, quick: bool) -> str:
    """Return the command, the versions and the machine of a measurement."""
    command = f"graybench bench --only {part}{' --quick' if quick else ''}"
    programs = ", ".join(f"{name} {version(name)}" for name in ("graybench", "torch"))
    return f"`{command}`: {programs}, Python {platform.python_version()}, one thread of {platform.machine()}."
