"""What a Dask worker does: measure one cell, and tell the client how far it is."""

import time
from typing import Any

import pandas as pd
import torch
from distributed import get_worker
from distributed.utils import sync

from ...methods.device import on
from ...methods.progress import listening
from .cell import Cell
from .measure import run_cell

SECONDS_BETWEEN_REPORTS = 0.2


def work(cell: Cell, topic: str, device: str) -> pd.DataFrame:
    """Run `cell` on one thread and on `device`, and log events to `topic`.

    An event is `{cell, worker, stage, done, total}`; the first one, without a stage, says that the cell has
    been started.
    """
    torch.set_num_threads(1)
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

    # A method that holds Python's lock from its first line on would keep an event that is only queued from
    # ever leaving, and the client would not know when to give the cell up: so wait until this one arrived.
    sync(worker.loop, worker.scheduler.log_event, topic=topic, msg=event("", 0, 0))
    with listening(tell), on(device):
        return run_cell(cell)
