"""Runs cells on Dask and stores each as soon as it is finished.

The client hands out as many cells as there are worker threads. Cells thus hardly ever wait at a worker, and a
worker whose cell is out of time can be restarted without harm to other cells.

State changes in the main thread only: Dask's threads send it functions through an inbox.
"""

import logging
import math
import multiprocessing
import queue
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import dask
import psutil
from distributed import Client, KilledWorker, LocalCluster
from distributed.protocol.pickle import dumps

from ....methods.device import CPU, require
from ....tasks.errors import UserError
from ..cell import Cell
from ..measure import Measured, without
from ..progress import Display
from ..rows import TO_RETRY, Ending, ending
from ..store import Store
from . import forks
from .worker import WorkerError, work

if TYPE_CHECKING:
    from distributed import Future

TICK, CONNECT_TIMEOUT = 0.5, "10s"
DEATHS = 3
LOST = "the Dask scheduler went away; run the same command again to finish."

LOCAL_SETTINGS = {
    # a task fails at one death more than this number
    "distributed.scheduler.allowed-failures": DEATHS - 1,
    # code in C may keep a living worker from answering; a dead worker is noticed by its closed connection
    "distributed.scheduler.worker-ttl": None,
    # a worker that dies twice within this time is not started again, so a cluster could lose all workers
    "distributed.deploy.lost-worker-timeout": "1000 days",
    "distributed.worker.multiprocessing-method": forks.METHOD,
}


class ClusterError(RuntimeError):
    """The Dask cluster cannot be reached or went away; the message is one sentence."""


@contextmanager
def local_cluster(workers: int) -> Iterator[Client]:
    """Start worker processes on this machine; kill them at the end, whatever they are doing.

    Raises:
        ClusterError: the processes cannot be started.
    """
    _quieten()
    cluster: LocalCluster | None = None
    with dask.config.set(LOCAL_SETTINGS):
        try:
            forks.start()
            with forks.interrupts_held_back():
                cluster = _start(workers)
            with Client(cluster) as client:
                yield client
        finally:
            if cluster is not None:
                _kill(cluster)


def _quieten() -> None:
    """Silence Dask's log, which mostly holds tracebacks of closed connections."""
    for name in ("distributed", "distributed.client"):  # the second has its own level
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # Dask logs closed connections as critical


def _start(workers: int) -> LocalCluster:
    try:
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",  # a free port: Dask warns if its usual port is taken
            memory_limit=0,
            silence_logs="CRITICAL",
        )
    except Exception as error:  # a site's settings can make Dask raise anything
        raise ClusterError(f"the worker processes cannot be started: {_because(error)}.") from error


