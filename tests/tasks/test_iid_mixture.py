"""The mixture of tall data against scipy, autograd, quadrature and the law of its own simulations."""

import math

import numpy as np
import torch
from scipy import special, stats

from tasks.iid_mixture import IidMixture
from tasks.seeding import generator

TASK = IidMixture()


def test_likelihood_and_joint_density_are_those_of_scipy():
    theta = TASK.simulate(50, seed=1).theta
    x, _, _, _, z = TASK.simulator(theta, generator(1))
    logit, m, delta = theta.unsqueeze(2).numpy().transpose(1, 0, 2)
    w, gap = special.expit(logit), np.exp(delta)
    mixed = (1 - w) * stats.norm.pdf(x, m) + w * stats.norm.pdf(x, m + gap)
    expected = torch.from_numpy(np.log(mixed).sum(1))
    torch.testing.assert_close(TASK.log_likelihood(theta, x), expected)
    joint = stats.bernoulli.logpmf(z.numpy(), w) + stats.norm.logpdf(x, m + gap * z.numpy())
    torch.testing.assert_close(TASK.log_joint(theta, x, z), torch.from_numpy(joint.sum(1)))


def test_draws_are_independent_and_have_the_law_of_the_mixture():
    """Kolmogorov-Smirnov over all draws fails 1 of 10,000 seeds, |z| < 4.5 for neighbours 1 of 150,000."""
    theta = torch.tensor([[0.4, -1.0, 0.9]], dtype=torch.float64).expand(1000, -1)
    x = TASK.simulator(theta, generator(4)).x
    w, gap = special.expit(0.4), math.exp(0.9)

    def law(v):
        return (1 - w) * stats.norm.cdf(v, -1) + w * stats.norm.cdf(v, -1 + gap)

    assert stats.kstest(x.flatten().numpy(), law).pvalue > 1e-4
    centred = x + 1 - w * gap
    products = centred[:, 1:] * centred[:, :-1]  # uncorrelated with each other, though they share draws
    assert abs(products.mean() / (products.std() / math.sqrt(products.numel()))) < 4.5


def test_scores_have_mean_zero_and_average_to_the_marginal_score():
    """E[S | θ] = 0, E[M | θ] = 0 and E[(S − M) h(x)] = 0: |z| < 4.5 at 21 places, 1 of 7,000 seeds fails."""
    n = 20_000
    theta = torch.tensor([[-0.5, 0.3, 0.8]], dtype=torch.float64).expand(n, -1)
    outcome = TASK.simulator(theta, generator(7))
    marginal = TASK.marginal_score(theta, outcome.x)
    for score in (outcome.joint_score, marginal):
        assert (score.mean(0) / (score.std(0) / math.sqrt(n))).abs().max() < 4.5
    simulations = TASK.simulate(n, seed=8, marginal_score=True)
    x, difference = simulations.x, simulations.joint_score - simulations.marginal_score
    for h in (
        torch.ones(n),
        torch.tanh(x.mean(1)),
        torch.tanh(x.std(1) - 1.5),
        torch.cos(x[:, 0]),
        x[:, :9].amax(1).sin(),
    ):
        terms = difference * h.unsqueeze(1)
        assert (terms.mean(0) / (terms.std(0) / math.sqrt(n))).abs().max() < 4.5
