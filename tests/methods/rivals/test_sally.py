"""SALLY on a linear Gaussian, where the exact statistics and the posterior are closed forms."""

import random

import numpy as np
import pytest
import torch

from graybench.methods import get_method
from graybench.methods.rivals.sally import Statistics
from graybench.tasks import get_task
from graybench.tasks.classic.linear_gaussian import LinearGaussian
from graybench.tasks.errors import UserError
from graybench.tests.methods.exact import assert_nearer_than_the_prior

TASK = LinearGaussian(2)
QUICK = {"steps": 800}


def test_the_statistics_are_the_exact_score_at_the_centre():
    """t(x, 0) is linear in x; allowed is an error of 10 % of its root mean square, and 0.1 in the
    slopes of T on it, which are the identity.
    """
    statistics = get_method("sally", **QUICK).fit_statistics(TASK.simulate(2000, 1), 2)
    x = TASK.simulate(1000, 3).x
    exact = TASK.marginal_score(torch.zeros_like(x), x)
    found = statistics.raw(x).double()
    error = (found - exact).square().mean(0).sqrt() / exact.square().mean(0).sqrt()
    assert error.max() < 0.1, error
    inputs = torch.cat([exact, torch.ones(len(x), 1, dtype=exact.dtype)], 1)
    slopes = torch.linalg.lstsq(inputs, found).solution
    torch.testing.assert_close(slopes[:2], torch.eye(2, dtype=exact.dtype), rtol=0.0, atol=0.1)


@pytest.mark.parametrize(("name", "allowed"), [("galton", 0.3), ("immigration_death", 0.15)])
def test_the_network_learns_a_score_that_is_not_linear(name, allowed):
    """Mean square errors of T relative to t(x, 0) = (∂θ/∂u)ᵀ ∇_θ log p(x | θ) at u = 0: the ridge regression
    alone, which an untrained network leaves, has 1.0 on the Galton board and 0.47 and 0.60 on the other.
    """
    task = get_task(name)
    statistics = get_method("sally", **QUICK).fit_statistics(task.simulate(2000, 1), 2)
    x = task.simulate(2000, 3).x
    u = torch.zeros(len(x), task.dim_theta, dtype=torch.float64, requires_grad=True)
    theta = task.prior.to_theta(u)
    (exact,) = torch.autograd.grad(theta, u, task.marginal_score(theta.detach(), x))
    error = (statistics.raw(x).double() - exact).square().mean(0) / exact.square().mean(0)
    assert error.max() < allowed, error


def test_statistics_are_squashed_by_median_and_five_deviations():
    """By hand: medians 2 and 0 of the columns, deviations 1 and, where most are alike, 1 in place of 0."""
    x = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [1e6, 5.0], [-9.0, 0.0]])
    statistics = Statistics(lambda u, x: x, x, 2)
    expected = torch.asinh((x - torch.tensor([2.0, 0.0])) / 5)
    torch.testing.assert_close(statistics(x), expected)


def test_fit_recovers_the_posterior_and_leaves_the_global_generators_alone():
    """A linear Gaussian is exponential in u: T is sufficient. The posterior is nearer to the exact one
    than to the prior; sbi's flow makes it too wide after few simulations."""
    simulations = TASK.simulate(1000, 4).only(frozenset({"joint_score"}))
    kept = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    posterior = get_method("sally", **QUICK).fit(simulations, 5)
    x_o = TASK.observations().x[:3]
    samples = posterior.sample(500, x_o, 6)
    assert samples.shape == (3, 500, 2)
    for o, x in enumerate(x_o):
        exact = TASK.reference(x).sample(50_000, 7)
        assert_nearer_than_the_prior(samples[o].double(), exact)
    assert torch.equal(samples, posterior.sample(500, x_o, 6))
    assert not torch.equal(samples, posterior.sample(500, x_o, 7))
    # it is a density: its mean ratio to the exact posterior, over samples of that, is 1 up to the tails
    reference = TASK.reference(x_o[0])
    u = reference.sample(4000, 8)
    ratio = (posterior.log_prob(u.unsqueeze(0), x_o[:1])[0].double() - reference.log_prob(u)).exp()
    assert abs(float(ratio.mean()) - 1) < 0.2
    assert torch.equal(kept[0], torch.get_rng_state())
    assert kept[1:] == (np.random.get_state()[1].tolist(), random.getstate())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": float("inf")}, "rate must be a finite number above 0, but is inf"),
        ({"depth": 0}, "depth must"),
    ],
)
def test_mistakes_are_answered_with_what_to_do(options, message):
    with pytest.raises(UserError, match=message):
        get_method("sally", **options)
