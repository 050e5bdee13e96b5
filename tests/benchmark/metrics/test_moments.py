"""Errors of moments against closed forms."""

import math

import pytest
import torch

from graybench.benchmark.metrics.moments import mean_error, std_error
from graybench.tests.numbers import normal


def test_moment_errors_are_in_units_of_the_reference():
    n = 4000
    mean, std = (torch.tensor(v, dtype=torch.float64) for v in ([1.0, 10.0], [0.5, 4.0]))
    whitened = normal(n, 2, seed=5)
    whitened = (whitened - whitened.mean(0)) / whitened.std(0)
    sample = mean + std * (whitened * torch.tensor([1.5, 1.0]).double() + torch.tensor([0.3, -0.4]).double())
    value, stderr = mean_error(sample, mean, std, seed=1)
    assert value == pytest.approx(math.sqrt((0.3**2 + 0.4**2) / 2), rel=1e-6)
    # d|e| = (0.3 · 1.5 z₁ − 0.4 z₂)/(√n · √(2 · (0.3² + 0.4²))); 100 bootstrap draws are within 40 %
    exact = math.sqrt((0.45**2 + 0.4**2) / (n * 2 * (0.3**2 + 0.4**2)))
    assert stderr == pytest.approx(exact, rel=0.4)
    value, stderr = std_error(sample, mean, std, seed=1)
    assert value == pytest.approx(0.5 / math.sqrt(2), rel=1e-6)
    assert stderr == pytest.approx(1.5 / math.sqrt(2 * n) / math.sqrt(2), rel=0.4)
