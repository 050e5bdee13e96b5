"""Hamiltonian Monte Carlo against laws with known quantiles."""

import math

import torch
from scipy import stats

from graybench.methods.hamiltonian import hamiltonian
from graybench.tasks.seeding import generator
from graybench.tests.tasks.laws import largest_z_of_moments


def normals(seed, *size):
    return torch.randn(size, generator=generator(seed), dtype=torch.float64)


def sampled(log_density, start, warmup, draws, seed):
    """The chains of one group."""
    return hamiltonian(lambda x, _: log_density(x), start[None], warmup=warmup, draws=draws, seeds=[seed])


def test_proposals_from_a_standard_normal_law_are_all_accepted_and_independent():
    """At any dimension. The limits are about five standard errors."""
    found = sampled(lambda x: -0.5 * x.square().sum(-1), normals(6, 4, 20), 50, 400, 7)
    assert found.acceptance > 1 - 1e-9
    x = found.draws[0]
    # Of 32,000 squares, each correlated by ½ with the one before.
    assert abs(float(x.square().mean()) - 1) < 5 * math.sqrt(3 * 2 / 32_000)
    # All chains and coordinates share the duration of a trajectory, and E cos² of it is ½.
    assert abs(float((x[:, 1:] * x[:, :-1]).mean())) < 5 * math.sqrt(0.5 / 400)


def test_draws_have_the_law_of_the_logarithm_of_a_gamma_variable():
    """Every fifth draw of 40 chains; Kolmogorov-Smirnov at 1e-4."""

    def log_density(x):
        return (2.0 * x - x.exp()).sum(-1)

    found = sampled(log_density, normals(0, 40, 1), 100, 250, 1)
    assert 0.8 < found.acceptance < 0.97
    thinned = found.draws[0, :, ::5].flatten().exp().numpy()
    assert stats.kstest(thinned, stats.gamma(2.0).cdf).pvalue > 1e-4


def test_draws_of_correlated_normals_have_their_covariance():
    """Every fifth draw of 20 chains: five z below 4.5, which fails correct code in 1 of 29,000 seeds."""
    covariance = torch.tensor([[1.0, 0.6], [0.6, 2.0]], dtype=torch.float64)
    precision = covariance.inverse()

    def log_density(x):
        return -0.5 * (x @ precision * x).sum(-1)

    x = sampled(log_density, normals(2, 20, 2), 100, 400, 3).draws[0, :, ::5].flatten(0, 1)
    assert largest_z_of_moments(x, torch.zeros(2, dtype=torch.float64), covariance) < 4.5


def test_draws_of_a_banana_are_normal_once_it_is_unbent():
    """x_2 given x_1 is N(x_1², ¼). Every tenth draw of 40 chains: five z below 4.5, 1 of 29,000 seeds."""

    def log_density(x):
        return -0.5 * (x[..., 0].square() + 4 * (x[..., 1] - x[..., 0].square()).square())

    x = sampled(log_density, normals(4, 40, 2), 200, 600, 5).draws[0, :, ::10].flatten(0, 1)
    unbent = torch.stack([x[:, 0], 2 * (x[:, 1] - x[:, 0].square())], 1)
    assert largest_z_of_moments(unbent, torch.zeros(2, dtype=torch.float64), torch.eye(2).double()) < 4.5


def test_a_state_without_density_is_never_taken():
    """A normal law cut at 1.5, beyond which the log-density is NaN; Kolmogorov-Smirnov at 1e-4."""

    def log_density(x):
        return torch.where(x < 1.5, -0.5 * x.square(), math.nan).sum(-1)

    found = sampled(log_density, normals(4, 20, 1).clamp_max(1), 50, 200, 5)
    assert bool((found.draws < 1.5).all())
    assert stats.kstest(found.draws[0, :, ::5].flatten().numpy(), stats.truncnorm(-99, 1.5).cdf).pvalue > 1e-4


def test_each_group_has_its_own_law_and_the_same_draws_in_any_company():
    """Logarithms of gamma variables of shapes 0.5, 2 and 30, whose step sizes differ; Kolmogorov-Smirnov at
    1e-4 for each. Not a bit of a group's draws may depend on the groups beside it."""
    shapes = torch.tensor([0.5, 2.0, 30.0], dtype=torch.float64)
    start = normals(8, 3, 40, 1) + shapes.log()[:, None, None]

    def drawn(groups):
        def log_density(x, rows):
            return (shapes[groups][rows, None, None] * x - x.exp()).sum(-1)

        seeds = [10 + g for g in groups]
        return hamiltonian(log_density, start[groups], warmup=100, draws=250, seeds=seeds)

    found = drawn([0, 1, 2])
    assert found.step.max() > 1.5 * found.step.min()
    assert bool(((found.acceptance > 0.8) & (found.acceptance < 0.97)).all())
    for group, shape in enumerate(shapes):
        thinned = found.draws[group, :, ::10].flatten().exp().numpy()
        assert stats.kstest(thinned, stats.gamma(float(shape)).cdf).pvalue > 1e-4
    assert torch.equal(drawn([2, 1]).draws, found.draws[[2, 1]])
    assert torch.equal(drawn([0]).draws, found.draws[:1])
