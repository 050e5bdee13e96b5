"""Pieces: computed once, computed again where anything behind them changed, and whole after a kill."""

import importlib
import json
import math
import multiprocessing
import os
import signal
import sys
import time
from collections import namedtuple
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from graybench.benchmark.running import pieces as module
from graybench.benchmark.running.pieces import Pieces, key_of
from graybench.tasks import get_task
from graybench.tasks.errors import UserError

CALLS: list[Any] = []
Pair = namedtuple("Pair", "a b")


@dataclass(frozen=True)
class Options:
    x: float
    name: str = ""


def remember(value: Any, **_: Any) -> dict[str, Any]:
    CALLS.append(value)
    return {"value": math.pi, "nan": math.nan}


def other(value: Any) -> dict[str, Any]:
    return {}


def test_a_piece_is_computed_once_and_read_back_exactly(tmp_path):
    CALLS.clear()
    for _ in range(2):
        found = Pieces(tmp_path, Console(quiet=True), 1).get("one of/them", partial(remember, torch.zeros(2)))
        assert found["value"] == math.pi
        assert math.isnan(found["nan"])
    assert len(CALLS) == 1
    (file,) = (tmp_path / "work").iterdir()
    assert file.name == f"one_of_them-{key_of(partial(remember, torch.zeros(2)))}.json"


def test_a_key_depends_on_all_that_goes_in():
    wide = torch.arange(6.0).reshape(2, 3)
    values = [
        None, True, 1, 1.5, "1", [1], [1, 2], [[1], 2], {"a": 1}, {"a": 2}, torch.zeros(2), torch.ones(2),
        torch.zeros(2, 1), torch.zeros(2, dtype=torch.float64), wide[:, :2], wide.T[:2].T + 1,
        Options(1.0), Options(2.0), Options(1.0, "a"), Pair(1, 2), Pair(1, 3), other, remember,
        get_task("galton"), get_task("galton", balls=2), get_task("linear_gaussian"),
    ]  # fmt: skip
    keys = [key_of(partial(remember, value)) for value in values]
    assert len({*keys, key_of(partial(other, 1)), key_of(partial(remember, value=1))}) == len(values) + 2
    assert key_of(partial(remember, wide[:, :2])) == key_of(partial(remember, wide[:, :2].clone()))
    with pytest.raises(TypeError, match="cannot depend on a object"):
        key_of(partial(remember, object()))


def test_a_key_depends_on_the_data_of_a_task(tmp_path):
    template = tmp_path / "bones.csv"
    keys = []
    for y in (2, 3):
        template.write_text(f"specimen,landmark,x,y\na,1,0,0\na,2,1,0\na,3,0,{y}\n")
        keys.append(key_of(partial(remember, get_task("landmarks", template=str(template)))))
    assert keys[0] != keys[1]


@pytest.fixture
def steps(tmp_path, monkeypatch):
    """Make a package whose pieces call a helper in another module; return how to write that helper."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("")
    (tmp_path / "mine" / "steps.py").write_text(
        "from .helper import helped\ndef step(k):\n    return {'value': helped(k)}\n"
    )
    (tmp_path / "mine" / "helper.py").write_text("def helped(k):\n    return 10 * k\n")
    return (tmp_path / "mine" / "helper.py").write_text


STEPS = "mine.steps"  # no source names it in an import, so the parent process never looks for it


def three_pieces(said: str) -> None:
    sys.stderr = Path(said).open("w", buffering=1)  # noqa: SIM115 - for a traceback as well
    with Pieces(Path("out"), Console(file=sys.stderr), 3) as pieces:
        step = importlib.import_module(STEPS).step
        found = [pieces.get(f"piece {k}", partial(step, k))["value"] for k in range(3)]
        print(found, file=sys.stderr)


def start(said: str) -> Any:
    """Compute the pieces in a process of their own, which has not imported the package before."""
    begun = multiprocessing.get_context("fork").Process(target=three_pieces, args=(said,))
    begun.start()
    return begun


def run(said: str) -> str:
    start(said).join(60)
    return Path(said).read_text()


def test_a_change_of_a_helper_in_another_module_is_not_overlooked(steps):
    assert "[0, 10, 20]" in run("first")
    again = run("again")
    assert "[0, 10, 20]" in again
    assert again.count("finished before") == 3
    steps("def helped(k):\n    return 11 * k\n")
    changed = run("changed")
    assert "[0, 11, 22]" in changed
    assert "finished before" not in changed


WAITS = """
import time
from pathlib import Path
def helped(k):
    if k == 2 and not Path("go").exists():
        Path("waiting").touch()
        time.sleep(60)
    return 10 * k
"""


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_a_kill_loses_only_the_current_piece(steps, kind):
    steps(WAITS)
    begun, until = start("killed"), time.monotonic() + 60
    while not Path("waiting").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(begun.pid, kind)
    begun.join(60)
    if kind == signal.SIGINT:
        assert begun.exitcode == 1
        assert Path("killed").read_text().splitlines()[2:] == [
            "graybench: interrupted with 2 of 3 pieces finished; run the same command again to finish."
        ]
    Path("go").touch()
    said = run("rest")
    assert "[0, 10, 20]" in said
    assert said.count("finished before") == 2


@pytest.mark.usefixtures("steps")
def test_processes_in_one_folder_write_whole_pieces():
    several = [start(f"said {k}") for k in range(4)]
    for k, one in enumerate(several):
        one.join(60)
        assert "[0, 10, 20]" in Path(f"said {k}").read_text()
    files = sorted(Path("out", "work").iterdir())
    assert [json.loads(file.read_text())["value"] for file in files] == [0, 10, 20]


def test_a_damaged_piece_is_computed_again(tmp_path):
    CALLS.clear()
    for content in (None, '{"value": ', "\udc80"):
        for file in (tmp_path / "work").glob("*.json"):
            file.write_bytes(content.encode("utf-8", "surrogateescape"))
        Pieces(tmp_path, Console(quiet=True), 1).get("one", partial(remember, 1))
    assert len(CALLS) == 3


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_computed(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        Pieces(tmp_path / "file", Console(quiet=True), 1)

    def full(path: Path, content: bytes) -> None:
        raise module.StoreError(f"{path}: it cannot be written: No space left on device.")

    monkeypatch.setattr(module, "write_whole", full)
    with pytest.raises(UserError, match="No space left"):
        Pieces(tmp_path, Console(quiet=True), 1)
