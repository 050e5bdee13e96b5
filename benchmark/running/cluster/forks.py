"""The process that workers are forked from: it imports what they need while the client reads the sweep."""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker

from ...metrics.catalogue import METRICS

METHOD = "forkserver"
WORKER = "graybench.benchmark.running.cluster.worker"
NEEDED = [WORKER, *sorted({metric.module for metric in METRICS.values()})]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
ENVIRONMENT = {
    **dict.fromkeys(THREADS, "1"),
    # by default Dask has workers return freed memory at once, which makes large tensors slow to allocate
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "PYTHONHASHSEED": "0",  # the same in every worker
    "PYTHONSAFEPATH": "1",  # a user's random.py in the current folder must not hide Python's
}


def start() -> None:
    """Start the process, unless it runs, and return at once.

    Dask's threads, and through this process all workers, inherit that Ctrl-C is blocked, see
    `interrupts_held_back`.
    """
    multiprocessing.set_forkserver_preload(NEEDED)
    with _environment(ENVIRONMENT), interrupts_held_back():
        forkserver.ensure_running()


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Block Ctrl-C until the block has ended.

    A terminal sends Ctrl-C to every process, and workers would answer with tracebacks. What starts in this
    block inherits that it is blocked.
    """
    resource_tracker.ensure_running()  # if it started later, it would unblock the signal in a Dask thread
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Set variables that are not set."""
    added = wanted.keys() - os.environ.keys()
    os.environ.update({name: wanted[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
