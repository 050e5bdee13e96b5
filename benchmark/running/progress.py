"""Progress of a sweep: a bar for each running cell, a bar for the sweep, and a summary.

Without a terminal, one plain line is written for each finished cell.
"""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from .cell import Cell
from .rows import STATUSES, Ending

STATUS_WORDS = {
    "ok": "ok",
    "skipped": "skipped",
    "failed": "failed",
    "timeout": "timed out",
    "not_finite": "not finite",
}


def say(console: Console, line: str) -> None:
    """Print a line as it is: brackets are not markup, and long lines are not wrapped."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def bars(console: Console, *last: ProgressColumn) -> Progress:
    """Return live bars: description, stage, how much is done, time, and `last`; hidden without a terminal."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[stage]}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        *last,
        console=console,
        disable=not console.is_terminal,
    )


class Display:
    """The progress of one run.

    Args:
        console: where to print.
        total: number of cells asked for.
        done: number of cells that were finished before.
    """

    def __init__(self, console: Console, total: int, done: int) -> None:
        self.console, self.total, self.done = console, total, done
        self._bars = bars(console, TimeRemainingColumn())
        self._sweep = self._bars.add_task("sweep", total=total, completed=done, stage="")
        self._running: dict[str, tuple[TaskID, float]] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def started(self, cell: Cell) -> None:
        """Show that a worker has started `cell`, for the first time or again after a worker died."""
        self._remove_bar(cell)
        bar = self._bars.add_task(cell.title, total=None, stage="")
        self._running[cell.id] = bar, time.monotonic()

    def stage(self, cell: Cell, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` steps of a stage of `cell` are finished."""
        if cell.id in self._running:
            self._bars.update(self._running[cell.id][0], stage=stage, completed=done, total=total)

    def finished(self, cell: Cell, ending: Ending) -> None:
        """Print the line of a finished cell."""
        seconds = self._remove_bar(cell)
        self.done += 1
        self._bars.update(self._sweep, completed=self.done)
        reason = f": {ending.reason}" if ending.reason else ""
        took = f" in {seconds:.1f} s" if seconds is not None else ""
        self.say(f"[{self.done}/{self.total}] {cell.title}: {STATUS_WORDS[ending.status]}{took}{reason}")

    def say(self, line: str) -> None:
        """Print a line as it is, above the bars."""
        say(self.console, line)

    def _remove_bar(self, cell: Cell) -> float | None:
        if cell.id not in self._running:
            return None
        bar, since = self._running.pop(cell.id)
        self._bars.remove_task(bar)
        return time.monotonic() - since


def summarize(console: Console, cells: Sequence[Cell], endings: dict[str, Ending], folder: Path) -> None:
    """Print how many of `cells` ended how, the reason of each that is not ok, and where the results are."""
    finished = [(cell, endings[cell.id]) for cell in cells if cell.id in endings]
    counts = Counter(ending.status for _, ending in finished)
    told = ", ".join(f"{counts[status]} {STATUS_WORDS[status]}" for status in STATUSES)
    say(console, f"{len(finished)} of {len(cells)} cells are finished: {told}.")
    for cell, ending in finished:
        if ending.status != "ok":
            say(console, f"  {cell.title}: {STATUS_WORDS[ending.status]}: {ending.reason}")
    say(console, f"The table is {folder / 'table.parquet'}, the cells are in {folder / 'cells'}.")
