"""Cells on a real Dask cluster: one for all tests here, with two worker processes."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import dask
import pandas as pd
import psutil
import pytest
from distributed import Client
from distributed.comm import CommClosedError
from rich.console import Console

from graybench.benchmark.running.cell import Cell
from graybench.benchmark.running.cluster import runner, worker
from graybench.benchmark.running.cluster.runner import ClusterError, local_cluster, remote_cluster, run_cells
from graybench.benchmark.running.measure import Measured, without
from graybench.benchmark.running.progress import Display
from graybench.benchmark.running.rows import Ending, failure_rows
from graybench.benchmark.running.store import Store
from graybench.benchmark.running.sweep import Sweep
from graybench.benchmark.running.table import read_table
from graybench.methods import device
from graybench.tasks.errors import UserError
from graybench.tests.benchmark.running.test_faults import is_forked
from graybench.tests.benchmark.toys import toy, write_sweep


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with local_cluster(2) as client:
        yield client
    assert not [p for p in psutil.Process().children(recursive=True) if is_forked(p)]


class Instead:
    """A client whose cells are finished as soon as they are handed out, and by another run just before."""

    def __init__(self, store: Store, theirs: str, own: str) -> None:
        self.store, self.theirs, self.own = store, theirs, own

    def subscribe_topic(self, *_: Any) -> None:
        pass

    def nthreads(self) -> dict[str, int]:
        return {"worker": 1}

    def submit(self, _: Any, pickled: bytes, *__: Any, **___: Any) -> "Instead":
        cell = pickle.loads(pickled)
        self.store.write(cell, failure_rows(cell, self.theirs, "theirs"))
        self.cell: Cell = cell
        return self

    def add_done_callback(self, callback: Any) -> None:
        callback(self)

    def result(self) -> Measured:
        return without(self.cell, self.own, "own")


class Severed(Instead):
    """A client that loses the scheduler while it fetches a result."""

    def submit(self, _: Any, pickled: bytes, *__: Any, **___: Any) -> "Instead":
        self.cell = pickle.loads(pickled)
        return self

    def result(self) -> pd.DataFrame:
        raise CommClosedError("in <TCP (closed)>: Stream is closed")


def test_a_connection_lost_while_a_result_is_fetched_is_no_failure_of_the_cell(tmp_path: Path) -> None:
    sweep = Sweep.load(write_sweep(tmp_path / "given.yaml"))
    store = Store(tmp_path / "out", sweep)
    cells = sweep.cells()[:1]
    lost: Any = Severed(store, "", "")
    with Display(Console(quiet=True), 1, 0) as display, pytest.raises(ClusterError, match="went away"):
        run_cells(cells, lost, store, display)
    assert store.finished(cells, pytest.fail) == {}


@pytest.mark.parametrize(
    ("theirs", "own", "kept"),
    [("failed", "skipped", "own"), ("failed", "failed", "theirs"), ("skipped", "failed", "theirs")],
)
def test_a_good_result_gives_way_to_no_failure_of_another_run(
    theirs: str, own: str, kept: str, tmp_path: Path
) -> None:
    sweep = Sweep.load(write_sweep(tmp_path / "given.yaml"))
    cell, store = sweep.cells()[0], Store(tmp_path / "out", sweep)
    with Display(Console(quiet=True), 1, 0) as display:
        endings = run_cells([cell], Instead(store, theirs, own), store, display)  # type: ignore[arg-type]
    assert endings[cell.id].reason == kept
    assert store.finished([cell], pytest.fail) == endings


class Run:
    def __init__(self, client: Client, folder: Path, device: str = "cpu", **changes: Any) -> None:
        self.sweep = Sweep.load(write_sweep(folder / "given.yaml", **changes))
        self.store = Store(folder / "out", self.sweep)
        self.console = Console(record=True, force_terminal=False, width=200)
        self.cells = self.sweep.cells()
        with Display(self.console, len(self.cells), 0) as display:
            endings = run_cells(self.cells, client, self.store, display, device)
        self.endings = {cell.title: endings[cell.id] for cell in self.cells}
        self.lines = self.console.export_text().splitlines()


def test_every_cell_ends_with_a_status_and_a_reason(client: Client, tmp_path: Path) -> None:
    run = Run(
        client,
        tmp_path,
        tasks=[toy("Line"), toy("NotFinite"), toy("WrongShape")],
        methods=[toy("Fast"), toy("Raises")],
    )
    assert run.endings["line · fast · budget 10"] == ("ok", "")
    status, reason = run.endings["line · raises · budget 10"]
    assert status == "failed"
    assert "ArithmeticError: no luck today" in reason
    status, reason = run.endings["not_finite · fast · budget 10"]
    assert status == "not_finite"
    assert "x of simulation 0 is not finite" in reason
    status, reason = run.endings["wrong_shape · fast · budget 10"]
    assert status == "failed"
    assert "x of the simulator must be a tensor of shape (128, 1), but has shape (128,)" in reason
    assert run.store.finished(run.cells, pytest.fail) == {
        cell.id: run.endings[cell.title] for cell in run.cells
    }
    assert len(run.lines) == 6
    assert sorted(line.split("]")[0] for line in run.lines) == [f"[{i}/6" for i in range(1, 7)]


@pytest.mark.alone
def test_a_hang_in_c_ends_at_its_timeout_and_the_others_go_on(client: Client, tmp_path: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    run = Run(client, tmp_path, methods=[toy("Hangs"), toy("Fast")], budgets=[10, 20], timeout=2.0)
    for budget in (10, 20):
        assert run.endings[f"line · hangs · budget {budget}"] == ("timeout", "it took longer than 2 s")
        assert run.endings[f"line · fast · budget {budget}"] == ("ok", "")
    # each hang costs the process that it is in; one that went on would burn a core for an hour
    gone = before - set(psutil.Process().children(recursive=True))
    assert len(gone) >= 1
    assert len(client.nthreads()) == 2


@pytest.mark.alone
def test_a_worker_that_dies_is_replaced_and_blames_no_other_cell(client: Client, tmp_path: Path) -> None:
    run = Run(
        client,
        tmp_path,
        methods=[
            toy("Deadly"),
            toy("Deadly", flag=str(tmp_path / "flag")),
            toy("Slow", seconds=[0.2, 0.3, 0.4]),
        ],
    )
    died = Ending("failed", "3 workers died while they ran it (killed, or out of memory)")
    assert list(run.endings.values()) == [died, ("ok", ""), ("ok", ""), ("ok", ""), ("ok", "")]
    run.store.merge(run.cells, pytest.fail)
    table = read_table(run.store.folder)
    assert list(table["cell"].unique()) == [cell.id for cell in run.cells]
    assert not table.duplicated(["cell", "replicate", "observation", "metric"]).any()


def test_whatever_is_raised_is_a_failed_cell_with_its_reason(client: Client, tmp_path: Path) -> None:
    """What is no `Exception` never comes back from Dask, and a cell waiting behind it would time out."""
    names = ("GeneratorExit", "KeyboardInterrupt", "SystemExit", "Panic")
    methods = [toy("RaisesWhatever", error=name) for name in names]
    run = Run(client, tmp_path, methods=[*methods, toy("Unreadable"), toy("Fast")], timeout=20)
    *raised, unreadable, fast = run.endings.values()
    for name, (status, reason) in zip(names, raised, strict=True):
        assert status == "failed"
        assert reason.startswith(f"{name}: not today (toys.py:")
    assert unreadable == ("failed", "a worker cannot load the cell: Panic: not here")
    assert fast == ("ok", "")


def test_a_remote_scheduler_runs_the_same_cells(client: Client, tmp_path: Path) -> None:
    with remote_cluster(client.scheduler.address) as remote:
        run = Run(remote, tmp_path, budgets=[10, 20])
    assert set(run.endings.values()) == {("ok", "")}
    assert len(client.nthreads()) == 2


def test_workers_without_the_device_get_no_cell(client: Client, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^device cuda:99: torch finds \d+ CUDA devices here"):
        Run(client, tmp_path, device="cuda:99")
    assert not [*(tmp_path / "out").rglob("*.parquet")]


def test_a_worker_runs_a_cell_on_the_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(worker, "get_worker", MagicMock())
    monkeypatch.setattr(worker, "sync", MagicMock())
    monkeypatch.setattr(worker, "run_cell", lambda cell: device.current())
    monkeypatch.setattr(device, "require", lambda name: None)
    (cell,) = Sweep.load(write_sweep(tmp_path / "given.yaml")).cells()
    assert worker.work(pickle.dumps(cell), "topic", "cuda:7") == "cuda:7"


def test_a_setting_of_a_site_that_makes_dask_fail_is_told() -> None:
    with (
        dask.config.set({"distributed.worker.preload": ["nosuch"]}),
        pytest.raises(ClusterError) as caught,
        local_cluster(1),
    ):
        pass
    assert str(caught.value) == (
        "the worker processes cannot be started: ModuleNotFoundError: No module named 'nosuch'."
    )


@pytest.mark.alone
def test_schedulers_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "CONNECT_TIMEOUT", "1s")
    with (
        pytest.raises(UserError, match=r"^--scheduler tcp://nobody: missing port number in address"),
        remote_cluster("tcp://nobody"),
    ):
        pass
    with pytest.raises(ClusterError) as caught, remote_cluster("tcp://127.0.0.1:1"):
        pass
    assert str(caught.value) == "--scheduler tcp://127.0.0.1:1: no scheduler answers there."
