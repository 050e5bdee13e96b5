"""Sample metrics against brute force and closed forms."""

import itertools
import math
import subprocess
import sys

import pytest
import torch
from scipy import stats

from graybench.benchmark.metrics import samples as sample_metrics
from graybench.benchmark.metrics.samples import (
    Estimate,
    c2st_ensemble,
    c2st_mlp,
    mean_error,
    median_distance,
    mmd,
    mmd_squared,
    std_error,
)
from graybench.tasks.seeding import generator


def normal(n, d, seed, shift=0.0):
    return shift + torch.randn(n, d, generator=generator(seed), dtype=torch.float64)


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
    monkeypatch.setattr(sample_metrics, "PART", part)
    x, y = normal(12, 2, 1), normal(12, 2, 2, shift=0.5)
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
    estimates = [mmd_squared(normal(300, 1, k), normal(300, 1, 1000 + k, shift), h) for k in range(40)]
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
        monkeypatch.setattr(sample_metrics, name, value)
    x = normal(n, 2, 5)
    for factor in (1.0, 2.0, 0.5):
        x[:10] *= factor
        distances = sorted(math.dist(a, b) for a, b in itertools.combinations(x.tolist(), 2))
        assert median_distance(x) == pytest.approx(distances[(len(distances) - 1) // 2], rel=1e-12)


@pytest.mark.alone
def test_memory_of_large_samples_is_bounded():
    """Another process, as the peak never falls: 8 n² bytes would be 800 MB for each matrix of 10,000.

    VmHWM is the peak of that process alone; ru_maxrss starts at the size of the process that started it.
    """
    program = """
import re, torch
from pathlib import Path
from graybench.benchmark.metrics.samples import median_distance, mmd_squared
x = torch.randn(10_000, 2, dtype=torch.float64)
mmd_squared(x[:100], x[100:200], 1.0), median_distance(x[:100])
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
before = peak()
mmd_squared(x, 1.1 * x.flip(0), 1.0), median_distance(x)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 400


BOTH = pytest.mark.parametrize("c2st", [c2st_mlp, c2st_ensemble], ids=["mlp", "ensemble"])


@BOTH
def test_c2st_is_the_bayes_accuracy(c2st):
    """Φ(δ/2) for two normals δ apart, ½ for δ = 0; to 4.5 standard errors and the classifier's loss."""
    for shift in (0.0, 1.0, 3.0):
        value, stderr = c2st(normal(1000, 1, 1, shift), normal(1000, 1, 2), seed=3)
        bayes = stats.norm.cdf(shift / 2)
        assert bayes - 4.5 * stderr - 0.02 < value < bayes + 4.5 * stderr
        assert stderr == pytest.approx(math.sqrt(value * (1 - value) / 2000))


def test_the_ensemble_finds_small_shifts_in_ten_dimensions_and_is_not_optimistic():
    """The Bayes accuracy is Φ(0.95/2) = 0.682, where the MLP finds 0.60. Accuracies of equal laws are ½.

    4.5 binomial standard errors twice: 1 of 70,000 seeds fails. 0.02 is allowed for the classifier's loss.
    """
    shifted = normal(1000, 10, 1, 0.95 / math.sqrt(10))
    value, stderr = c2st_ensemble(shifted, normal(1000, 10, 2), seed=3)
    bayes = stats.norm.cdf(0.95 / 2)
    assert bayes - 0.02 - 4.5 * stderr / 2 < value < bayes + 4.5 * stderr
    null = [c2st_ensemble(normal(200, 10, k), normal(200, 10, 100 + k), seed=k) for k in range(10)]
    mean = sum(e.value for e in null) / 10
    assert abs(mean - 0.5) < 4.5 * null[0].stderr / math.sqrt(10)


@BOTH
def test_c2st_is_seeded(c2st):
    x, y = normal(200, 2, 1), normal(200, 2, 2, 0.5)
    assert c2st(x, y, seed=2**40) == c2st(x, y, seed=2**40)


@BOTH
def test_what_stops_the_classifier_is_raised_itself(c2st):
    """scikit-learn would put the tracebacks of all folds into one message."""
    x = normal(100, 2, 1)
    with pytest.raises(ValueError, match=r"^Input X contains NaN"):
        c2st(x * torch.nan, x, seed=1)


@pytest.mark.filterwarnings("error")
def test_the_ensemble_takes_samples_that_diverged():
    """Accuracy 1, but for the standard error at 1 of 400."""
    x = normal(200, 2, 1)
    assert c2st_ensemble(1e9 * x, x, seed=1).value > 0.98


def test_moment_errors_are_in_units_of_the_reference():
    n = 4000
    mean, std = (torch.tensor(v, dtype=torch.float64) for v in ([1.0, 10.0], [0.5, 4.0]))
    whitened = normal(n, 2, 5)
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
