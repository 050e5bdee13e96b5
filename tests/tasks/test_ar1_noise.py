"""The noisy autoregression against its full covariance, autograd, quadrature and its own simulations."""

import math

import numpy as np
import torch
from scipy import stats

from tasks.ar1_noise import Ar1Noise
from tasks.importance import DRAWS
from tasks.seeding import generator

TASK = Ar1Noise()


def law_of_x(theta):
    """p(x | θ) with its full covariance: z = (I − a B)⁻¹ q ε, with B the shift by one step."""
    a, q, r = math.tanh(theta[0]), math.exp(theta[1]), math.exp(theta[2])
    path = np.linalg.inv(np.eye(100) - a * np.eye(100, k=-1))
    return stats.multivariate_normal(np.zeros(100), q**2 * path @ path.T + r**2 * np.eye(100))


def test_likelihood_is_the_multivariate_normal_of_the_data():
    simulations = TASK.simulate(20, seed=1)
    got = TASK.log_likelihood(simulations.theta, simulations.x)
    expected = [law_of_x(row).logpdf(x) for row, x in zip(simulations.theta, simulations.x, strict=True)]
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


def test_joint_density_is_that_of_scipy():
    theta = TASK.simulate(50, seed=1).theta
    x, _, _, _, z = TASK.simulator(theta, generator(1))
    a, q, r = theta[:, :1].tanh(), theta[:, 1:2].exp(), theta[:, 2:].exp()
    before = torch.cat([torch.zeros(50, 1), z[:, :-1]], 1)
    joint = stats.norm.logpdf(z, a * before, q).sum(1) + stats.norm.logpdf(x, z, r).sum(1)
    constant = 100 * math.log(2 * math.pi)
    torch.testing.assert_close(TASK.log_joint(theta, x, z), torch.from_numpy(joint) + constant)


def test_joint_score_is_the_gradient_of_the_joint_density():
    theta = TASK.prior.to_theta(torch.randn(200, 3, generator=generator(2), dtype=torch.float64))
    outcome = TASK.simulator(theta, generator(3))
    point = theta.clone().requires_grad_()
    (expected,) = torch.autograd.grad(TASK.log_joint(point, outcome.x, outcome.latents).sum(), point)
    torch.testing.assert_close(outcome.joint_score, expected, rtol=1e-9, atol=1e-9)


def test_simulations_have_the_mean_and_covariance_of_the_model():
    """Those of N(0, I) in whitened coordinates: |z| < 6 at 5,150 places fails in 1 of 80,000 seeds."""
    n = 20_000
    theta = torch.tensor([[1.2, 0.3, -0.5]], dtype=torch.float64)
    law = law_of_x(theta[0])
    factor = torch.linalg.cholesky(torch.from_numpy(law.cov))
    centred = TASK.simulator(theta.expand(n, -1), generator(6)).x - torch.from_numpy(law.mean)
    white = torch.linalg.solve_triangular(factor, centred.T, upper=False)
    assert (white.mean(1) * math.sqrt(n)).abs().max() < 6
    z = (white @ white.T / n - torch.eye(100)) * math.sqrt(n)
    z.diagonal().div_(math.sqrt(2))
    assert z.abs().max() < 6


def test_scores_have_mean_zero_and_average_to_the_marginal_score():
    """E[S | θ] = 0, E[M | θ] = 0 and E[(S − M) h(x)] = 0: |z| < 4.5 at 21 places, 1 of 7,000 seeds fails."""
    n = 20_000
    theta = torch.tensor([[1.0, 0.2, -0.4]], dtype=torch.float64).expand(n, -1)
    outcome = TASK.simulator(theta, generator(7))
    marginal = TASK.marginal_score(theta, outcome.x)
    for score in (outcome.joint_score, marginal):
        assert (score.mean(0) / (score.std(0) / math.sqrt(n))).abs().max() < 4.5
    simulations = TASK.simulate(n, seed=8, marginal_score=True)
    x, difference = simulations.x, simulations.joint_score - simulations.marginal_score
    for h in (
        torch.ones(n),
        torch.tanh(x.std(1) - 1.5),
        torch.tanh(x.diff(dim=1).std(1) - 1),
        x[:, -1].cos(),
        x.mean(1).cos(),
    ):
        terms = difference * h.unsqueeze(1)
        assert (terms.mean(0) / (terms.std(0) / math.sqrt(n))).abs().max() < 4.5


def test_everything_is_finite_at_the_corners_of_the_prior():
    corners = 5 * torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3)
    theta = TASK.prior.to_theta(corners.repeat(20, 1))
    simulations = TASK.simulate_at(theta, seed=5)
    simulations.check_finite()
    assert TASK.marginal_score(theta, simulations.x).isfinite().all()


def test_importance_sampling_works_for_every_observation():
    fractions = [TASK.reference(x).ess_fraction for x in TASK.observations().x]
    assert min(fractions) > 0.15


def test_reference_has_the_evidence_and_the_moments_of_quadrature():
    """|z| < 4.5 for 7 numbers: correct code fails in 1 of 20,000 seeds.

    The trapezoid rule runs over 41 points a side of a grid that is turned and scaled like the draws.
    """
    x_o = TASK.observations().x[1]
    reference = TASK.reference(x_o)
    centre, factor = reference.draws.mean(0), torch.linalg.cholesky(reference.draws.T.cov())
    axis = torch.linspace(-8, 8, 41, dtype=torch.float64)
    u = centre + torch.cartesian_prod(*[axis] * 3) @ factor.T
    prior = -0.5 * u.square().sum(1) - 1.5 * math.log(2 * math.pi)
    parts = TASK.prior.to_theta(u).split(5000)
    log_density = prior + torch.cat([TASK.log_likelihood(part, x_o.unsqueeze(0)) for part in parts])
    cell = 3 * (axis[1] - axis[0]).log() + factor.diagonal().log().sum()
    log_evidence = torch.logsumexp(log_density, 0) + cell
    stderr = math.sqrt((1 / reference.ess_fraction - 1) / DRAWS)
    assert abs(reference.log_evidence - float(log_evidence)) < 4.5 * stderr
    weights = torch.softmax(log_density, 0)
    size = reference.effective_size
    mean = weights @ u
    for power in (1, 2):
        values, moment = (reference.draws - mean) ** power, weights @ (u - mean) ** power
        z = (values.mean(0) - moment) / (values.std(0) / math.sqrt(size))
        assert z.abs().max() < 4.5
