"""The bridge experiments that are quick, against what they must find, and the command that runs them."""

from functools import partial

import pandas as pd
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from graybench.benchmark.cli.main import app
from graybench.benchmark.papers.bridge.experiments import catalogue
from graybench.benchmark.papers.bridge.experiments.catalogue import run_experiment
from graybench.benchmark.papers.bridge.figures import draw_bridges, recovery_figure
from graybench.benchmark.running.pieces import Pieces
from graybench.tasks.errors import UserError
from graybench.tasks.landmarks.diffusion import LandmarkDiffusion
from graybench.tasks.landmarks.task import ellipse


@pytest.fixture
def pieces(tmp_path):
    return Pieces(tmp_path, Console(quiet=True), 1)


def test_what_the_objectives_learn(pieces):
    found = run_experiment("objective_coefficients", pieces).groupby("objective")["c"].mean()
    assert found["corrected"] == pytest.approx(-1.5, abs=0.1)
    assert found["paper"] == pytest.approx(0.5, abs=0.1)


def test_the_explicit_target_grows_with_the_condition_of_the_covariance(pieces):
    found = run_experiment("explicit_target", pieces)
    for row in found.itertuples():
        logs = torch.log(torch.tensor([0.1, row.length], dtype=torch.float64))
        kernel = LandmarkDiffusion(*logs, 2, 1e-6).at(ellipse(8, 2).flatten()).kernel
        # E|Σ⁻¹ v|² = tr Σ⁻¹/dt; the rms of 160,000 numbers that are correlated is known to some 2 %
        expected = (kernel.inverse().trace() / 8 * 50).sqrt()
        assert row.rms_explicit == pytest.approx(float(expected), rel=0.05)
        assert row.rms_stable == pytest.approx((0.1**2 * 50) ** 0.5, rel=0.05)
    assert found["rms_explicit"].is_monotonic_increasing


def test_the_naive_average_fails_where_log_sum_exp_does_not(pieces):
    found = run_experiment("naive_averaging", pieces).set_index(["what", "dtype"])
    # a standard normal has a log-density of −1.42 a dimension, and floats end at e^−103 and at e^−745
    assert found.loc[("underflow", "float32"), "dim"] in range(60, 100)
    assert found.loc[("underflow", "float64"), "dim"] in range(450, 650)
    # and e^88, e^709 at the other end, σ = 0.05 gives 1.58 a dimension
    assert found.loc[("overflow", "float32"), "dim"] in range(40, 80)
    assert found.loc[("overflow", "float64"), "dim"] in range(400, 550)
    assert found["log_sum_exp_error"].abs().max() < 1e-3


def test_the_command_does_what_is_missing_and_draws(tmp_path, monkeypatch):
    calls = []

    def quick(dim):
        calls.append(dim)
        return [{"dim": dim, "expected": 0.7, "ess_fraction": 0.71}]

    def two():
        yield from (partial(quick, dim) for dim in (1, 2))

    def on_trees():
        raise AssertionError("experiments on trees are run by name only")

    monkeypatch.setattr(catalogue, "EXPERIMENTS", {"covariance_factor": two, "tree_samplers": on_trees})
    for _ in range(2):
        done = CliRunner().invoke(app, ["bridges", "--out", str(tmp_path)])
        assert done.exit_code == 0, done.output
        (tmp_path / "covariance_factor.csv").unlink()
        next((tmp_path / "work").glob("covariance_factor_2-*")).unlink(missing_ok=True)
    assert calls == [1, 2, 2]
    assert done.output.count("finished before") == 1
    refused = CliRunner().invoke(app, ["bridges", "--out", str(tmp_path), "--only", "covariance"])
    assert isinstance(refused.exception, UserError)
    assert "did you mean covariance_factor" in str(refused.exception)


def test_every_figure_is_drawn_once_its_tables_are_there(tmp_path):
    covariance = pd.DataFrame({"dim": [1, 2], "expected": [0.7, 0.5], "ess_fraction": [0.71, 0.49]})
    kernels = pd.DataFrame(
        {
            "kernel": ["forward", "adjoint"],
            "expected": [0.2, 1.0],
            "steps": [25, 25],
            "ess_fraction": [0.2, 0.9],
        }
    )
    explicit = pd.DataFrame(
        {"condition": [10.0, 100.0], "rms_explicit": [5.0, 50.0], "rms_stable": [1.0, 1.0]}
    )
    recovery = pd.DataFrame(
        {
            "parameter": ["a", "a", "length", "length"],
            "truth": [0.1, 0.1, 0.5, 0.5],
            "estimate": [0.11, 0.09, 0.5, 0.7],
            "log_stderr": [0.1] * 4,
            "covered": [True, True, True, False],
        }
    )
    covariance.to_csv(tmp_path / "covariance_factor.csv")
    kernels.to_csv(tmp_path / "forward_kernel.csv")
    assert draw_bridges(tmp_path) == []
    explicit.to_csv(tmp_path / "explicit_target.csv")
    recovery.to_csv(tmp_path / "recovery.csv")
    drawn = draw_bridges(tmp_path)
    assert [path.stem for path in drawn] == ["ablations", "ablations", "recovery", "recovery"]
    assert all(path.stat().st_size > 5_000 for path in drawn)
    axis = recovery_figure(recovery).axes[1]
    missed = axis.get_lines()[1]
    assert list(missed.get_xdata()) == [0.7]  # the cross is at the interval that misses the truth
