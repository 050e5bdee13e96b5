"""Faults in mid-sweep, with real processes: kills, Ctrl-C, a full disk, and what is left afterwards."""

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest
from pandas.testing import assert_frame_equal

from graybench.benchmark.running.rows import TIMINGS
from graybench.benchmark.running.table import read_table
from graybench.tests.benchmark.toys import toy, wait_until, write_sweep

ROOT = Path(__file__).parents[3]
CELLS = 15


class Run:
    """`graybench run` in a session of its own, so that signals reach it as they do from a terminal."""

    def __init__(
        self, sweep: Path, out: Path, *options: str, preexec_fn: Callable[[], None] | None = None
    ) -> None:
        self.out = out
        command = [
            sys.executable,
            "-m",
            "graybench.benchmark.cli.main",
            "run",
            str(sweep),
            "--out",
            str(out),
            *options,
        ]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=preexec_fn,
        )
        self.seen: set[psutil.Process] = set()

    def wait_for_cells(self, count: int) -> None:
        """Wait until that many cells are stored, and remember the worker processes."""
        wait_until(lambda: len(cell_files(self.out)) >= count)
        self.seen |= set(psutil.Process(self.process.pid).children(recursive=True))

    def workers(self) -> list[psutil.Process]:
        return [p for p in self.seen if p.is_running() and is_forked(p)]

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err

    def nothing_is_left(self) -> bool:
        return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in self.seen)


def is_forked(process: psutil.Process) -> bool:
    """Return whether a process was forked by `running.cluster.forks`, as workers are."""
    parent = process.parent()
    return parent is not None and all("forkserver" in " ".join(p.cmdline()) for p in (process, parent))


class Cluster:
    """`dask scheduler` and `dask worker`, each a command in a session of its own, as on several machines."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def scheduler(self) -> subprocess.Popen[bytes]:
        return self._start("scheduler", "--host", "127.0.0.1", "--port", str(self.port))

    def worker(self) -> subprocess.Popen[bytes]:
        return self._start("worker", self.address, "--nthreads", "1", "--local-directory", str(self.folder))

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "dask", *arguments, "--no-dashboard"],
                    cwd=ROOT,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
        return self.processes[-1]


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End a command and all its children at once, as a power cut does."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def cell_files(out: Path) -> dict[str, tuple[int, int]]:
    """Return the name of every cell file with its inode and time of change, which a rewriting alters."""
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in out.glob("cells/*.parquet")}


def failed_cells(out: Path) -> set[str]:
    """Return the names of the files whose cell failed; a damaged one counts as none."""
    failed = set()
    for path in out.glob("cells/*.parquet"):
        with suppress(OSError, ValueError):
            if (pd.read_parquet(path)["status"] == "failed").any():
                failed.add(path.name)
    return failed


def results(out: Path) -> pd.DataFrame:
    return read_table(out).drop(columns=list(TIMINGS))


def assert_same_bytes(table: pd.DataFrame, other: pd.DataFrame, folder: Path) -> None:
    assert_frame_equal(table, other, check_exact=True)
    table.to_parquet(folder / "a.parquet")
    other.to_parquet(folder / "b.parquet")
    assert (folder / "a.parquet").read_bytes() == (folder / "b.parquet").read_bytes()


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen cells: five take 0.8 s each, five train a network, and one method fails."""
    folder = tmp_path_factory.mktemp("sweep")
    trained = {"name": "mix", "gate": "learned", "steps": 50, "width": 16, "sampling_steps": 5}
    methods = [toy("Slow"), toy("Raises"), trained]
    return write_sweep(folder / "sweep.yaml", methods=methods, budgets=[10, 20, 30, 40, 50])


@pytest.fixture(scope="module")
def undisturbed_folder(sweep: Path) -> Path:
    run = Run(sweep, sweep.parent / "undisturbed", "--workers", "1")
    status, out, err = run.end()
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{CELLS} cells, 0 of them finished before."
    assert "15 of 15 cells are finished: 10 ok, 0 skipped, 5 failed, 0 timed out, 0 not finite." in lines
    return run.out


@pytest.fixture(scope="module")
def undisturbed(undisturbed_folder: Path) -> pd.DataFrame:
    return results(undisturbed_folder)


def test_two_workers_one_of_them_killed_give_the_same_table(
    sweep: Path, undisturbed: pd.DataFrame, tmp_path: Path
) -> None:
    run = Run(sweep, tmp_path / "out", "--workers", "2")
    run.wait_for_cells(2)
    run.workers()[0].kill()
    status, _, err = run.end()
    assert (status, err) == (0, "")
    assert len(cell_files(run.out)) == CELLS
    assert_same_bytes(results(run.out), undisturbed, tmp_path)
    wait_until(run.nothing_is_left, 5)


