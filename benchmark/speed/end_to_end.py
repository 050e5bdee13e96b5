"""Where the time of a sweep goes: fitting, sampling, measuring and waiting, and when the first cell begins.

    demo       quick.yaml, which `make demo` runs
    galton     galton.yaml
    cell       dsm and mix on gaussian_mixture, five replicates of 10,000 simulations, on one worker

Seconds are those of the clock, summed over the workers. A cell's simulations count as measuring, and waiting
is what workers do besides cells: starting, being without a cell, ending. So this part needs an idle machine.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ..running.sweep import SWEEPS
from .timing import Timing

CELL = """
name: cell
root_seed: 1
tasks: [gaussian_mixture]
methods: [dsm, mix]
budgets: [10000]
replicates: 5
posterior_samples: 1000
metrics: [mmd, score_error]
"""
FINISHED = re.compile(r" in ([\d.,]+) s$")


class Run(NamedTuple):
    """A run of a sweep.

    Attributes:
        seconds: from its start to its end.
        begun: from its start to the start of the first cell.
        cells: the seconds of all cells.
        table: the result table.
    """

    seconds: float
    begun: float
    cells: float
    table: pd.DataFrame


def rows(quick: bool) -> list[Timing]:
    """Run the demo, and unless `quick` the Galton sweep and a cell."""
    with tempfile.TemporaryDirectory() as folder:
        cell = Path(folder, "cell.yaml")
        cell.write_text(CELL)
        runs = {"demo": (SWEEPS / "quick.yaml", 2)}
        if not quick:
            runs |= {"galton": (SWEEPS / "galton.yaml", 2), "cell": (cell, 1)}
        return [
            timing
            for name, (sweep, workers) in runs.items()
            for timing in _as_rows(name, workers, run(sweep, Path(folder, name), workers))
        ]


def run(sweep: Path, out: Path, workers: int) -> Run:
    """Run a sweep by the command `graybench run`."""
    command = [sys.executable, "-m", "graybench", "run", str(sweep)]
    start, begun, cells = time.perf_counter(), float("inf"), 0.0
    with subprocess.Popen(
        [*command, "--out", str(out), "--workers", str(workers)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if match := FINISHED.search(line.rstrip()):
                seconds = float(match[1].replace(",", ""))
                begun = min(begun, time.perf_counter() - start - seconds)
                cells += seconds
    if process.returncode:
        raise RuntimeError(f"the run of {sweep} failed")
    return Run(time.perf_counter() - start, begun, cells, pd.read_parquet(out / "table.parquet"))


def _as_rows(name: str, workers: int, made: Run) -> list[Timing]:
    """Return rows with shares of the workers' time."""
    costs = made.table.groupby("cell")[["fit_seconds", "sample_seconds"]].max().sum()
    fitting, sampling = float(costs["fit_seconds"]), float(costs["sample_seconds"])
    whole = workers * made.seconds
    parts = {
        "fitting": fitting,
        "sampling": sampling,
        "simulating and measuring": made.cells - fitting - sampling,
        "waiting": whole - made.cells,
    }
    whole_row = Timing(f"{name}: {workers} worker{'s' * (workers > 1)}, from start to end", made.seconds, 1)
    first = Timing(f"{name}: until the first cell begins", made.begun, made.begun / made.seconds)
    return [whole_row, first, *(Timing(f"{name}: {what}", s, s / whole) for what, s in parts.items())]
