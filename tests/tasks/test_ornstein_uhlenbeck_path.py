"""The latent Ornstein-Uhlenbeck path against its full covariance, autograd, quadrature and simulations."""

import math

import numpy as np
import torch
from scipy import stats

from tasks.ornstein_uhlenbeck_path import OrnsteinUhlenbeckPath
from tasks.seeding import generator

TASK = OrnsteinUhlenbeckPath()


def law_of_path(theta):
    """The mean and covariance of X_1 … X_200: M X = k μ dt + s √dt ε for the matrix M of the scheme."""
    k, mu, s = math.exp(theta[0]), float(theta[1]), math.exp(theta[2])
    solve = np.linalg.inv(np.eye(200) - (1 - k * 0.05) * np.eye(200, k=-1))
    return solve.sum(1) * k * mu * 0.05, s**2 * 0.05 * solve @ solve.T


def law_of_x(theta):
    """p(x | θ): every twentieth step, with noise."""
    mean, covariance = law_of_path(theta)
    return stats.multivariate_normal(mean[19::20], covariance[19::20, 19::20] + 0.01 * np.eye(10))


def test_likelihood_is_the_multivariate_normal_of_the_data():
    simulations = TASK.simulate(20, seed=1)
    got = TASK.log_likelihood(simulations.theta, simulations.x)
    expected = [law_of_x(row).logpdf(x) for row, x in zip(simulations.theta, simulations.x, strict=True)]
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


def test_joint_density_is_that_of_scipy():
    theta = TASK.simulate(50, seed=1).theta
    x, _, _, _, path = TASK.simulator(theta, generator(1))
    k, mu, s = theta[:, :1].exp(), theta[:, 1:2], theta[:, 2:].exp()
    before = torch.cat([torch.zeros(50, 1), path[:, :-1]], 1)
    joint = stats.norm.logpdf(path, before + k * (mu - before) * 0.05, s * math.sqrt(0.05)).sum(1)
    constant = 100 * math.log(2 * math.pi * 0.05)
    torch.testing.assert_close(TASK.log_joint(theta, x, path), torch.from_numpy(joint) + constant)


def test_simulations_have_the_mean_and_covariance_of_the_model():
    """Those of N(0, I) in whitened coordinates: |z| < 6 at 65 places fails in 1 of 7 million seeds."""
    n = 20_000
    theta = torch.tensor([[0.3, 1.5, -0.2]], dtype=torch.float64)
    law = law_of_x(theta[0])
    factor = torch.linalg.cholesky(torch.from_numpy(law.cov))
    centred = TASK.simulator(theta.expand(n, -1), generator(6)).x - torch.from_numpy(law.mean)
    white = torch.linalg.solve_triangular(factor, centred.T, upper=False)
    assert (white.mean(1) * math.sqrt(n)).abs().max() < 6
    z = (white @ white.T / n - torch.eye(10)) * math.sqrt(n)
    z.diagonal().div_(math.sqrt(2))
    assert z.abs().max() < 6


def test_information_of_the_path_and_of_the_data():
    """E S² and E M² are closed forms: |z| < 4.5 for four numbers fails in 1 of 35,000 seeds.

    Of log s the path knows 2 for each of its steps, whatever θ is; the data less than 2 for each of ten.
    """
    n = 50_000
    theta = torch.tensor([[0.3, 1.5, -0.2]], dtype=torch.float64)
    k, mu, s = math.exp(0.3), 1.5, math.exp(-0.2)
    mean, covariance = law_of_path(theta[0])
    before = mu**2 + ((mean - mu) ** 2 + covariance.diagonal())[:-1].sum()
    signal = np.eye(10) - 0.01 * np.linalg.inv(law_of_x(theta[0]).cov)
    expected = [k**2 * 0.05 / s**2 * before, k**2 * 10 / s**2, 2 * 200, 2 * (signal @ signal).trace()]
    assert expected[3] < 2 * 10
    outcome = TASK.simulator(theta.expand(n, -1), generator(9))
    marginal = TASK.marginal_score(theta.expand(n, -1), outcome.x)
    squares = torch.cat([outcome.joint_score, marginal[:, 2:]], 1).square()
    z = (squares.mean(0) - torch.tensor(expected)) / (squares.std(0) / math.sqrt(n))
    assert z.abs().max() < 4.5


def test_scores_have_mean_zero_and_average_to_the_marginal_score():
    """E[S | θ] = 0, E[M | θ] = 0 and E[(S − M) h(x)] = 0: |z| < 4.5 at 21 places, 1 of 7,000 seeds fails."""
    n = 20_000
    theta = torch.tensor([[0.2, 0.8, -0.4]], dtype=torch.float64).expand(n, -1)
    outcome = TASK.simulator(theta, generator(7))
    marginal = TASK.marginal_score(theta, outcome.x)
    for score in (outcome.joint_score, marginal):
        assert (score.mean(0) / (score.std(0) / math.sqrt(n))).abs().max() < 4.5
    simulations = TASK.simulate(n, seed=8, marginal_score=True)
    x, difference = simulations.x, simulations.joint_score - simulations.marginal_score
    for h in (
        torch.ones(n),
        torch.tanh(x.mean(1)),
        torch.tanh(x.diff(dim=1).std(1)),
        x[:, 0].cos(),
        x[:, -1].sin(),
    ):
        terms = difference * h.unsqueeze(1)
        assert (terms.mean(0) / (terms.std(0) / math.sqrt(n))).abs().max() < 4.5