def test_interrupted_then_killed_then_finished(
    sweep: Path, undisturbed: pd.DataFrame, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = Run(sweep, out, "--workers", "2")
    run.wait_for_cells(2)
    os.killpg(run.process.pid, signal.SIGINT)
    status, _, err = run.end()
    after_interrupt = cell_files(out)
    done = len(after_interrupt)
    assert 2 <= done < CELLS
    assert status == 1
    assert err == (
        f"graybench: interrupted with {done} of {CELLS} cells finished; "
        "run the same command again to finish.\n"
    )
    wait_until(run.nothing_is_left, 5)
    assert read_table(out)["cell"].nunique() == done

    run = Run(sweep, out, "--workers", "2")
    run.wait_for_cells(done + 2)
    run.process.kill()
    assert run.end()[0] == -signal.SIGKILL
    wait_until(run.nothing_is_left, 5)
    after_kill = cell_files(out)
    assert after_interrupt.items() <= after_kill.items()
    assert len(after_kill) < CELLS

    damaged, *_ = after_kill
    (out / "cells" / damaged).write_bytes(b"PAR1 no more")
    ok = {name: stamp for name, stamp in after_kill.items() if name not in {*failed_cells(out), damaged}}
    kept = len(ok)
    assert kept < len(after_kill) - 1
    status, said, err = Run(sweep, out, "--workers", "2", "--retry-failed").end()
    assert (status, err) == (0, "")
    assert "the file is damaged" in said
    assert f"{CELLS} cells, {kept} of them finished before." in said
    assert len(cell_files(out)) == CELLS
    assert ok.items() == (after_kill.items() & cell_files(out).items())
    assert_frame_equal(results(out), undisturbed, check_exact=True)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    for process in cluster.processes:
        kill(process)


def test_a_cluster_loses_a_worker_gets_one_and_its_scheduler_is_restarted(
    sweep: Path, undisturbed: pd.DataFrame, cluster: Cluster, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    scheduler = cluster.scheduler()
    first, _ = cluster.worker(), cluster.worker()
    run = Run(sweep, out, "--scheduler", cluster.address)
    run.wait_for_cells(2)
    kill(first)
    cluster.worker()
    run.wait_for_cells(6)
    kill(scheduler)
    status, said, err = run.end()
    assert status == 1
    assert err == ("graybench: the Dask scheduler went away; run the same command again to finish.\n")
    before = cell_files(out)
    assert 6 <= len(before) < CELLS
    assert read_table(out)["cell"].nunique() == len(before)

    cluster.scheduler()  # its workers went when it did
    cluster.worker(), cluster.worker()
    status, said, err = Run(sweep, out, "--scheduler", cluster.address).end()
    assert (status, err) == (0, "")
    assert f"{CELLS} cells, {len(before)} of them finished before." in said
    assert before.items() <= cell_files(out).items()
    assert_same_bytes(results(out), undisturbed, tmp_path)


def test_two_runs_on_one_folder_share_the_work(
    sweep: Path, undisturbed: pd.DataFrame, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    runs = [Run(sweep, out, "--workers", "1") for _ in range(2)]
    computed = 0
    for status, said, err in [run.end() for run in runs]:
        computed += len(re.findall(r"^\[\d+/15\] .*: (?:ok|failed) in ", said, re.MULTILINE))
        assert (status, err) == (0, "")
        assert "the file is damaged" not in said
        assert f"15 of {CELLS} cells are finished: 10 ok, 0 skipped, 5 failed" in said
    # in step they would compute 30; at random, each cell meets the other run once in as many as are left
    assert CELLS <= computed < 25
    assert {path.suffix for path in (out / "cells").iterdir()} == {".parquet"}
    assert_same_bytes(results(out), undisturbed, tmp_path)


@pytest.mark.alone
def test_termination_counts_as_interruption(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep.yaml", methods=[toy("Fast"), toy("Hangs")])
    run = Run(sweep, tmp_path / "out", "--workers", "2")
    run.wait_for_cells(1)
    run.process.send_signal(signal.SIGTERM)
    try:
        run.process.wait(10)  # a hang that holds Python's lock cannot be asked to end
    finally:
        run.process.kill()
    status, _, err = run.end()
    assert status == 1
    assert err.startswith("graybench: interrupted with 1 of 2 cells finished;")
    wait_until(run.nothing_is_left, 5)


def test_an_interrupted_run_ends_within_seconds_whatever_its_workers_do(tmp_path: Path) -> None:
    methods = [toy("Fast"), toy("Stubborn"), toy("RaisesWhatever", error="GeneratorExit"), toy("Hangs")]
    sweep = write_sweep(tmp_path / "sweep.yaml", methods=methods)
    run = Run(sweep, tmp_path / "out", "--workers", "2")
    run.wait_for_cells(2)  # the two others hold a worker each
    os.killpg(run.process.pid, signal.SIGINT)
    try:
        run.process.wait(15)  # takes 2 s; the limit of the code is 10 s
    finally:
        run.process.kill()
    status, _, err = run.end()
    assert status == 1
    assert err.startswith("graybench: interrupted with 2 of 4 cells finished;")
    wait_until(run.nothing_is_left, 5)


@pytest.mark.parametrize(
    ("patience", "second"), [(0.2, "pass"), (600, "os.kill(os.getpid(), signal.SIGTERM)")]
)
def test_patience_with_what_does_not_close_ends(patience: float, second: str) -> None:
    """After some seconds, or by a second signal."""
    program = f"""
import os, signal, time
from graybench.benchmark.running.cluster import interruption
interruption.PATIENCE = {patience}
with interruption.interruptible():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(100)
    except KeyboardInterrupt:
        {second}
        time.sleep(600)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr == (
        "graybench: interrupted; run the same command again to finish and to make the table.\n"
    )


def test_a_full_disk_stops_the_run_and_keeps_what_is_there(undisturbed_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(undisturbed_folder, out)
    before = cell_files(out)
    table = (out / "table.parquet").read_bytes()
    sweep = write_sweep(tmp_path / "sweep.yaml", methods=[toy("Slow"), toy("Raises")], budgets=[10, 60])

    def limit_files() -> None:
        # the system refuses to make any file longer than this, as it does when no block is left
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    run = Run(sweep, out, "--workers", "1", preexec_fn=limit_files)
    status, said, err = run.end()
    assert status == 1
    assert said.splitlines()[0] == "4 cells, 2 of them finished before."
    assert err.startswith(f"graybench: {out / 'cells'}/")
    assert err.endswith(".parquet: it cannot be written: File too large.\n")
    assert err.count("\n") == 1
    assert cell_files(out) == before
    assert {p.name for p in (out / "cells").iterdir()} == set(before)
    assert (out / "table.parquet").read_bytes() == table
