"""The exact maximum that fits are held against, on a likelihood whose maximum and curvature are known."""

from types import SimpleNamespace

import pytest
import torch

from graybench.benchmark.papers.bridge.experiments import coverage
from graybench.tests.numbers import double, normal


def test_the_maximum_and_its_errors_are_those_of_a_quadratic(monkeypatch):
    """log p = −½ (θ − m)ᵀ A (θ − m) over 50 observations has the maximum m and the errors √(A⁻¹)_kk."""
    best, curvature = double([0.3, -0.9]), double([[40.0, 12.0], [12.0, 90.0]])

    def quadratic(theta, begin, end, *_):
        away = theta.flatten() - best
        return (-away @ curvature @ away / 2 / end.numel()).expand(end.shape)

    monkeypatch.setattr(coverage, "log_transition", quadratic)
    monkeypatch.setattr(
        coverage, "task_of", lambda name, **_: SimpleNamespace(sde=lambda theta: theta, grid=None)
    )
    monkeypatch.setattr(coverage, "_observations", lambda *_: (double([-1.0]), normal(50, 1)))
    theta, stderr = coverage._exact_maximum.__wrapped__("ends", 1.0, 0)
    assert theta.tolist() == pytest.approx(best.tolist(), abs=1e-4)
    assert stderr.tolist() == pytest.approx(torch.linalg.inv(curvature).diagonal().sqrt().tolist(), rel=1e-3)
