"""The work of a Dask worker: measure one cell and report progress to the client."""

import time
from typing import Any

import torch
from distributed import get_worker
from distributed.protocol.pickle import loads
from distributed.utils import sync

from ....methods.device import on
from ....methods.progress import listening
from ..cell import Cell
from ..measure import Measured, run_cell

SECONDS_BETWEEN_REPORTS = 0.2


class WorkerError(RuntimeError):
    """A worker cannot load a cell; the message is the reason."""


def work(pickled: bytes, topic: str, device: str) -> Measured:
    """Run a pickled cell on one thread and on `device`, and log events to `topic`.

    An event is `{cell, worker, stage, done, total}`. The first event has no stage and says that the cell has
    started.

    Raises:
        WorkerError: the cell cannot be loaded; a user's module that it imports may raise anything.
    """
    torch.set_num_threads(1)
    try:
        cell: Cell = loads(pickled)
    except BaseException as error:  # Dask waits forever if a task raises anything but an `Exception`
        raise WorkerError(f"a worker cannot load the cell: {type(error).__name__}: {error}") from None
    worker = get_worker()
    last = time.monotonic()

    def event(stage: str, done: int, total: int) -> dict[str, Any]:
        return {"cell": cell.id, "worker": worker.address, "stage": stage, "done": done, "total": total}

    def tell(stage: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_REPORTS:
            last = now
            worker.log_event(topic, event(stage, done, total))

    # Wait until the first event has arrived. If it were only queued, a method that holds Python's lock from
    # its first line on would keep it from leaving, and the client could not time the cell.
    sync(worker.loop, worker.scheduler.log_event, topic=topic, msg=event("", 0, 0))
    with listening(tell), on(device):
        return run_cell(cell)
