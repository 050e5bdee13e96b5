"""What enters a cell's id of the source behind its task, its method and its metrics, and what does not."""

import importlib
import os
import subprocess
import sys
from dataclasses import replace
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from graybench.benchmark.metrics.catalogue import METRICS
from graybench.benchmark.running import cell as cell_module
from graybench.benchmark.running import source
from graybench.benchmark.running.cell import Cell
from graybench.benchmark.running.source import source_of
from graybench.methods import get_method
from graybench.tasks.errors import UserError
from graybench.tasks.registry import modules_behind
from graybench.tests.benchmark.toys import Line, write_sweep

COMPILED = f"noise{EXTENSION_SUFFIXES[0]}"

PACKAGE = {
    "pkg/__init__.py": "from .start import BEGIN",
    "pkg/start.py": "BEGIN = 1",
    "pkg/plug.py": "import torch\ndef f():\n    from pkg import inner",
    "pkg/inner.py": "from .deep import LIMIT",
    "pkg/deep.py": "LIMIT = 1",
    "pkg/unused.py": "import pkg.plug",
}
ONE = {"noise.py": "LEVEL = 1"}


def forget() -> None:
    for cached in (source_of, source._find, source._read):
        cached.cache_clear()
    importlib.invalidate_caches()


def fresh(*modules: str) -> str:
    forget()
    return source_of(*modules)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which Python looks for modules in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("plugin", "files", "edited", "counts"),
    [
        ("plug", {"plug.py": "import noise", **ONE}, "noise.py", True),
        ("plug", {"plug.py": "def f():\n    import noise as n", **ONE}, "noise.py", True),
        ("plug", {"plug.py": "try:\n    from noise import L\nfinally:\n    pass", **ONE}, "noise.py", True),
        ("plug", {"plug.py": "from noise import *", **ONE}, "noise.py", True),
        ("plug", {"plug.py": "X = 'import noise'", **ONE}, "noise.py", False),
        ("plug", {"plug.py": "m = importlib.import_module('noise')", **ONE}, "noise.py", True),
        ("plug", {"plug.py": "m = __import__('noise')", **ONE}, "noise.py", True),
        ("plug", {"plug.py": "inner = get_method('noise:Plug')", **ONE}, "noise.py", True),
        ("plug", {"plug.py": "t = get_task('a/noise.py:Plug')", "a/noise.py": "L = 1"}, "a/noise.py", True),
        ("plug", {"plug.py": "import noise", COMPILED: "\x7fELF 1"}, COMPILED, True),
        ("plug", {"plug.py": "import noise", "noise.py": "def broken(:"}, "noise.py", True),
        ("space.plug", {"space/plug.py": "from .a import L", "space/a.py": "L = 1"}, "space/a.py", True),
        *(
            ("pkg.plug", PACKAGE, f"pkg/{name}.py", name != "unused")
            for name in ("__init__", "start", "plug", "inner", "deep", "unused")
        ),
        ("pkg", PACKAGE | {"pkg/__init__.py": "import pkg.deep"}, "pkg/deep.py", True),
        ("pkg", PACKAGE, "pkg/__init__.py", True),
        ("pkg.plug", PACKAGE | {"pkg/plug.py": "import_module('.deep', __package__)"}, "pkg/deep.py", True),
    ],
)  # fmt: skip
def test_whatever_is_imported_on_the_way_counts(
    folder: Path, plugin: str, files: dict[str, str], edited: str, counts: bool
) -> None:
    write(folder, files)
    before = fresh(plugin)
    assert fresh(plugin) == before
    write(folder, {edited: files[edited] + "\nEDITED = 2\n"})
    assert (fresh(plugin) != before) == counts


def test_a_module_whose_name_is_computed_counts_once_it_is_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, {"plug_7.py": "import importlib\nn = 'noi' + 'se_7'\nm = importlib.import_module(n)"})
    write(folder, {"noise_7.py": "LEVEL = 1"})
    importlib.invalidate_caches()
    importlib.import_module("plug_7")
    try:
        before = fresh("plug_7")
        assert fresh("plug_7") == before
        write(folder, {"noise_7.py": "LEVEL = 2"})
        assert fresh("plug_7") != before
    finally:
        for name in ("plug_7", "noise_7"):
            monkeypatch.delitem(sys.modules, name)


