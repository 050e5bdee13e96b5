"""The overhead of a sweep of very many cells: time for each cell, and the memory of the client.

`graybench run` runs a sweep of cells that do nothing, on one worker: the method needs an SDE and the task has
none, so a worker skips each cell at once. The costs of a small sweep are subtracted, to remove the cost of
starting, so costs for a cell are slopes. The client's process holds the scheduler of a local cluster. Its CPU
time and memory exclude the workers, and its CPU time hardly depends on what else runs on the machine.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import yaml

from .timing import Timing

CELLS, QUICK_CELLS, SMALL = 10_000, 300, 100
BUDGETS = 20
SECONDS_BETWEEN_LOOKS = 0.02


@dataclass(frozen=True)
class Cost:
    """The cost of one run of the command: wall and CPU seconds, and the highest memory seen, in MiB."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def rows(quick: bool) -> list[Timing]:
    """Time a sweep of cells that do nothing, and the same sweep again when all are finished."""
    return measure(QUICK_CELLS if quick else CELLS, SMALL)


def measure(cells: int, small: int) -> list[Timing]:
    """Run sweeps of `cells` and of `small` idle cells, both multiples of `BUDGETS`, twice each."""
    with TemporaryDirectory() as folder:
        base, load = (_costs(n, Path(folder) / str(n)) for n in (small, cells))
    table = []
    for what, before, after in zip(("run", "run again, all finished"), base, load, strict=True):
        wall = (after.seconds - before.seconds) / (cells - small)
        own = (after.cpu_seconds - before.cpu_seconds) / (cells - small)
        sweep = f"a cell of {cells:,} that do nothing, {what}"
        table += [
            Timing(f"{sweep}: on the clock; client's peak memory {after.peak_mib:.0f} MiB", wall, 1),
            Timing(f"{sweep}: the client's processor", own, own / wall),
        ]
    return table


def _costs(cells: int, folder: Path) -> tuple[Cost, Cost]:
    """Return the costs of a run, and of a second run that finds everything finished."""
    folder.mkdir()
    particles = [2 + i for i in range(cells // BUDGETS)]
    sweep = {
        "name": "noop",
        "tasks": ["galton"],
        "methods": [{"name": "bridge_is", "particles": particles}],
        "budgets": list(range(1, BUDGETS + 1)),
        "metrics": ["mmd"],
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    arguments = ["run", "sweep.yaml", "--out", "out", "--workers", "1"]
    command = [sys.executable, "-m", "graybench.benchmark.cli.main", *arguments]
    first, second = _watched(command, folder), _watched(command, folder)
    stored = len(list((folder / "out/cells").glob("*.parquet")))
    if stored != cells:
        raise RuntimeError(f"{stored} cells are stored, not {cells}")
    return first, second


def _watched(command: list[str], folder: Path) -> Cost:
    """Run a command and sample its process, without its children, until it ends."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    start = time.perf_counter()
    with (folder / "log").open("ab") as log:
        child = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    process, cpu, peak = psutil.Process(child.pid), 0.0, 0
    while child.poll() is None:
        with process.oneshot():
            times = process.cpu_times()
            # an ended process has no memory, but keeps its times until `poll` sees it
            peak = max(peak, process.memory_info().rss)
        cpu = times.user + times.system
        time.sleep(SECONDS_BETWEEN_LOOKS)
    if child.returncode:
        raise RuntimeError((folder / "log").read_text())
    return Cost(time.perf_counter() - start, cpu, peak / 2**20)