def _because(error: BaseException) -> str:
    """Return the first cause of an error on one line: its type and its message."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")


def _kill(cluster: LocalCluster) -> None:
    for nanny in cluster.workers.values():
        nanny.close_gracefully()  # otherwise it replaces the process that is killed here
    kill_workers()
    cluster.close()


def kill_workers() -> None:
    """Kill the worker processes of this process, and all processes that these have started."""
    for worker in multiprocessing.active_children():
        with suppress(psutil.NoSuchProcess):
            for process in [*psutil.Process(worker.pid).children(recursive=True), psutil.Process(worker.pid)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()


@contextmanager
def remote_cluster(address: str) -> Iterator[Client]:
    """Connect to a running Dask scheduler.

    Raises:
        UserError: the address is not valid.
        ClusterError: no scheduler answers at the address.
    """
    _quieten()
    try:
        client = Client(address, timeout=CONNECT_TIMEOUT)
    except ValueError as error:
        raise UserError(f"--scheduler {address}: {error}.") from error
    except OSError as error:
        raise ClusterError(f"--scheduler {address}: no scheduler answers there.") from error
    with client:
        yield client


def run_cells(
    cells: Sequence[Cell], client: Client, store: Store, display: Display, device: str = CPU
) -> dict[str, Ending]:
    """Run `cells` on the workers of `client` and store each; return how each ended, by the id of the cell.

    Raises:
        UserError: a worker does not have `device`.
        StoreError: a cell cannot be written; cells written before are kept.
        ClusterError: the scheduler went away.
    """
    if device != CPU:
        client.run(require, device)
    return _Run(cells, client, store, display, device).run()


@dataclass
class _Running:
    """A cell that was handed out; `worker` and `since` are set when a worker starts it."""

    cell: Cell
    future: "Future[Any]"
    worker: str = ""
    since: float | None = None

    @property
    def overdue(self) -> bool:
        timeout = self.cell.timeout
        return timeout is not None and self.since is not None and time.monotonic() - self.since > timeout


class _Run:
    def __init__(
        self, cells: Sequence[Cell], client: Client, store: Store, display: Display, device: str
    ) -> None:
        self.client, self.store, self.display, self.device = client, store, display, device
        self.topic = f"graybench-{uuid4().hex}"
        self.waiting, self.shuffled = deque(cells), False
        self.threads, self.counted = 0, -math.inf
        self.running: dict[str, _Running] = {}
        self.starts, self.blamed = Counter[str](), Counter[str]()
        self.endings: dict[str, Ending] = {}
        self.inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def run(self) -> dict[str, Ending]:
        self.client.subscribe_topic(self.topic, self._receive)
        while self.waiting or self.running:
            self._hand_out()
            with suppress(queue.Empty):
                self.inbox.get(timeout=TICK)()
            for running in [r for r in self.running.values() if r.overdue]:
                self._give_up(running)
        return self.endings

    def _hand_out(self) -> None:
        try:
            self._count_threads()
            while self.waiting and len(self.running) < max(self.threads, 1):
                cell = self.waiting.popleft()
                if not self._take_over(cell):
                    self._submit(cell)
        except Exception as error:  # Dask raises several types if the scheduler is lost
            if isinstance(error, OSError) or self.client.status != "running":
                raise ClusterError(LOST) from error
            raise

    def _count_threads(self) -> None:
        """Ask the scheduler for the number of threads, at most once every `TICK` seconds, as this is slow."""
        if self.waiting and time.monotonic() - self.counted >= TICK:
            self.threads = sum(self.client.nthreads().values())
            self.counted = time.monotonic()

    def _take_over(self, cell: Cell, own: Ending | None = None) -> bool:
        """Take a cell as finished if another run on the same folder has stored it meanwhile.

        A failure never replaces a good result of this run, `own`. At the first cell taken over, the waiting
        cells are shuffled: two runs in the same order would otherwise compute every cell twice.
        """
        theirs = self.store.appeared(cell, self.display.say)
        if theirs is None or (own and theirs.status in TO_RETRY and own.status not in TO_RETRY):
            return False
        self.endings[cell.id] = theirs
        self.display.finished(cell, theirs)
        if not self.shuffled:
            random.Random().shuffle(self.waiting)
            self.shuffled = True
        return True

    def _submit(self, cell: Cell) -> None:
        key = f"{self.topic}-{cell.id}-{self.blamed[cell.id]}"
        future = self.client.submit(work, dumps(cell), self.topic, self.device, key=key, pure=False)
        self.running[cell.id] = _Running(cell, future)
        future.add_done_callback(partial(self._deliver, cell))

    def _receive(self, event: tuple[float, dict[str, Any]]) -> None:
        self.inbox.put(partial(self._show, event[1], time.monotonic()))

    def _show(self, event: dict[str, Any], now: float) -> None:
        running = self.running.get(event["cell"])
        if running is None:
            return
        if event["stage"]:
            self.display.stage(running.cell, event["stage"], event["done"], event["total"])
        else:
            running.worker, running.since = event["worker"], now
            self.starts[running.cell.id] += 1
            self.display.started(running.cell)

    def _deliver(self, cell: Cell, future: "Future[Any]") -> None:
        """Fetch a result. This runs in Dask's thread, because it blocks if a worker dies at this moment."""
        try:
            act = partial(self._finish, cell, future.result())
        except KilledWorker:
            act = partial(self._blame, cell)
        except (CancelledError, OSError):  # errors of the cell itself are a `WorkerError`, or rows
            act = partial(self._check_lost, cell)
        except WorkerError as error:
            act = partial(self._fail, cell, str(error))
        except BaseException as error:
            act = partial(self._fail, cell, f"{type(error).__name__}: {error}")
        self.inbox.put(act)

    def _fail(self, cell: Cell, reason: str) -> None:
        self._finish(cell, without(cell, "failed", reason))

    def _finish(self, cell: Cell, measured: Measured) -> None:
        own = ending(measured.rows)
        if self.running.pop(cell.id, None) is not None and not self._take_over(cell, own):
            self.store.write(cell, *measured)
            self.endings[cell.id] = own
            self.display.finished(cell, own)

    def _blame(self, cell: Cell) -> None:
        """Fail a cell if `DEATHS` workers died while they ran it.

        Dask also blames cells that were waiting at a worker when it died. These are handed out again, unless
        Dask blames them `DEATHS` times, as happens if workers die before they have read the cell.
        """
        if cell.id not in self.running:
            return
        self.blamed[cell.id] += 1
        if max(self.starts[cell.id], self.blamed[cell.id]) < DEATHS:
            self._submit(cell)
        else:
            self._fail(cell, f"{DEATHS} workers died while they ran it (killed, or out of memory)")

    def _check_lost(self, cell: Cell) -> None:
        if cell.id in self.running:
            raise ClusterError(LOST)

    def _give_up(self, running: _Running) -> None:
        """End a cell that is out of time, and its worker: code in C cannot be stopped in another way."""
        late = without(running.cell, "timeout", f"it took longer than {running.cell.timeout:g} s")
        self._finish(running.cell, late)
        running.future.cancel()
        try:
            self.client.restart_workers([running.worker])
        except Exception as error:  # Dask raises several types; other workers continue
            self.display.say(f"worker {running.worker} cannot be restarted: {type(error).__name__}: {error}")