def test_a_module_that_a_finder_refuses_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As setuptools' finder refuses distutils in some environments."""

    class Refusing:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "gone":
                raise ModuleNotFoundError("No module named 'gone'")

    write(folder, {"plug.py": "try:\n    import gone\nexcept ImportError:\n    gone = None"})
    monkeypatch.setattr(sys, "meta_path", [Refusing(), *sys.meta_path])
    assert fresh("plug") == fresh("plug")


TEXT = '"""Doc."""\nclass A:\n    """Of α."""\n    def f(self):\n        """Of f."""\n        return "α"\n'


@pytest.mark.parametrize(
    "content",
    [
        TEXT.replace("Doc.", "Documentation.").replace("Of", "About").encode(),
        TEXT.replace('"""Doc."""\n', "").encode(),
        f"# α comment\n{TEXT}  # another\n\n\n".encode(),
        TEXT.replace("class", "\n\nclass").replace("\n", "\r\n").encode(),
        TEXT.encode("utf-8-sig"),
        f"# coding: iso-8859-7\n{TEXT}".encode("iso-8859-7"),
    ],
)
def test_how_the_source_is_written_down_does_not_count(folder: Path, content: bytes) -> None:
    file = folder / "plug.py"
    file.write_bytes(TEXT.encode())
    before = fresh("plug")
    file.write_bytes(content)
    assert fresh("plug") == before
    file.write_bytes(content.replace(b"return", b"return 1 and"))
    assert fresh("plug") != before


