"""Immigration and death: the likelihood against scipy and a matrix exponential, scores, and the reference."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.linalg import expm

from graybench.tasks.jump.immigration_death import ImmigrationDeath
from graybench.tasks.seeding import generator

TASK = ImmigrationDeath()


def z(terms):
    return terms.mean(0) / (terms.std(0) / math.sqrt(len(terms)))


def transition(x, rate, death_rate, most):
    """P(X_1 = 0..most | X_0 = x) as a convolution of pmfs of scipy."""
    alive = math.exp(-death_rate)
    mean = rate / death_rate * (1 - alive)
    places = np.arange(most + 1)
    return np.convolve(stats.binom.pmf(places, x, alive), stats.poisson.pmf(places, mean))[: most + 1]


@pytest.mark.parametrize("rates", [(10.0, 0.7), (2.0, 3.0), (60.0, 0.2)])
def test_likelihood_is_the_convolution_and_the_matrix_exponential(rates):
    theta = torch.tensor([rates], dtype=torch.float64).log()
    x = TASK.simulator(theta, generator(1)).x
    steps = [10, *map(int, x[0])]
    most = int(x.max()) + 150  # far above all that is reached, so that the cut chain is as good as whole
    births, deaths = np.full(most, rates[0]), rates[1] * np.arange(1, most + 1)
    chain = np.diag(births, 1) + np.diag(deaths, -1)
    exact = expm(chain - np.diag(chain.sum(1)))
    by_scipy = [math.log(transition(a, *rates, most)[b]) for a, b in pairwise(steps)]
    by_chain = [math.log(exact[a, b]) for a, b in pairwise(steps)]
    got = float(TASK.log_likelihood(theta, x))
    assert got == pytest.approx(sum(by_scipy), abs=1e-9)
    assert got == pytest.approx(sum(by_chain), abs=1e-7)


def test_simulated_counts_follow_the_transition_law():
    """Chi-squared after one step and after ten; each fails a correct simulator once in 10,000 seeds."""
    n, rate, death_rate = 100_000, 8.0, 0.9
    theta = torch.tensor([[rate, death_rate]], dtype=torch.float64).log().expand(n, -1)
    x = TASK.simulator(theta, generator(3)).x.numpy()
    # ten steps are one with all rates ten times as large
    for column, times in ((0, 1), (9, 10)):
        expected = n * transition(10, times * rate, times * death_rate, 60)
        counts = np.bincount(x[:, column].astype(int), minlength=61)
        often = expected >= 5
        observed = np.append(counts[often], counts[~often].sum())
        assert stats.chisquare(observed, np.append(expected[often], n - expected[often].sum())).pvalue > 1e-4


def test_joint_score_is_the_derivative_of_the_path_density():
    theta = TASK.prior.to_theta(torch.randn(200, 2, generator=generator(4), dtype=torch.float64))
    outcome = TASK.simulator(theta, generator(5))
    step = 1e-5 * torch.eye(2, dtype=torch.float64)
    for j in range(2):
        up, down = (TASK.log_joint(theta + s * step[j], outcome.x, outcome.latents) for s in (1, -1))
        torch.testing.assert_close((up - down) / 2e-5, outcome.joint_score[:, j], rtol=1e-6, atol=1e-5)
    counts, exposures = outcome.latents
    assert torch.equal(counts[:, 0] - counts[:, 1], outcome.x[:, -1] - 10)
    assert (exposures[:, 0] == 10).all()


def test_scores_have_mean_zero_and_the_joint_one_averages_to_the_marginal_one():
    """Ten z values for each of two θ: |z| < 4.5 fails correct code in 1 of 7,000 seeds."""
    n = 40_000
    for rates in ((10.0, 0.7), (4.0, 1.5)):
        theta = torch.tensor([rates], dtype=torch.float64).log().expand(n, -1)
        outcome = TASK.simulator(theta, generator(6))
        exact = TASK.marginal_score(theta, outcome.x)
        x = outcome.x
        assert z(outcome.joint_score).abs().max() < 4.5
        features = (
            torch.ones(n),
            torch.tanh((x[:, 9] - 10) / 5),
            torch.cos(x[:, 4]),
            (x[:, 0] > x[:, 1]) * 1.0,
        )
        for h in features:
            assert z((outcome.joint_score - exact) * h.unsqueeze(1)).abs().max() < 4.5


def test_a_row_does_not_depend_on_the_others():
    theta = TASK.prior.to_theta(torch.randn(50, 2, generator=generator(8), dtype=torch.float64))
    other = theta.clone()
    other[::2] += 1
    first, second = (TASK.simulator(value, generator(9)) for value in (theta, other))
    assert torch.equal(first.x[1::2], second.x[1::2])
    assert torch.equal(first.joint_score[1::2], second.joint_score[1::2])
