"""Lists of plug-ins are kept while nothing changes, and start without torch."""

import json
import os
import subprocess
import sys
import time
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from graybench.benchmark.cli import listing
from graybench.benchmark.cli.listing import Listing, kept
from graybench.tasks import registry as registry_module
from graybench.tasks.registry import Registry

SECOND = 1_000_000_000
OLD = time.time_ns() - 1000 * SECOND
BROKEN = ["task two: it cannot be made."]


class Lists:
    """Lists of a registry that count how often they are made; the count is in the list."""

    def __init__(self, folder: Path) -> None:
        self.table, self.made = {"one": "graybench.tasks.one:One"}, 0
        self.source = folder / "package/tasks/deep/one.py"
        self.file = folder / "cache/graybench/tasks.json"

    def __call__(self) -> Listing:
        return kept(Registry("task", "graybench.tasks.task:Task", self.table, "graybench.tasks"), self.make)

    def make(self) -> Listing:
        self.made += 1
        return Listing(rows=[["one", str(self.made)]], broken=BROKEN)


def write(path: Path, text: str, changed: int = OLD) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, ns=(changed, changed))


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lists:
    """Lists of a small package that was last changed a while ago."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(listing, "PACKAGE", tmp_path / "package")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "installed"), str(tmp_path / "nowhere")])
    monkeypatch.setattr(registry_module, "entry_points", lambda group: [])
    (tmp_path / "installed").mkdir()
    lists = Lists(tmp_path)
    write(lists.source, "A = 1")
    write(tmp_path / "package/__init__.py", "")
    return lists


def test_a_list_is_made_once(lists: Lists) -> None:
    first = lists()
    assert lists() == lists() == first == Listing(rows=[["one", "1"]], broken=BROKEN)
    assert lists.made == 1
    assert list(lists.file.parent.iterdir()) == [lists.file]


@pytest.mark.parametrize(
    "change",
    [
        lambda lists: write(lists.source, "A = 2", OLD + 1),
        lambda lists: write(lists.source, "A = 10"),
        lambda lists: write(lists.source.with_name("two.py"), "A = 1"),
        lambda lists: lists.source.unlink(),
        lambda lists: write(lists.source.parents[2] / "__init__.py", "B = 1"),
        lambda lists: lists.table.update(two="graybench.tasks.two:Two"),
        lambda lists: Path(sys.path[0], "sbibm-1.1.0.dist-info").mkdir(),
        lambda lists: write(Path(sys.path[0], "sbibm/__init__.py"), ""),
    ],
    ids=["time", "size", "new file", "no file", "top", "table", "installation", "package"],
)
def test_a_list_is_made_anew_after_a_change(lists: Lists, change: Any) -> None:
    lists()
    change(lists)
    assert [lists().rows, lists().rows] == [[["one", "2"]]] * 2
    assert lists.made == 2


def test_another_python_makes_the_list_anew(lists: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    lists()
    monkeypatch.setattr(sys, "version", "another")
    assert lists().rows == [["one", "2"]]


def test_source_of_this_moment_is_not_kept(lists: Lists) -> None:
    """An edit in the same tick of the clock would leave time and size as they are."""
    write(lists.source, "A = 1", time.time_ns())
    lists()
    write(lists.source, "A = 2", lists.source.stat().st_mtime_ns)
    assert lists().rows == [["one", "2"]]


def test_other_files_change_nothing(lists: Lists) -> None:
    lists()
    write(lists.source.with_name("notes.txt"), "A = 1")
    write(Path(sys.path[0], "runs/list.txt"), "A = 1")
    lists.source.with_name(".#one.py").symlink_to("user@host.1234")  # the lock of an editor
    assert lists().rows == [["one", "1"]]


@pytest.mark.parametrize("cut", [0, 1, 40, -1])
def test_a_damaged_file_is_replaced(lists: Lists, cut: int) -> None:
    lists()
    whole = lists.file.read_bytes()
    lists.file.write_bytes(whole[:cut])
    assert [lists().rows, lists().rows] == [[["one", "2"]]] * 2
    assert lists.file.read_bytes() != whole[:cut]


@pytest.mark.parametrize(
    "wrong", [{"listing": {"rows": [[1]], "broken": []}}, {"listing": None}, {"more": 1}, {"stamp": 1}]
)
def test_a_file_of_another_form_is_replaced(lists: Lists, wrong: dict[str, Any]) -> None:
    lists()
    lists.file.write_text(json.dumps(json.loads(lists.file.read_text()) | wrong))
    assert [lists().rows, lists().rows] == [[["one", "2"]]] * 2


def test_bytes_that_are_no_text_are_replaced(lists: Lists) -> None:
    lists()
    lists.file.write_bytes(b"\xff\xfe")
    assert [lists().rows, lists().rows] == [[["one", "2"]]] * 2


def test_a_folder_that_cannot_be_made_does_no_harm(lists: Lists) -> None:
    write(lists.file.parent.parent, "a file in the way")
    assert [lists().rows, lists().rows] == [[["one", "1"]], [["one", "2"]]]


def test_a_folder_that_cannot_be_written_does_no_harm(lists: Lists) -> None:
    """The superuser may write it nevertheless."""
    lists.file.parent.mkdir(parents=True)
    lists.file.parent.chmod(0o500)
    assert lists().rows == [["one", "1"]]
    assert lists().rows == [["one", "1" if lists.file.exists() else "2"]]


def test_a_full_disk_does_no_harm(lists: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "fsync", full)
    assert [lists().rows, lists().rows] == [[["one", "1"]], [["one", "2"]]]
    assert list(lists.file.parent.iterdir()) == []


def test_plugins_of_other_packages_are_not_kept(lists: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    lists()
    point = EntryPoint("own", "own:Own", "graybench.tasks")
    monkeypatch.setattr(registry_module, "entry_points", lambda group: [point])
    before = lists.file.read_bytes()
    assert [lists().rows, lists().rows] == [[["one", "2"]], [["one", "3"]]]
    assert lists.file.read_bytes() == before


COMMAND = """
import sys
from graybench.benchmark.cli import listing
from graybench.benchmark.cli.main import main
listing.TICK = 0  # a file may have been edited just now
try:
    main()
finally:
    heavy = {"torch", "scipy", "sklearn", "statsmodels", "numba", "matplotlib", "seaborn", "dask"}
    print(*sorted(heavy & sys.modules.keys()), file=sys.stderr)
"""


@pytest.fixture
def started(tmp_path: Path) -> Any:
    """Return the output of a command of its own process, and which heavy packages it has imported."""

    def start(*arguments: object) -> tuple[str, list[str]]:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *map(str, arguments)],
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr.split()

    return start


@pytest.mark.parametrize("kind", ["tasks", "methods"])
def test_a_kept_list_is_the_same_and_imports_nothing_heavy(started: Any, kind: str) -> None:
    made, imported = started(kind)
    assert "torch" in imported
    assert started(kind) == (made, [])


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("table", Path(__file__).parents[3] / "results/galton"),
        ("table", Path(__file__).parents[3] / "results/galton", "--format", "markdown"),
    ],
    ids=["help", "table", "markdown"],
)
def test_light_commands_import_nothing_heavy(started: Any, arguments: tuple[object, ...]) -> None:
    output, imported = started(*arguments)
    assert output
    assert imported == []
