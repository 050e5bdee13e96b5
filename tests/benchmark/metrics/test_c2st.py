"""C2ST against the Bayes accuracy of normals."""

import math

import pytest
import torch
from scipy import stats

from graybench.benchmark.metrics.c2st import c2st_ensemble, c2st_mlp
from graybench.tests.numbers import normal

BOTH = pytest.mark.parametrize("c2st", [c2st_mlp, c2st_ensemble], ids=["mlp", "ensemble"])


@BOTH
def test_c2st_is_the_bayes_accuracy(c2st):
    """Φ(δ/2) for two normals δ apart, ½ for δ = 0; to 4.5 standard errors and the classifier's loss."""
    for shift in (0.0, 1.0, 3.0):
        value, stderr = c2st(shift + normal(1000, 1, seed=1), normal(1000, 1, seed=2), seed=3)
        bayes = stats.norm.cdf(shift / 2)
        assert bayes - 4.5 * stderr - 0.02 < value < bayes + 4.5 * stderr
        assert stderr == pytest.approx(math.sqrt(value * (1 - value) / 2000))


def test_the_ensemble_finds_small_shifts_in_ten_dimensions_and_is_not_optimistic():
    """The Bayes accuracy is Φ(0.95/2) = 0.682, where the MLP finds 0.60. Accuracies of equal laws are ½.

    4.5 binomial standard errors twice: 1 of 70,000 seeds fails. 0.02 is allowed for the classifier's loss.
    """
    shifted = 0.95 / math.sqrt(10) + normal(1000, 10, seed=1)
    value, stderr = c2st_ensemble(shifted, normal(1000, 10, seed=2), seed=3)
    bayes = stats.norm.cdf(0.95 / 2)
    assert bayes - 0.02 - 4.5 * stderr / 2 < value < bayes + 4.5 * stderr
    null = [c2st_ensemble(normal(200, 10, seed=k), normal(200, 10, seed=100 + k), seed=k) for k in range(10)]
    mean = sum(e.value for e in null) / 10
    assert abs(mean - 0.5) < 4.5 * null[0].stderr / math.sqrt(10)


@BOTH
def test_c2st_is_seeded(c2st):
    x, y = normal(200, 2, seed=1), 0.5 + normal(200, 2, seed=2)
    assert c2st(x, y, seed=2**40) == c2st(x, y, seed=2**40)


@BOTH
def test_what_stops_the_classifier_is_raised_itself(c2st):
    """scikit-learn would put the tracebacks of all folds into one message."""
    x = normal(100, 2, seed=1)
    with pytest.raises(ValueError, match=r"^Input X contains NaN"):
        c2st(x * torch.nan, x, seed=1)


@pytest.mark.filterwarnings("error")
def test_the_ensemble_takes_samples_that_diverged():
    """Accuracy 1, but for the standard error at 1 of 400."""
    x = normal(200, 2, seed=1)
    assert c2st_ensemble(1e9 * x, x, seed=1).value > 0.98
