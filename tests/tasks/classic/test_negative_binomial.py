"""The regression of counts against scipy, autograd, quadrature and the law of its own simulations."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from graybench.tasks.classic.negative_binomial import NegativeBinomial, _design
from graybench.tasks.seeding import generator

TASK = NegativeBinomial()


def test_likelihood_and_joint_density_are_those_of_scipy():
    theta = TASK.simulate(50, seed=1).theta
    x, _, _, rates = TASK.simulator(theta, generator(1))
    mean, r = np.exp(theta[:, :3].numpy() @ _design().numpy().T), np.exp(theta[:, 3:].numpy())
    counts = stats.nbinom.logpmf(x, r, r / (r + mean)).sum(1)
    torch.testing.assert_close(TASK.log_likelihood(theta, x), torch.from_numpy(counts))
    joint = stats.gamma.logpdf(rates, r, scale=mean / r).sum(1)
    torch.testing.assert_close(TASK.log_joint(theta, x, rates), torch.from_numpy(joint))


@pytest.mark.parametrize("log_r", [-1.8, 0.7, 3.2])  # the prior's mean and five standard deviations away
def test_rates_and_counts_have_their_laws(log_r):
    """Kolmogorov-Smirnov and chi-squared at three places, p > 1e-4: 1 of 1,600 seeds fails for each r."""
    n, r = 20_000, math.exp(log_r)
    theta = torch.tensor([[1.2, 0.3, -0.4, log_r]], dtype=torch.float64)
    x, _, _, rates = TASK.simulator(theta.expand(n, -1), generator(4))
    mean = np.exp(theta[0, :3].numpy() @ _design().numpy().T)
    for place in (0, 42, 99):
        law = stats.gamma(r, scale=mean[place] / r)
        assert stats.kstest(rates[:, place].numpy(), law.cdf).pvalue > 1e-4
        counts = np.bincount(x[:, place].long().numpy())
        expected = n * stats.nbinom.pmf(np.arange(len(counts)), r, r / (r + mean[place]))
        kept = expected >= 20  # the rest is one cell
        counts = np.append(counts[kept], counts[~kept].sum())
        expected = np.append(expected[kept], n - expected[kept].sum())
        assert stats.chisquare(counts, expected).pvalue > 1e-4


def test_joint_information_is_that_of_the_gamma_rates():
    """Cov S is r XᵀX for β and 100 r² (ψ′(r) − 1/r) for log r: |z| < 4.5 fails 1 of 14,000 seeds."""
    n, r = 50_000, math.exp(0.5)
    theta = torch.tensor([[1.0, 0.2, -0.3, 0.5]], dtype=torch.float64).expand(n, -1)
    score = TASK.simulator(theta, generator(6)).joint_score
    expected = torch.zeros(4, 4, dtype=torch.float64)
    expected[:3, :3] = r * _design().T @ _design()
    expected[3, 3] = 100 * r**2 * (torch.polygamma(1, torch.tensor(r, dtype=torch.float64)) - 1 / r)
    products = score.unsqueeze(2) * score.unsqueeze(1)
    z = (products.mean(0) - expected) / (products.std(0) / math.sqrt(n))
    assert z.abs().max() < 4.5
