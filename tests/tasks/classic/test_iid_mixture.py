"""The mixture of tall data against scipy, autograd, quadrature and the law of its own simulations."""

import math

import numpy as np
import torch
from scipy import special, stats

from graybench.tasks.classic.iid_mixture import IidMixture
from graybench.tasks.seeding import generator

TASK = IidMixture()


def test_likelihood_and_joint_density_are_those_of_scipy():
    theta = TASK.simulate(50, seed=1).theta
    x, _, _, z = TASK.simulator(theta, generator(1))
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
