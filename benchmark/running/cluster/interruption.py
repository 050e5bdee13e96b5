"""Ctrl-C and TERM end a run within seconds, whatever its workers do."""

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
    """Raise `KeyboardInterrupt` at the first Ctrl-C or TERM, so that leaving the block closes the cluster.

    A second signal ends the process at once. The process also ends if the block is not left within `PATIENCE`
    seconds.
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
    """Print a sentence and end the process with status 1, without waiting for Dask's threads."""
    sys.stdout.flush()
    print(f"graybench: {sentence}", file=sys.stderr, flush=True)
    os._exit(1)


def _end_at_once(*_: object) -> NoReturn:
    kill_workers()
    # unbuffered, because the signal may arrive in the middle of a print
    os.write(2, b"graybench: interrupted; run the same command again to finish and to make the table.\n")
    os._exit(1)
