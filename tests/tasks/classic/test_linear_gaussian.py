"""The linear Gaussian task against torch.distributions, autograd, and the law of its own simulations."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from graybench.tasks import get_task
from graybench.tasks.classic.linear_gaussian import NOISE, LinearGaussian, _model
from graybench.tasks.errors import UserError
from graybench.tasks.seeding import generator

TASKS = [
    LinearGaussian(),
    LinearGaussian(dim=1),
    LinearGaussian(dim=3, spread=30.0),
    LinearGaussian(dim=3, spread=30.0, rotated=True),
]


@pytest.fixture(params=TASKS, ids=lambda task: task.label)
def task(request):
    return request.param


def likelihood(task, theta):
    """log p(x | θ) by the joint law of (z, x), written out without the task's own algebra."""
    model, eye = _model(task), torch.eye(task.dim, dtype=torch.float64)
    of_z = NOISE**2 * eye
    return MultivariateNormal(
        theta @ model.into_z.T @ model.into_x.T, model.into_x @ of_z @ model.into_x.T + NOISE**2 * eye
    )


def test_marginal_score_is_the_gradient_of_the_likelihood(task):
    simulations = task.simulate(20, seed=1)
    theta = simulations.theta.clone().requires_grad_(True)
    (expected,) = torch.autograd.grad(likelihood(task, theta).log_prob(simulations.x).sum(), theta)
    torch.testing.assert_close(task.marginal_score(simulations.theta, simulations.x), expected)


def test_reference_is_likelihood_times_prior(task):
    x_o = task.observations().x[0]
    u = torch.randn(50, task.dim, generator=generator(2), dtype=torch.float64)
    unnormalised = likelihood(task, u).log_prob(x_o) - u.square().sum(1) / 2
    difference = task.reference(x_o).log_prob(u) - unnormalised
    torch.testing.assert_close(difference, difference[:1].expand(50), rtol=0, atol=1e-7)


def test_simulations_have_the_mean_and_covariance_of_the_model(task):
    """|z| < 4.5 at up to 12 places for each of four tasks: a correct simulator fails in 1 of 4,000 seeds."""
    n = 50_000
    theta = torch.linspace(-1, 1, task.dim, dtype=torch.float64).expand(n, -1)
    x = task.simulator(theta, generator(3)).x
    law = likelihood(task, theta[:1])
    centred = x - law.mean
    z = centred.mean(0) / (x.std(0) / math.sqrt(n))
    assert z.abs().max() < 4.5
    products = centred.unsqueeze(2) * centred.unsqueeze(1)
    z = (products.mean(0) - law.covariance_matrix[0]) / (products.std(0) / math.sqrt(n))
    assert z.abs().max() < 4.5


def test_joint_scores_average_to_the_marginal_score(task):
    """E[(S − M) h(x)] = 0 for three h and each component: |z| < 4.5 fails in 1 of 5,000 seeds."""
    simulations = task.simulate(50_000, seed=4, marginal_score=True)
    difference = simulations.joint_score - simulations.marginal_score
    assert difference.std() > 0.1  # the latents do cost something
    for h in (torch.ones_like(simulations.x), torch.tanh(simulations.x), torch.cos(2 * simulations.x)):
        terms = difference * h
        z = terms.mean(0) / (terms.std(0) / math.sqrt(len(terms)))
        assert z.abs().max() < 4.5


def test_spread_and_rotation_are_what_they_say():
    scaled, turned = (_model(LinearGaussian(dim=10, spread=100.0, rotated=r)) for r in (False, True))
    for model in (scaled, turned):
        values = torch.linalg.svdvals(model.into_z)
        expected = 10 ** torch.linspace(1, -1, 10, dtype=torch.float64)
        torch.testing.assert_close(values, expected)
    assert (scaled.into_z - torch.diag(scaled.into_z.diagonal())).abs().max() == 0
    # the posterior's scales are spread out in both, but only on the axes of one
    assert torch.linalg.cond(turned.covariance) > 50
    assert turned.covariance.diagonal().max() / turned.covariance.diagonal().min() < 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim must be a whole number"),
        ({"spread": 0.5}, "spread must be at least 1"),
        ({"rotated": "yes"}, "rotated must be true or false"),
    ],
)
def test_mistakes_are_answered(options, message):
    with pytest.raises(UserError, match=message):
        get_task("linear_gaussian", **options)
