"""The experiment with time grids, at a size that takes seconds."""

import math

import pytest
import torch

from graybench.benchmark.papers.bridge.experiments import time_grids as experiment
from graybench.methods.bridge.likelihood import BridgeSampler
from graybench.tasks.sde.double_well import DoubleWell
from graybench.tasks.sde.sde import TimeGrid
from graybench.tasks.seeding import derive_seed


def test_grids_are_finer_where_they_say():
    first, last = {}, {}
    for name, share in experiment.SHARES.items():
        lengths = TimeGrid.at([share(k / 10) for k in range(11)]).lengths
        first[name], last[name] = float(lengths[0]), float(lengths[-1])
        assert float(lengths.sum()) == pytest.approx(1)
    assert first["finer at the start"] == pytest.approx(0.01)
    assert last["finer at the end"] == pytest.approx(0.01)
    assert first["finer at both"] == pytest.approx(last["finer at both"]) == pytest.approx(0.028)
    assert first["equal"] == pytest.approx(last["equal"]) == pytest.approx(0.1)


@torch.no_grad()
def test_all_grids_estimate_the_same_likelihoods(monkeypatch):
    monkeypatch.setattr(experiment, "ENDS", 6)
    monkeypatch.setattr(experiment, "STEPS", 40)
    task, theta = DoubleWell(duration=0.5, steps=200), (0.0, math.log(0.7))
    rows = {row["grid"]: row for row in experiment._on_grids("a well", task, theta, 0.5)}
    assert list(rows) == list(experiment.SHARES)
    for row in rows.values():
        # 4.5 standard errors, as if the grids' errors were one; the steps' own error is below 0.01 here
        assert abs(row["error"]) < 4.5 * row["stderr"] / 6**0.5 + 0.01
        assert row["ess_fraction"] - row["gain"] == pytest.approx(rows["equal"]["ess_fraction"])
    at = torch.tensor(theta, dtype=torch.float64)
    y = task.simulate_at(at.expand(6, -1), derive_seed("bridges", "time grids", "a well")).x
    sampler = BridgeSampler(base="midpoint", particles=experiment.PARTICLES)
    plain = sampler.estimate(task.sde(at), task.start, y, TimeGrid(0.5, 40), derive_seed("grids", "a well"))
    assert rows["equal"]["mean_log_likelihood"] == float(plain.value.mean())
