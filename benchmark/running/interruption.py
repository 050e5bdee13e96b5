"""Ctrl-C and TERM: a run ends within seconds, whatever its workers do."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import NoReturn

from .runner import kill_workers

PATIENCE = 10.0  # seconds


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `KeyboardInterrupt` at the first Ctrl-C or TERM: leaving the block closes the cluster.

    A second Ctrl-C or TERM ends the process at once. The process also ends if the block is not left
    `PATIENCE` seconds after the first.
    """
    patience = Timer(PATIENCE, _end_at_once)
    patience.daemon = True

    def interrupt(*_: object) -> NoReturn:
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, _end_at_once)
        patience.start()
        raise KeyboardInterrupt

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, interrupt)
    try:
        yield
    finally:
        patience.cancel()


def end(sentence: str) -> NoReturn:
    """Write a sentence and end the process with status 1, without waiting for any thread of Dask's."""
    sys.stdout.flush()
    print(f"graybench: {sentence}", file=sys.stderr, flush=True)
    os._exit(1)


def _end_at_once(*_: object) -> NoReturn:
    kill_workers()
    # straight to the file: this may have come in the middle of a print
    os.write(2, b"graybench: interrupted; the same command goes on with the rest, and makes the table.\n")
    os._exit(1)
