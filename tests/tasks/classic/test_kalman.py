"""The Kalman filter against the full covariance, and paths against the recursion written with matrices."""

import numpy as np
import pytest
import torch
from scipy import stats

from graybench.tasks.classic.kalman import fill_path, kalman_log_likelihood
from graybench.tasks.seeding import generator

LENGTH, START = 7, 0.8
MODELS = [(0.9, 0.3, 0.5, 0.2), (-0.6, -1.0, 2.0, 1.5), (1.1, 0.0, 0.1, 4.0)]  # a, b, Q, R


def powers(a):
    """The lower-triangular matrix of a^(t − s), which sums shocks into a path."""
    lag = np.subtract.outer(np.arange(LENGTH), np.arange(LENGTH))
    return np.where(lag >= 0, float(a) ** np.maximum(lag, 0), 0.0)


def test_likelihood_is_the_multivariate_normal_of_the_data():
    x = torch.randn(len(MODELS), LENGTH, generator=generator(1), dtype=torch.float64)
    a, b, q, r = torch.tensor(MODELS, dtype=torch.float64).T
    got = kalman_log_likelihood(x, a, b, q, r, START)
    shared = kalman_log_likelihood(x[:1], a, b, q, r, START)
    for row, (a, b, q, r) in enumerate(MODELS):
        mean = START * a ** np.arange(1, LENGTH + 1) + b * powers(a).sum(1)
        law = stats.multivariate_normal(mean, q * powers(a) @ powers(a).T + r * np.eye(LENGTH))
        assert float(got[row]) == pytest.approx(law.logpdf(x[row]), abs=1e-10)
        assert float(shared[row]) == pytest.approx(law.logpdf(x[0]), abs=1e-10)


def test_paths_are_sums_of_discounted_shocks():
    shocks = torch.randn(LENGTH, len(MODELS), generator=generator(2), dtype=torch.float64)
    a = torch.tensor(MODELS, dtype=torch.float64)[:, 0]
    expected = torch.stack([torch.from_numpy(powers(v)) @ e for v, e in zip(a, shocks.T, strict=True)], 1)
    torch.testing.assert_close(fill_path(shocks.clone(), a), expected)
