"""What a sweep of very many cells costs beside its cells: time for each, and the memory of the client.

    python -m benchmark.bench_scale [CELLS]

runs a sweep of no-op cells by the command that runs all sweeps: a method that needs an SDE, on a task that
has none, so that a worker skips a cell as soon as it has it. A small sweep is subtracted, for what starting
takes: the numbers for a cell are slopes. The client's process holds the scheduler of a local cluster; its CPU
time and memory are without the workers, and its CPU time hardly minds what else runs on the machine.
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

CELLS, SMALL = 10_000, 100
BUDGETS = 20
SECONDS_BETWEEN_LOOKS = 0.02


@dataclass(frozen=True)
class Cost:
    """What one run of the command took: wall and CPU seconds, and the highest memory seen, in MiB."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def measure(cells: int = CELLS, small: int = SMALL, workers: int = 1) -> str:
    """Run `cells` no-op cells, and the same once more with all finished; give a Markdown table.

    Args:
        cells: how many, a multiple of `BUDGETS`.
        small: how many the sweep has that is subtracted, a multiple of `BUDGETS` as well.
        workers: worker processes.
    """
    with TemporaryDirectory() as folder:
        base, load = (_costs(n, workers, Path(folder) / str(n)) for n in (small, cells))
    lines = [
        "| of a sweep | wall ms a cell | client's CPU ms a cell | client's peak MiB |",
        "|---|---|---|---|",
    ]
    for what, before, after in zip(("run", "run again, all finished"), base, load, strict=True):
        wall, cpu = (
            1000 * (getattr(after, name) - getattr(before, name)) / (cells - small)
            for name in ("seconds", "cpu_seconds")
        )
        lines.append(f"| {cells:,} cells, {what} | {wall:.3g} | {cpu:.3g} | {after.peak_mib:.0f} |")
        lines.append(f"| {small:,} cells, {what} | | | {before.peak_mib:.0f} |")
    return "\n".join(lines)


def _costs(cells: int, workers: int, folder: Path) -> tuple[Cost, Cost]:
    """Give the costs of a run and of a second one, which finds everything finished."""
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
    arguments = ["run", "sweep.yaml", "--out", "out", "--workers", str(workers)]
    command = [sys.executable, "-m", "benchmark.cli", *arguments]
    first, second = _watched(command, folder), _watched(command, folder)
    stored = len(list((folder / "out/cells").glob("*.parquet")))
    if stored != cells:
        raise RuntimeError(f"{stored} cells are stored, not {cells}")
    return first, second


def _watched(command: list[str], folder: Path) -> Cost:
    """Run a command and look at its process, without its children, all the time."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    start = time.perf_counter()
    with (folder / "log").open("ab") as log:
        child = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    process, cpu, peak = psutil.Process(child.pid), 0.0, 0
    while child.poll() is None:
        with process.oneshot():
            times = process.cpu_times()
            # an ended process has no memory, and keeps its times until `poll` has seen it
            peak = max(peak, process.memory_info().rss)
        cpu = times.user + times.system
        time.sleep(SECONDS_BETWEEN_LOOKS)
    if child.returncode:
        raise RuntimeError((folder / "log").read_text())
    return Cost(time.perf_counter() - start, cpu, peak / 2**20)


if __name__ == "__main__":
    print(measure(*map(int, sys.argv[1:2])))
