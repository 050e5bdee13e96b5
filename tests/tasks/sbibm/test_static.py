"""The models of sbibm without time, each against its own files, scipy, or a closed form."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import MultivariateNormal

from graybench.tasks.sbibm.base import shipped_file
from graybench.tasks.sbibm.slcp import Slcp, SlcpDistractors, mixture
from graybench.tasks.sbibm.static import BernoulliGlm, BernoulliGlmRaw, GaussianMixture, design_matrix
from graybench.tasks.seeding import generator

pytest.importorskip("sbibm")


def test_mixture_joint_scores_average_to_the_marginal_score():
    """E[(S − M) h(x)] = 0 for three h and both components of θ: a false alarm in 24,000 seeds."""
    task = GaussianMixture()
    simulations = task.simulate(50_000, seed=4, marginal_score=True)
    difference = simulations.joint_score - simulations.marginal_score
    offset = simulations.x - simulations.theta
    for h in (torch.ones_like(offset), torch.tanh(offset), torch.cos(3 * offset)):
        terms = difference * h
        z = terms.mean(0) / (terms.std(0) / math.sqrt(len(terms)))
        assert z.abs().max() < 4.5


def test_mixture_distances_have_the_law_of_the_mixture():
    """‖x − θ‖² is s² χ²₂ with s = 1 or 0.1: Kolmogorov-Smirnov fails 1 of 10,000 seeds."""
    simulations = GaussianMixture().simulate(20_000, seed=2)
    squared = (simulations.x - simulations.theta).square().sum(1).numpy()

    def law(v):
        return 0.5 * stats.chi2.cdf(v, 2) + 0.5 * stats.chi2.cdf(v / 0.01, 2)

    assert stats.kstest(squared, law).pvalue > 1e-4


def test_slcp_likelihood_is_four_bivariate_normals():
    """At prior draws, in float64, also where the covariance is nearly singular."""
    task = Slcp()
    simulations = task.simulate(500, seed=1)
    expected = []
    for theta, x in zip(simulations.theta, simulations.x, strict=True):
        first, second, rho = theta[2] ** 2, theta[3] ** 2, torch.tanh(theta[4])
        across = rho * first * second
        entries = [[first**2 + 1e-6, across], [across, second**2 + 1e-6]]
        law = MultivariateNormal(theta[:2], torch.tensor(entries, dtype=torch.float64))
        expected.append(law.log_prob(x.reshape(4, 2)).sum())
    got = task.log_likelihood(simulations.theta, simulations.x)
    torch.testing.assert_close(got, torch.stack(expected), rtol=1e-9, atol=1e-9)


def test_slcp_points_are_independent_normals_after_whitening():
    """The eight whitened numbers of a row, by Kolmogorov-Smirnov and correlation: an alarm in 2,000 seeds."""
    simulations = Slcp().simulate(5_000, seed=2)
    theta = simulations.theta
    first, second, rho = theta[:, 2:3] ** 2, theta[:, 3:4] ** 2, theta[:, 4:5].tanh()
    variances = first**2 + 1e-6, second**2 + 1e-6
    x, y = simulations.x[:, 0::2] - theta[:, :1], simulations.x[:, 1::2] - theta[:, 1:2]
    slope = rho * first * second / variances[0]
    residual = (variances[1] - slope * rho * first * second).sqrt()
    white = torch.cat([x / variances[0].sqrt(), (y - slope * x) / residual], 1)
    assert stats.kstest(white.flatten().numpy(), stats.norm.cdf).pvalue > 1e-4
    correlations = (white.T @ white / len(white))[np.tril_indices(8, -1)]
    assert (correlations.abs() * math.sqrt(len(white))).max() < 4.5  # 28 z


def test_distractors_law_is_in_sbibms_files():
    law = mixture()
    shipped = torch.load(shipped_file("slcp", "files", "permutation_idx.torch"), weights_only=True)
    assert torch.equal(law.order, shipped)
    content = shipped_file("slcp", "files", "gmm.torch").read_bytes()  # unpickling it would run its code
    for array in (law.locations.numpy(), law.scales.numpy()):
        start = content.index(array.tobytes()[:8])
        theirs = np.frombuffer(content[start : start + array.nbytes]).reshape(array.shape)
        # another C library rounds one logarithm or exponential in a thousand differently
        np.testing.assert_allclose(array, theirs, rtol=1e-13)


def test_distractors_hide_the_observations_of_slcp():
    plain, hidden = Slcp(), SlcpDistractors()
    x, among = plain.observations().x, hidden.observations().x
    assert torch.equal(among[:, mixture().order.argsort()[:8]], x)
    theta = plain.simulate(10, seed=1).theta
    torch.testing.assert_close(hidden.log_likelihood(theta, among), plain.log_likelihood(theta, x))


def test_distractors_have_the_law_of_the_mixture():
    """Projections are mixtures of scaled t₂: four Kolmogorov-Smirnov tests, an alarm in 2,500 seeds."""
    law, x = mixture(), SlcpDistractors().simulate(20_000, seed=3).x
    distractors = x[:, law.order.argsort()[8:]]
    directions = torch.eye(92, dtype=torch.float64)[[0, 50, 91]]
    random = torch.randn(1, 92, generator=generator(1), dtype=torch.float64)
    for direction in torch.cat([directions, random]):
        centres = law.locations @ direction
        widths = (law.scales.mT @ direction).norm(dim=1)

        def law_of_projection(v, centres=centres, widths=widths):
            parts = zip(centres.tolist(), widths.tolist(), strict=True)
            return np.mean([stats.t.cdf((v - centre) / width, 2) for centre, width in parts], 0)

        assert stats.kstest((distractors @ direction).numpy(), law_of_projection).pvalue > 1e-4


def test_design_matrix_is_the_shipped_one_and_maps_raw_observations():
    shipped = torch.load(shipped_file("bernoulli_glm", "files", "design_matrix.pt"), weights_only=True)
    assert torch.equal(design_matrix(), shipped.double())
    raw, statistic = BernoulliGlmRaw().observations(), BernoulliGlm().observations()
    assert torch.equal(raw.theta, statistic.theta)
    # sbibm sums in float32
    torch.testing.assert_close(raw.x @ design_matrix(), statistic.x, rtol=1e-5, atol=1e-5)


def test_bernoulli_likelihood_and_both_scores():
    raw, statistic = BernoulliGlmRaw(), BernoulliGlm()
    simulations = raw.simulate(200, seed=1, marginal_score=True)
    probability = torch.sigmoid(simulations.theta @ design_matrix().T).numpy()
    expected = stats.bernoulli.logpmf(simulations.x.numpy(), probability).sum(1)
    got = raw.log_likelihood(simulations.theta, simulations.x)
    torch.testing.assert_close(got, torch.from_numpy(expected), rtol=1e-8, atol=1e-8)
    # the score is Vᵀ (y − p), from the outcomes or from the statistic
    score = (simulations.x.numpy() - probability) @ design_matrix().numpy()
    x = simulations.x @ design_matrix()
    for got in (
        raw.marginal_score(simulations.theta, simulations.x),
        statistic.marginal_score(simulations.theta, x),
    ):
        torch.testing.assert_close(got, torch.from_numpy(score), rtol=1e-9, atol=1e-9)


def test_bernoulli_statistic_has_the_moments_of_its_law():
    """Mean Vᵀ p and covariance Vᵀ diag(p (1 − p)) V: 20 z, a false alarm in 7,000 seeds."""
    task, n = BernoulliGlm(), 20_000
    theta = task.observations().theta[2:3]
    probability = torch.sigmoid(theta @ design_matrix().T)[0]
    x = task.simulator(theta.expand(n, -1), generator(5)).x - probability @ design_matrix()
    variance = (probability * (1 - probability)) @ design_matrix() ** 2
    for terms, mean in ((x, torch.zeros(10)), (x**2, variance)):
        z = (terms.mean(0) - mean) / (terms.std(0) / math.sqrt(n))
        assert z.abs().max() < 4.5
