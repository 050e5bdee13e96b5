"""Bias and spread of log p̂ against theory, where theory is exact."""

import pytest
import torch

from graybench.benchmark.papers.bridge.experiments import convergence as curves
from graybench.benchmark.papers.bridge.experiments.convergence import convergence
from graybench.tasks.sde.sde import TimeGrid


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(curves, "BRIDGES", 2**12)
    monkeypatch.setattr(curves, "FINE", TimeGrid(1.0, 100))
    with torch.no_grad():
        yield


def test_the_bias_of_the_scheme_falls_like_one_over_its_steps():
    _, reverting, growing, _ = convergence()
    for piece in (reverting, growing):
        rows = piece()
        assert [row["x"] for row in rows] == [5, 10, 20, 40, 80]
        assert rows[0]["bias_exponent"] == pytest.approx(-1, abs=0.1)
        assert rows[0]["spread_exponent"] < -0.5  # no less steep than in theory


def test_bias_and_spread_over_bridges_are_those_of_the_variance_of_weights():
    """bias/spread² = −½ for small spreads. The spread is known to 1 %, the bias within its error."""
    over_n, *_ = convergence()
    for row in over_n()[2:]:
        assert row["bias"] == pytest.approx(-0.5 * row["spread"] ** 2, abs=4 * row["bias_stderr"] + 0.01)
        assert row["bias"] < 0
    assert row["spread_exponent"] == pytest.approx(-0.5, abs=0.05)