def test_installed_packages_count_only_for_their_own_plugins(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = folder / "site"
    monkeypatch.setattr(source, "_library", lambda: frozenset({library}))
    monkeypatch.syspath_prepend(library)
    write(
        library, {"theirs/__init__.py": "", "theirs/plug.py": "import theirs.law", "theirs/law.py": "L = 1"}
    )
    write(folder, {"plug.py": "import theirs.law"})
    mine, own = fresh("plug"), fresh("theirs.plug")
    write(library, {"theirs/law.py": "L = 2"})
    assert fresh("plug") == mine
    assert fresh("theirs.plug") != own


def followed(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    read: list[str] = []
    original = source._read

    def spy(module: str) -> tuple[str, tuple[str, ...]]:
        read.append(module)
        return original(module)

    write(folder, {"plug.py": text})
    forget()
    with monkeypatch.context() as patched:
        patched.setattr(source, "_read", spy)
        source_of("plug")
    return set(read)


def test_names_of_the_public_face_are_followed_to_where_they_are(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    likelihood = "graybench.tasks.likelihood"
    for text in (
        "from graybench import LikelihoodTask",
        "import graybench\nclass A(graybench.LikelihoodTask): ...",
        "import graybench as g\nclass A(g.LikelihoodTask): ...",
        "from graybench import *",
        "from graybench.tasks import likelihood",
        "from graybench.tasks.likelihood import LikelihoodTask as L",
    ):
        assert likelihood in followed(text, folder, monkeypatch), text
    found = followed("from graybench import Task", folder, monkeypatch)
    assert "graybench.tasks.task" in found
    # what else is registered changes nothing for a task that asks for none by name
    assert found.isdisjoint({likelihood, "graybench", "graybench.tasks", "graybench.tasks.classic.galton"})


def test_whoever_composes_plugins_by_name_depends_on_all_of_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("from graybench import get_task", "import graybench.tasks", "from graybench import tasks"):
        found = followed(text, folder, monkeypatch)
        assert {"graybench.tasks.classic.galton", "graybench.tasks.jump.schloegl"} <= found, text
        assert "graybench.methods.rivals.sally" not in found, text
    assert "graybench.methods.rivals.sally" in followed(
        "from graybench import get_method", folder, monkeypatch
    )


def cell_of(method: str) -> Cell:
    return Cell(Line(), get_method(method), 10, 2, ("mmd",), 20, None, 0, None)


def test_the_module_that_makes_a_class_with_the_function_of_another_counts(folder: Path) -> None:
    write(
        folder,
        {
            "maker.py": "from graybench.tests.benchmark.toys import Fast\n"
            "def make(n):\n    class Made(Fast):\n        number = n\n    return Made\n",
            "made_three.py": "from maker import make\nMine = make(3)\n",
        },
    )
    cell = cell_of("made_three:Mine")
    assert modules_behind(cell.method) == {"maker", "made_three"}
    before = cell.id
    write(folder, {"made_three.py": "from maker import make\nMine = make(4)\n"})
    forget()
    assert cell_of("made_three:Mine").id != before


def test_where_a_file_is_does_not_count(folder: Path) -> None:
    text = (
        "from graybench.tests.benchmark.toys import Fast\nfrom . import level\nclass Mine(Fast):\n    pass\n"
    )
    for place in ("one/methods", "two/v1.0 %41"):
        write(folder, {f"{place}/mine.py": text, f"{place}/level.py": "LEVEL = 1"})
    forget()
    first, second = (cell_of(f"{place}/mine.py:Mine") for place in ("one/methods", "two/v1.0 %41"))
    assert first.id == second.id
    write(folder, {"one/methods/level.py": "LEVEL = 2"})
    forget()
    assert cell_of("one/methods/mine.py:Mine").id != second.id


def test_a_metric_counts_by_its_source_and_so_does_what_measures(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, {"my_metric.py": "def measure(fitted): ...", "my_measure.py": "A = 1"})
    metric = replace(METRICS["mmd"], computed_by="my_metric:measure")
    monkeypatch.setitem(METRICS, "mmd", metric)
    monkeypatch.setattr(cell_module, "MEASURE", "my_measure")
    ids = []
    for edited in ({}, {"my_metric.py": "def measure(fitted): 1"}, {"my_measure.py": "A = 2"}):
        write(folder, edited)
        forget()
        ids.append(cell_of("prior").id)
    assert len(set(ids)) == 3


def test_a_class_without_a_source_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UserError, match=r"^module typed_in: its source is not found; put the class into a file\.$"
    ):
        fresh("typed_in")


HELPED = """\"\"\"A method.\"\"\"
from graybench.tests.benchmark.toys import Fast, Exact
class Helped(Fast):
    name = "helped"
    def fit(self, simulations, seed):
        \"\"\"Fit.\"\"\"
        import noise_model
        return Exact(noise_model.SHIFT)
"""
TASK = "from graybench.tests.benchmark.toys import Line\nclass Packed(Line):\n    name = 'packed'\n"


def test_runs_see_what_was_edited_and_no_more(tmp_path: Path) -> None:
    """The example of a stale result: a method that imports a module beside it, a task in an `__init__`."""
    write_sweep(tmp_path / "sweep.yaml", tasks=["packed:Packed"], methods=["helped:Helped"])
    write(tmp_path, {"helped.py": HELPED, "noise_model.py": "SHIFT = 0.0\n", "packed/__init__.py": TASK})

    def finished_before(**environment: str) -> int:
        ran = subprocess.run(
            [sys.executable, "-m", "graybench", "run", "sweep.yaml", "--out", "out", "--workers", "1"],
            cwd=tmp_path,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (ran.returncode, ran.stderr) == (0, "")
        assert "1 of 1 cells are finished: 1 ok" in ran.stdout
        return int(ran.stdout.split("1 cells, ")[1].split()[0])

    assert finished_before() == 0
    (tmp_path / "helped.py").write_bytes(("# é\n" + HELPED.replace("Fit.", "Fit é.")).encode("utf-8-sig"))
    assert finished_before(LC_ALL="C", PYTHONUTF8="0") == 1
    write(tmp_path, {"noise_model.py": "SHIFT = 3.0\n"})
    assert finished_before() == 0
    write(tmp_path, {"packed/__init__.py": TASK + "    version = 1\n"})
    assert finished_before() == 0
