"""graybench installed, from a wheel and editable, in a folder whose files are called like parts of it.

The user's `tasks.py`, `tasks/`, `methods/` and `benchmark.py` raise an error when they are imported.
"""

import ast
import json
import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pandas as pd
import pytest
import yaml
from jupyter_client.manager import KernelManager

from graybench.tests.environments import PACKAGES, ROOT, Environment

MINE = "the user's own file"
DOCSTRING = ast.get_docstring(ast.parse((ROOT / "__init__.py").read_text())) or ""
EXAMPLE = "".join(f"{line[4:]}\n" for line in DOCSTRING.splitlines() if line.startswith("    "))
METHOD = """
import torch
from graybench import Method, Posterior, generator

class Standard(Posterior):
    def sample(self, n, x_o, seed):
        return torch.randn(len(x_o), n, 2, generator=generator(seed))

class Mine(Method):
    name, version, summary, requires = "mine", 1, "The prior.", frozenset()

    def fit(self, simulations, seed):
        return Standard()
"""


@pytest.fixture(scope="module", params=["wheel", "editable"])
def environment(request: pytest.FixtureRequest) -> Environment:
    return request.getfixturevalue(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("tasks.py", "tasks/__init__.py", "benchmark.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"raise ImportError({MINE!r})\n")
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods/notes.txt").write_text("One text file makes a folder a namespace package.\n")
    return tmp_path


def test_the_wheel_is_whole(wheel: Environment) -> None:
    """Every file of the three folders is installed, and nothing else; a README may be missing."""
    installed = files(wheel.packages / "graybench")
    source = set[str]().union(*(files(wheel.source / name, wheel.source) for name in PACKAGES))
    assert installed == source | {"__init__.py", "__main__.py"}


def test_both_licences_are_declared_and_shipped(wheel: Environment) -> None:
    """MIT for the code, GPL-2 for four data files, each with its text."""
    (graybench,) = distributions(name="graybench", path=[str(wheel.packages)])
    assert graybench.metadata["License-Expression"] == "MIT AND GPL-2.0-only"
    declared = graybench.metadata.get_all("License-File")
    assert declared == ["LICENSE", "tasks/data/landmarks/GPL-2.0-only.txt"]
    (folder,) = wheel.packages.glob("graybench-*.dist-info")
    texts = [(folder / "licenses" / name).read_text() for name in declared]
    assert [" ".join(text.split()[:6]) for text in texts] == [
        "MIT License Copyright (c) 2026 The",
        "GNU GENERAL PUBLIC LICENSE Version 2,",
    ]
    assert "END OF TERMS AND CONDITIONS" in texts[1]


def files(folder: Path, start: Path | None = None) -> set[str]:
    found = {path.relative_to(start or folder) for path in folder.rglob("*") if path.is_file()}
    return {p.as_posix() for p in found if "__pycache__" not in p.parts and p.name != "README.md"}


def test_the_package_is_where_it_was_installed(
    wheel: Environment, editable: Environment, folder: Path
) -> None:
    for environment, home in ((wheel, wheel.packages / "graybench"), (editable, editable.source)):
        done = environment.run(folder, "python", "-c", "import graybench; print(graybench.__file__)")
        assert done.stdout.strip() == str(home / "__init__.py")


def test_the_command_has_two_names(environment: Environment, folder: Path) -> None:
    command = environment.run(folder, "graybench", "methods")
    module = environment.run(folder, "python", "-m", "graybench", "methods")
    assert (command.returncode, command.stderr) == (module.returncode, module.stderr) == (0, "")
    assert "LTSM" in command.stdout
    assert command.stdout == module.stdout


def test_workers_find_the_package(environment: Environment, folder: Path) -> None:
    assert run_sweep(environment, folder, "prior", "rejection_abc") == {"prior", "rejection_abc"}


def run_sweep(environment: Environment, folder: Path, *methods: str) -> set[str]:
    """Run a sweep with two workers; return the methods whose cells are ok."""
    content = {
        "name": "sweep",
        "tasks": ["linear_gaussian"],
        "methods": methods,
        "budgets": [50],
        "replicates": 1,
        "posterior_samples": 50,
        "observations": 1,
        "metrics": ["mmd"],
    }
    (folder / "sweep.yaml").write_text(json.dumps(content))  # JSON is YAML
    done = environment.run(folder, "graybench", "run", "sweep.yaml", "--workers", 2)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    table = pd.read_parquet(folder / "runs/sweep/table.parquet")
    return set(table.loc[table["status"] == "ok", "method"])


def test_the_example_runs(environment: Environment, folder: Path) -> None:
    (folder / "example.py").write_text(EXAMPLE + "print(samples.shape)\n")
    done = environment.run(folder, "python", "example.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("torch.Size([")


def test_a_kernel_of_jupyter_runs_the_example(environment: Environment, folder: Path) -> None:
    manager = KernelManager()
    manager.kernel_spec.argv[0] = str(environment.programs / "python")
    manager.start_kernel(cwd=str(folder), env=environment.variables)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        ran, then = (client.execute(code, reply=True, timeout=60) for code in (EXAMPLE, "import tasks"))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert ran["content"]["status"] == "ok", ran["content"]
    assert then["content"]["evalue"] == MINE  # the folder is where the kernel looks first


def test_a_users_method_in_such_a_folder_is_run(environment: Environment, folder: Path) -> None:
    (folder / "methods/mine.py").write_text(METHOD)
    assert run_sweep(environment, folder, "methods/mine.py:Mine", "prior") == {"mine", "prior"}


def test_the_version_is_the_same_everywhere() -> None:
    """In pyproject.toml, CITATION.cff and the newest entry of the changelog; the date likewise."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    newest = re.search(
        r"^## \[(.+)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert newest is not None
    assert (cited["version"], str(cited["date-released"])) == newest.groups()
    assert project["version"] == newest[1]
