"""The Schlögl model: transition probabilities against scipy and a series, scores, the frozen reference."""

import math
from itertools import pairwise

import numpy as np
import torch
from scipy import stats
from scipy.linalg import expm

from graybench.tasks.frozen import load
from graybench.tasks.jump.schloegl import Schloegl
from graybench.tasks.seeding import generator

TASK = Schloegl()
CENTRE = torch.tensor([[5.2, 1.0, 9.8, 39.3]], dtype=torch.float64).log()


def z(terms):
    return terms.mean(0) / (terms.std(0) / math.sqrt(len(terms)))


def chain(theta):
    """The generator of the 61 states in plain Python, for one θ, (4,)."""
    k1, k2, k3, k4 = (math.exp(v) for v in theta)
    q = np.zeros((61, 61))
    for x in range(61):
        if x < 60:
            q[x, x + 1] = k1 + k3 * x * (x - 1) / 200
        if x > 0:
            q[x, x - 1] = k2 * x + k4 * x * (x - 1) * (x - 2) / 6e4
        q[x, x] = -q[x].sum()
    return q


def by_series(q, time, start):
    """Row `start` of exp(q time) by uniformisation: a sum of positive terms, so all digits are right."""
    rate = -q.diagonal().min()
    jumps = np.eye(61) + q / rate
    row, total = np.eye(61)[start], np.zeros(61)
    for k in range(2000):
        total += stats.poisson.pmf(k, rate * time) * row
        row = row @ jumps
    return total


def log_likelihood(theta, x):
    """By scipy, for one θ, (4,), and one x, (20,)."""
    p = expm(chain(theta) / 2)
    steps = [25, *map(int, x)]
    return sum(math.log(p[a, b]) for a, b in pairwise(steps))


def test_transition_probabilities_are_right_to_the_smallest():
    u = torch.cat(
        [torch.zeros(1, 4), torch.tensor([[2.0, -2.0, 2.0, -2.0], [-4.0, 4.0, -4.0, 4.0]])]
    ).double()
    theta = TASK.prior.to_theta(u)
    for value, got in zip(theta, TASK.transitions(theta).numpy(), strict=True):
        np.testing.assert_allclose(got, expm(chain(value) / 2), rtol=1e-7, atol=1e-12)
        for start in (0, 25, 60):  # down to 1e-60
            np.testing.assert_allclose(got[start], by_series(chain(value), 0.5, start), rtol=1e-7, atol=0)


def test_likelihood_and_marginal_score_against_scipy():
    simulated = TASK.simulate(12, seed=2, marginal_score=True)
    score = TASK.marginal_score(simulated.theta, simulated.x)
    got = TASK.log_likelihood(simulated.theta, simulated.x)
    for k in range(12):
        theta, x = simulated.theta[k].numpy(), simulated.x[k].numpy()
        assert abs(got[k] - log_likelihood(theta, x)) < 1e-8
        for j in range(4):
            step = 1e-4 * np.eye(4)[j]
            slope = (log_likelihood(theta + step, x) - log_likelihood(theta - step, x)) / 2e-4
            assert abs(score[k, j] - slope) < 1e-5 * (1 + abs(slope))
    one = TASK.log_likelihood(simulated.theta, simulated.x[:1])  # one x for all
    torch.testing.assert_close(one, TASK.log_likelihood(simulated.theta, simulated.x[:1].expand(12, -1)))


def test_simulated_counts_follow_the_transition_law():
    """Chi-squared after one step and after all; each fails a correct simulator once in 10,000 seeds."""
    n = 30_000
    x = TASK.simulator(CENTRE.expand(n, -1), generator(3)).x.numpy()
    p = expm(chain(CENTRE[0]) / 2)
    for column in (0, 19):
        expected = n * np.linalg.matrix_power(p, column + 1)[25]
        counts = np.bincount(x[:, column].astype(int), minlength=61)
        often = expected >= 5
        observed, expected = counts[often], expected[often]
        observed, expected = np.append(observed, n - observed.sum()), np.append(expected, n - expected.sum())
        assert stats.chisquare(observed, expected).pvalue > 1e-4
    assert (x[:, 19] < 22).mean() > 0.3  # both wells are visited
    assert (x[:, 19] > 35).mean() > 0.2


def test_joint_score_is_the_derivative_of_the_path_density():
    theta = TASK.prior.to_theta(torch.randn(100, 4, generator=generator(4), dtype=torch.float64))
    outcome = TASK.simulator(theta, generator(5))
    step = 1e-5 * torch.eye(4, dtype=torch.float64)
    for j in range(4):
        up, down = (TASK.log_joint(theta + s * step[j], outcome.x, outcome.latents) for s in (1, -1))
        torch.testing.assert_close((up - down) / 2e-5, outcome.joint_score[:, j], rtol=1e-5, atol=1e-4)
    counts, _ = outcome.latents
    births, deaths = counts[:, 0::2].sum(1), counts[:, 1::2].sum(1)
    assert torch.equal(births - deaths, outcome.x[:, -1] - 25)


def test_scores_have_mean_zero_and_the_joint_one_averages_to_the_marginal_one():
    """Twenty z values: |z| < 4.5 fails correct code in 1 of 7,000 seeds."""
    n = 3_000
    theta = CENTRE.expand(n, -1)
    outcome = TASK.simulator(theta, generator(6))
    difference, x = outcome.joint_score - TASK.marginal_score(theta, outcome.x), outcome.x
    assert z(TASK.simulator(CENTRE.expand(30_000, -1), generator(7)).joint_score).abs().max() < 4.5
    features = (torch.ones(n), torch.tanh((x[:, 19] - 25) / 10), (x.amax(1) > 40) * 1.0, torch.cos(x[:, 3]))
    for h in features:
        assert z(difference * h.unsqueeze(1)).abs().max() < 4.5


def test_a_row_does_not_depend_on_the_others():
    theta = TASK.prior.to_theta(torch.randn(50, 4, generator=generator(8), dtype=torch.float64))
    other = theta.clone()
    other[::2] += 0.3
    first, second = (TASK.simulator(value, generator(9)) for value in (theta, other))
    assert torch.equal(first.x[1::2], second.x[1::2])
    assert torch.equal(first.joint_score[1::2], second.joint_score[1::2])


def test_stored_scores_are_those_of_the_likelihood():
    observed, stored = TASK.observations(), load("schloegl")
    for k in (0, 2, 7):  # up to the rounding of draws to float32
        u = torch.from_numpy(stored["draws"][k, :20]).double()
        score = TASK.marginal_score(TASK.prior.to_theta(u), observed.x[k].expand(20, -1))
        expected = TASK.prior.score_in_u(u, score)
        torch.testing.assert_close(
            torch.from_numpy(stored["scores"][k, :20]).double(), expected, rtol=1e-3, atol=1e-3
        )
