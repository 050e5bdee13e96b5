"""A package of somebody else's, `tests/third_party`: installed, listed, checked and swept."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from graybench.tests.environments import ROOT, SCRATCH, Environment

NO_TASK = (
    "task photon_emulator cannot be imported from graybench_photons.photon_emulator: "
    "ModuleNotFoundError: No module named 'no_such_emulator'."
)
NO_METHOD = (
    "method photon_network cannot be imported from graybench_photons.photon_network: "
    "RuntimeError: no licence for photon_network was found."
)

Graybench = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("third_party")


@pytest.fixture(scope="module")
def graybench(folder: Path, wheel: Environment) -> Graybench:
    shutil.copytree(ROOT / "tests/third_party", folder / "photons", ignore=SCRATCH)
    wheel.install(folder / "photons")
    return lambda *arguments: wheel.run(folder, "graybench", *arguments)


def test_both_are_listed_and_the_broken_with_their_errors(graybench: Graybench) -> None:
    for kind, name, summary, sentence in (
        ("tasks", "photon_counts", "Five counts of photons by a detector that misses some.", NO_TASK),
        ("methods", "polynomial_regression", "Polynomial regression with a Gaussian residual.", NO_METHOD),
    ):
        done = graybench(kind)
        assert (done.returncode, done.stderr) == (0, "")
        (row,) = [line for line in done.stdout.splitlines() if name in line]
        assert summary in row
        assert done.stdout.splitlines()[-1] == sentence
        assert done.stdout.count("cannot be") == 1  # the wheel of graybench is whole


def test_both_pass_the_checks(graybench: Graybench) -> None:
    """A correct pair fails for 1 of 600 seeds."""
    skipped = {"task": {"SDE coefficients"}, "method": set()}  # the task is no diffusion
    for kind, name in (("task", "photon_counts"), ("method", "polynomial_regression")):
        done = graybench("check", kind, name, "--n", "2000")
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert done.stdout.count("passed") > 7
        rows = [line.split("│") for line in done.stdout.splitlines() if "skipped" in line]
        assert {row[1].strip() for row in rows} == skipped[kind], done.stdout


def test_the_broken_are_answered_with_one_sentence(graybench: Graybench, folder: Path) -> None:
    done = graybench("check", "task", "photon_emulator")
    assert (done.returncode, done.stderr) == (2, f"graybench: {NO_TASK}\n")
    done = graybench("run", _sweep(folder / "broken.yaml", methods=["prior", "photon_network"]))
    assert (done.returncode, done.stderr) == (
        2,
        f"graybench: {folder / 'broken.yaml'}: methods[1]: {NO_METHOD}\n",
    )


def test_both_are_swept_beside_what_is_built_in(graybench: Graybench, folder: Path) -> None:
    done = graybench("run", _sweep(folder / "photons.yaml"), "--workers", "1")
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(folder / "runs/photons/table.parquet")
    assert set(table["status"]) == {"ok"}
    cells = table.groupby(["task", "method", "method_settings"])
    assert set(cells.groups) == {
        (task, *method)
        for task in ("photon_counts", "linear_gaussian")
        for method in (("polynomial_regression", ""), ("polynomial_regression", "degree=2"), ("prior", ""))
    }
    error = table[table["metric"] == "score_error"].groupby(["task", "method"])["value"].mean()
    # a line and a Gaussian are exact for one task and near for the other: at most 0.016 and 0.17 for 12 seeds
    assert error["linear_gaussian", "polynomial_regression"] < 0.05 * error["linear_gaussian", "prior"]
    assert error["photon_counts", "polynomial_regression"] < 0.3 * error["photon_counts", "prior"]
    shown = graybench("table", "runs/photons")
    assert shown.returncode == 0
    assert "polynomial_regression(degree=2)" in shown.stdout


def _sweep(path: Path, **changes: list[str]) -> Path:
    content = {
        "name": "photons",
        "tasks": ["photon_counts", "linear_gaussian"],
        "methods": [{"name": "polynomial_regression", "degree": [1, 2]}, "prior"],
        "budgets": [500],
        "replicates": 2,
        "observations": 3,
        "posterior_samples": 200,
        "metrics": ["mmd", "score_error"],
    }
    path.write_text(json.dumps(content | changes))  # JSON is YAML
    return path
