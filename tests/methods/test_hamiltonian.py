"""Hamiltonian Monte Carlo against laws with known quantiles."""

import math

import torch
from scipy import stats

from graybench.methods.hamiltonian import hamiltonian
from graybench.tasks.seeding import generator


def normals(seed, *size):
    return torch.randn(size, generator=generator(seed), dtype=torch.float64)


def test_proposals_from_a_standard_normal_law_are_all_accepted_and_independent():
    """At any dimension. The limits are about five standard errors."""
    found = hamiltonian(lambda x: -0.5 * x.square().sum(-1), normals(6, 4, 20), warmup=50, draws=400, seed=7)
    assert found.acceptance > 1 - 1e-9
    x = found.draws
    # Of 32,000 squares, each correlated by ½ with the one before.
    assert abs(float(x.square().mean()) - 1) < 5 * math.sqrt(3 * 2 / 32_000)
    # All chains and coordinates share the duration of a trajectory, and E cos² of it is ½.
    assert abs(float((x[:, 1:] * x[:, :-1]).mean())) < 5 * math.sqrt(0.5 / 400)


def test_draws_have_the_law_of_the_logarithm_of_a_gamma_variable():
    """Every fifth draw of 40 chains; Kolmogorov-Smirnov at 1e-4."""

    def log_density(x):
        return (2.0 * x - x.exp()).sum(-1)

    found = hamiltonian(log_density, normals(0, 40, 1), warmup=100, draws=250, seed=1)
    assert 0.8 < found.acceptance < 0.97
    thinned = found.draws[:, ::5].flatten().exp().numpy()
    assert stats.kstest(thinned, stats.gamma(2.0).cdf).pvalue > 1e-4


def test_draws_of_correlated_normals_have_their_covariance():
    """The second moments of 8,000 draws; the limit is about six standard errors."""
    covariance = torch.tensor([[1.0, 0.6], [0.6, 2.0]], dtype=torch.float64)
    precision = covariance.inverse()

    def log_density(x):
        return -0.5 * (x @ precision * x).sum(-1)

    draws = hamiltonian(log_density, normals(2, 20, 2), warmup=100, draws=400, seed=3).draws
    x = draws.flatten(0, 1)
    torch.testing.assert_close(x.mT @ x / len(x), covariance, atol=0.2, rtol=0)


def test_a_state_without_density_is_never_taken():
    """A normal law cut at 1.5, beyond which the log-density is NaN; Kolmogorov-Smirnov at 1e-4."""

    def log_density(x):
        return torch.where(x < 1.5, -0.5 * x.square(), math.nan).sum(-1)

    found = hamiltonian(log_density, normals(4, 20, 1).clamp_max(1), warmup=50, draws=200, seed=5)
    assert bool((found.draws < 1.5).all())
    assert stats.kstest(found.draws[:, ::5].flatten().numpy(), stats.truncnorm(-99, 1.5).cdf).pvalue > 1e-4
