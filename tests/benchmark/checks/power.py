"""Measure the power of `graybench check`: in how many of 50 seeds it finds each fault, and how long it takes.

    python -m graybench.tests.benchmark.checks.power methods
    python -m graybench.tests.benchmark.checks.power tasks

Both print a Markdown table. A row is an entry (kind of fault, size, plug-in) of `FAULTS` in `broken_methods`,
or in `broken_tasks` and `broken_structures`; the kind of a right plug-in is "none", and its rows come first.
"""

import argparse
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import torch

from graybench.benchmark.checks.conformance import check_method, check_task
from graybench.tests.benchmark.checks import broken_methods, broken_structures, broken_tasks

TASKS = sorted(broken_tasks.FAULTS + broken_structures.FAULTS, key=lambda fault: fault[0] != "none")
# faults, check, and n as `graybench check` has it by default
PLUGINS = {"methods": (broken_methods.FAULTS, check_method, 1000), "tasks": (TASKS, check_task, 20_000)}


class Run(NamedTuple):
    """The names of the checks that failed in one run, and its seconds of CPU time."""

    failed: list[str]
    seconds: float


def run(plugins: str, row: int, seed: int) -> Run:
    """Check the plug-in of a row of the table with one seed."""
    torch.set_num_threads(1)
    faults, check, n = PLUGINS[plugins]
    start = time.process_time()
    failed = [f.check for f in check(faults[row][2], n, seed) if f.verdict == "failed"]
    return Run(failed, time.process_time() - start)


def table(plugins: str, kinds: list[str], seeds: int, workers: int) -> Iterator[str]:
    """Yield the lines of the table, for the rows with one of `kinds`, or for all rows."""
    yield f"| kind of fault | size | found in how many of {seeds} | by | seconds |"
    yield "| --- | --- | --- | --- | --- |"
    rows = [
        (row, kind, size)
        for row, (kind, size, _) in enumerate(PLUGINS[plugins][0])
        if not kinds or kind in kinds
    ]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        pending = {row: [pool.submit(run, plugins, row, seed) for seed in range(seeds)] for row, _, _ in rows}
        for row, kind, size in rows:
            runs = [future.result() for future in pending[row]]
            found = sum(bool(r.failed) for r in runs)
            by = ", ".join(name for name, _ in Counter(name for r in runs for name in r.failed).most_common())
            seconds = sum(r.seconds for r in runs) / seeds
            yield f"| {kind} | {size} | {found} | {by} | {seconds:.2g} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("plugins", choices=PLUGINS)
    parser.add_argument("kinds", nargs="*", help="kinds of fault (default: all)")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    for line in table(**vars(asked)):
        print(line, flush=True)
