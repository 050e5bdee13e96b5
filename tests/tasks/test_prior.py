"""Priors: the bijection against torch.distributions, its derivative against autograd."""

import math

import pytest
import torch
from scipy import stats

from graybench.tasks.errors import UserError
from graybench.tasks.prior import CorrelatedNormal, LogNormal, Normal, Uniform

PRIORS = {
    "normal": Normal([1.0, -2.0], [0.5, 3.0]),
    "log_normal": LogNormal(0.3, 0.8),
    "uniform": Uniform([-1.0, 2.0], [1.0, 2.5]),
    "correlated": CorrelatedNormal((1.0, 2.0), ((2.0, 0.0), (-0.7, 0.4))),
}


@pytest.fixture(params=PRIORS, ids=list(PRIORS))
def prior(request):
    return PRIORS[request.param]


def draws(n):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def standard_normal(u):
    return torch.distributions.Normal(0.0, 1.0).log_prob(u).sum(-1)


def test_round_trip(prior):
    u = draws(1000)
    torch.testing.assert_close(prior.to_u(prior.to_theta(u)), u, rtol=1e-9, atol=1e-9)


def test_pull_back_is_the_transposed_jacobian(prior):
    u, score = draws(5), draws(5).flip(0)
    jacobians = torch.stack([torch.autograd.functional.jacobian(prior.to_theta, row) for row in u])
    expected = torch.einsum("nij,ni->nj", jacobians, score)
    torch.testing.assert_close(prior.pull_back(u, score), expected)


def test_score_in_u_is_the_gradient_of_the_joint_log_density(prior):
    u = draws(5).requires_grad_(True)
    theta = prior.to_theta(u)
    log_joint = -0.5 * u.square().sum() + torch.sin(theta).sum()  # sin stands in for log p(x | θ)
    (expected,) = torch.autograd.grad(log_joint, u)
    torch.testing.assert_close(prior.score_in_u(u.detach(), torch.cos(theta.detach())), expected)


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("normal", stats.norm(1.0, 0.5)),
        ("log_normal", stats.lognorm(s=0.8, scale=float(torch.tensor(0.3).exp()))),
        ("uniform", stats.uniform(-1.0, 2.0)),
        ("correlated", stats.norm(1.0, 2.0)),
    ],
)
def test_law_of_the_first_parameter(name, law):
    quantiles = torch.linspace(0.001, 0.999, 50, dtype=torch.float64)
    u = torch.special.ndtri(quantiles).unsqueeze(1) * torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    theta = PRIORS[name].to_theta(u)[:, 0]
    torch.testing.assert_close(torch.from_numpy(law.cdf(theta)), quantiles, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("normal", torch.distributions.Normal(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0]))),
        ("log_normal", torch.distributions.LogNormal(torch.tensor([0.3, 0.3]), 0.8)),
        ("uniform", torch.distributions.Uniform(torch.tensor([-1.0, 2.0]), torch.tensor([1.0, 2.5]))),
        (
            "correlated",
            torch.distributions.MultivariateNormal(
                torch.tensor([1.0, 2.0]), scale_tril=torch.tensor([[2.0, 0.0], [-0.7, 0.4]])
            ),
        ),
    ],
)
def test_a_standard_normal_pushed_forward_is_the_prior(name, law):
    theta = PRIORS[name].to_theta(draws(50))
    log_prob = PRIORS[name].push_forward(standard_normal, theta)
    expected = law.log_prob(theta)
    expected = expected if name == "correlated" else expected.sum(1)
    torch.testing.assert_close(log_prob, expected, rtol=1e-5, atol=1e-5, check_dtype=False)


@pytest.mark.parametrize(("name", "theta"), [("log_normal", [-0.1, 1.0]), ("uniform", [0.0, 2.6])])
def test_nothing_is_pushed_forward_out_of_the_support(name, theta):
    assert float(PRIORS[name].push_forward(standard_normal, torch.tensor(theta))) == -math.inf


def test_correlated_normal_has_the_covariance_of_its_factor():
    prior = PRIORS["correlated"]
    factor = torch.autograd.functional.jacobian(prior.to_theta, torch.zeros(2, dtype=torch.float64))
    expected = torch.tensor([[4.0, -1.4], [-1.4, 0.49 + 0.16]], dtype=torch.float64)
    torch.testing.assert_close(factor @ factor.T, expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Normal(0.0, 0.0),
        lambda: Uniform(1.0, 1.0),
        lambda: LogNormal(0.0, [1.0, -1.0]),
        lambda: CorrelatedNormal((0.0, 0.0), ((1.0, 0.0), (0.3, 0.0))),
    ],
)
def test_degenerate_priors_are_rejected(make):
    with pytest.raises(UserError, match="must be above 0"):
        make()


@pytest.mark.parametrize("factor", [((1.0, 0.5), (0.0, 1.0)), ((1.0,),)])
def test_a_factor_that_is_not_lower_triangular_is_rejected(factor):
    with pytest.raises(UserError, match=r"lower-triangular, of shape \(2, 2\)"):
        CorrelatedNormal((0.0, 0.0), factor)


def test_whole_numbers_are_taken_in_float64(prior):
    """Values stay exact; μ and σ were once cut to whole numbers."""
    whole, score = torch.tensor([[1, 2]]), draws(1)
    assert torch.equal(prior.to_theta(whole), prior.to_theta(whole.double()))
    assert torch.equal(prior.pull_back(whole, score), prior.pull_back(whole.double(), score))
    theta = torch.tensor([[0, 2]]) if isinstance(prior, Uniform) else whole
    assert torch.equal(prior.to_u(theta), prior.to_u(theta.double()))
