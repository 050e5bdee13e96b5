"""MMD against brute force and closed forms."""

import itertools
import math
import subprocess
import sys

import pytest
import torch

from graybench.benchmark.metrics import mmd as module
from graybench.benchmark.metrics.distance import Estimate
from graybench.benchmark.metrics.mmd import median_distance, mmd, mmd_squared
from graybench.tests.numbers import normal


def kernel(a, b, h):
    return math.exp(-float((a - b).square().sum()) / (2 * h**2))


def slow_mmd_squared(x, y, h):
    n, total = len(x), 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                total += kernel(x[i], x[j], h) + kernel(y[i], y[j], h)
                total -= kernel(x[i], y[j], h) + kernel(x[j], y[i], h)
    return total / (n * (n - 1))


@pytest.mark.parametrize("part", [1, 12 * 5, 10**6])
def test_mmd_and_its_jackknife_equal_double_loops(part, monkeypatch):
    monkeypatch.setattr(module, "PART", part)
    x, y = normal(12, 2, seed=1), 0.5 + normal(12, 2, seed=2)
    value, stderr = mmd_squared(x, y, 0.8)
    assert value == pytest.approx(slow_mmd_squared(x, y, 0.8), rel=1e-10)
    kept = [torch.arange(12) != i for i in range(12)]
    left_out = torch.tensor([slow_mmd_squared(x[k], y[k], 0.8) for k in kept], dtype=torch.float64)
    assert stderr == pytest.approx(math.sqrt(11 * float(left_out.var(correction=0))), rel=1e-9)


def test_mmd_squared_is_unbiased_for_the_closed_form_of_two_gaussians():
    """E k(a, b) is h/√(h² + 2) exp(−μ²/(2(h² + 2))) for a − b ~ N(μ, 2). |z| < 4.5, 1 of 150,000."""
    h, shift = 1.3, 0.7
    within = h / math.sqrt(h**2 + 2)
    expected = 2 * within * (1 - math.exp(-(shift**2) / (2 * (h**2 + 2))))
    estimates = [
        mmd_squared(normal(300, 1, seed=k), shift + normal(300, 1, seed=1000 + k), h) for k in range(40)
    ]
    values = torch.tensor([e.value for e in estimates], dtype=torch.float64)
    spread = float(values.std())
    assert abs(float(values.mean()) - expected) < 4.5 * spread / math.sqrt(40)
    # the standard error estimates the spread over samples: its own error at 40 samples is 11 %
    assert sum(e.stderr for e in estimates) / 40 == pytest.approx(spread, rel=0.5)


def test_mmd_is_the_clamped_root():
    assert mmd(Estimate(-0.01, 0.02)) == Estimate(0.0, math.sqrt(0.02))
    value, stderr = mmd(Estimate(0.04, 0.002))
    assert value == pytest.approx(0.2)
    assert stderr == pytest.approx(0.005)  # the delta method's 0.002/(2 · 0.2)


def test_median_distance_is_of_pairs():
    assert median_distance(torch.tensor([[0.0], [1.0], [3.0]])) == 2.0


@pytest.mark.parametrize("middle", [(0.4, 0.6), (0.9, 1.0), (0.0, 0.1)])
@pytest.mark.parametrize("n", [50, 51, 52, 53])
def test_the_median_of_many_is_that_of_all(n, middle, monkeypatch):
    """Also where the first rows mislead: they are twice as wide as the others, or half."""
    for name, value in {"FEW": 10, "MIDDLE": middle, "PART": 3 * n}.items():
        monkeypatch.setattr(module, name, value)
    x = normal(n, 2, seed=5)
    for factor in (1.0, 2.0, 0.5):
        x[:10] *= factor
        distances = sorted(math.dist(a, b) for a, b in itertools.combinations(x.tolist(), 2))
        assert median_distance(x) == pytest.approx(distances[(len(distances) - 1) // 2], rel=1e-12)


def test_memory_of_large_samples_is_bounded():
    """Another process, as the peak never falls: 8 n² bytes would be 800 MB for each matrix of 10,000.

    VmHWM is the peak of that process alone; ru_maxrss starts at the size of the process that started it.
    """
    program = """
import re, torch
from pathlib import Path
from graybench.benchmark.metrics.mmd import median_distance, mmd_squared
x = torch.randn(10_000, 2, dtype=torch.float64)
mmd_squared(x[:100], x[100:200], 1.0), median_distance(x[:100])
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
before = peak()
mmd_squared(x, 1.1 * x.flip(0), 1.0), median_distance(x)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 400
