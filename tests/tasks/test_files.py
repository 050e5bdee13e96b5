"""Plug-ins in files named by their path: found from anywhere, not confused, and pickled by name."""

import os
import pickle
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from graybench.methods import get_method
from graybench.tasks import get_task
from graybench.tasks.errors import UserError
from graybench.tasks.files import name_without_folder

METHOD = """from graybench.tests.benchmark.toys import Fast
class Mine(Fast):
    size: int = 1
    name = "{name}"
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8-sig")
    return path


def test_files_of_one_name_in_two_folders_are_two_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a" / "mine.py", METHOD.format(name="first"))
    write(tmp_path / "b.c %41" / "mine.py", METHOD.format(name="second"))
    write(tmp_path / "a" / "mine" / "__init__.py", "raise RuntimeError")  # Python prefers it to the file
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    first, second = get_method("a/mine.py:Mine", size=3), get_method("b.c %41/mine.py:Mine")
    assert (first.label, second.label) == ("first(size=3)", "second")
    assert {name_without_folder(type(plugin).__module__) for plugin in (first, second)} == {"mine"}
    # however the path is written, it is one class
    for other in ("./a/../a/mine.py:Mine", f"{tmp_path}/a/mine.py:Mine"):
        assert get_method(other, size=3) == first
    monkeypatch.setenv("HOME", str(tmp_path))
    assert get_method("~/a/mine.py:Mine", size=3) == first
    assert sys.path == path

    program = "import pickle, sys; print([p.label for p in pickle.load(sys.stdin.buffer)])"
    said = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps([first, second]),
        capture_output=True,
        check=True,
        cwd="/",
    )
    assert said.stdout.decode().strip() == "['first(size=3)', 'second']"


def test_a_relative_import_finds_the_neighbours_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("one", "two"):
        write(
            tmp_path / folder / "mine.py",
            f"{METHOD.format(name='m')}    from .level import LEVEL as summary\n",
        )
        write(tmp_path / folder / "level.py", f"LEVEL = {folder!r}\n")
    monkeypatch.chdir(tmp_path)
    assert [get_method(f"{folder}/mine.py:Mine").summary for folder in ("one", "two")] == ["one", "two"]


def test_a_file_may_have_the_name_of_another_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "random.py", METHOD.format(name="mine"))
    monkeypatch.chdir(tmp_path)
    assert get_method("random.py:Mine").name == "mine"
    with pytest.raises(UserError) as caught:
        get_method("random:Mine")
    lack = f"method random:Mine: {random.__file__} has no Mine"
    assert str(caught.value) == f"{lack}; write random.py:Mine for the file in this folder."
    with pytest.raises(UserError, match=r"^method sys:Mine: the built-in module sys has no Mine\.$"):
        get_method("sys:Mine")
    with pytest.raises(
        UserError, match=rf"^task random\.py:Task: {re.escape(os.getcwd())}/random\.py has no Task\.$"
    ):
        get_task("random.py:Task")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "method mine.py:Mine: there is no file mine.py."),
        ("import nosuch", "cannot be imported from mine.py: ModuleNotFoundError: No module named 'nosuch'."),
        ("raise GeneratorExit('no\\nluck')", "cannot be imported from mine.py: GeneratorExit: no luck."),
        ("Mine = 3", "mine.py:Mine is not a method: it must extend Method."),
        (
            METHOD.format(name="m") + "    def __post_init__(self): raise GeneratorExit('no')",
            "method 'mine.py:Mine' cannot be made: GeneratorExit: no.",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_told(
    text: str | None, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        write(tmp_path / "mine.py", text)
    with pytest.raises(UserError) as caught:
        get_method("mine.py:Mine")
    assert str(caught.value).endswith(sentence)
