"""Lorenz-96 and the Lotka-Volterra diffusion: the models written out, and how their references are made."""

import math

import numpy as np
import pytest
import torch

from graybench.tasks import get_task
from graybench.tasks.errors import UserError
from graybench.tasks.sde.automatic import AutomaticSDE
from graybench.tasks.sde.double_well import DoubleWell
from graybench.tasks.sde.freeze_diffusions import log_likelihoods
from graybench.tasks.sde.lorenz96 import Lorenz96
from graybench.tasks.sde.lotka_volterra_diffusion import LotkaVolterraDiffusion
from graybench.tasks.sde.ornstein_uhlenbeck import MeanReversion, OrnsteinUhlenbeck
from graybench.tasks.sde.quadrature import log_transition
from graybench.tasks.sde.sde import TimeGrid
from graybench.tasks.seeding import generator
from graybench.tasks.structure import Series
from graybench.tests.numbers import double, normal
from graybench.tests.tasks.laws import largest_z_of_moments


def test_lorenz_96_is_its_equation_by_a_loop():
    task, x, theta = Lorenz96(dim=6), normal(6), double([7.5, -0.4])
    expected = [(x[(i + 1) % 6] - x[(i - 2) % 6]) * x[(i - 1) % 6] - x[i] + 7.5 for i in range(6)]
    here = task.sde(theta).at(x)
    torch.testing.assert_close(here.drift, torch.stack(expected))
    torch.testing.assert_close(here.times(x), math.exp(-0.8) * x)
    assert task.sde(theta).constant_covariance
    torch.testing.assert_close(here.second_order, double(6.0))  # −div f = D


def test_prey_and_predators_change_by_their_reactions():
    """Itô's formula takes drift and Σ of the numbers, S h and S diag(h) Sᵀ, to those of the logarithms."""
    task, numbers = LotkaVolterraDiffusion(), np.array([60.0, 110.0])
    c = np.array([0.45, 0.003, 0.35])
    hazards = np.array([c[0] * numbers[0], c[1] * numbers[0] * numbers[1], c[2] * numbers[1]])
    changes = np.array([[1, -1, 0], [0, 1, -1]])
    covariance = changes @ np.diag(hazards) @ changes.T
    here = task.sde(double(c).log()).at(double(numbers).log())
    of_logs = covariance / np.outer(numbers, numbers)
    torch.testing.assert_close(here.times(torch.eye(2).double()), double(of_logs))
    expected = changes @ hazards / numbers - np.diag(of_logs) / 2
    torch.testing.assert_close(here.drift, double(expected))
    assert of_logs[0, 1] == pytest.approx(-c[1])


def test_the_last_ones_have_a_bounded_noise():
    """Numbers of e^−3 count as 1."""
    sde = LotkaVolterraDiffusion().sde(double(LotkaVolterraDiffusion.prior.mean))
    low, one = sde.at(double([-3.0, 4.0])), sde.at(double([0.0, 4.0]))
    torch.testing.assert_close(low.drift, one.drift)
    torch.testing.assert_close(low.half_log_det, one.half_log_det)


@pytest.mark.parametrize("task", [Lorenz96(), LotkaVolterraDiffusion()], ids=lambda task: task.name)
def test_one_step_has_the_mean_and_covariance_of_the_scheme(task):
    """|z| < 4.5 for at most 65 numbers: a correct simulator fails in 1 of 2,000 seeds."""
    theta = task.prior.to_theta(0.5 * torch.ones(1, task.dim_theta, dtype=torch.float64))
    path = task.simulator(theta.expand(5_000, -1), generator(3)).latents
    here = task.sde(theta[0]).at(task.start)
    units = torch.eye(len(task.start), dtype=torch.float64)
    mean = task.start + here.drift * task.grid.dt
    assert largest_z_of_moments(path[:, 1], mean, here.times(units) * task.grid.dt) < 4.5


@pytest.mark.parametrize("task", [Lorenz96(), LotkaVolterraDiffusion()], ids=lambda task: task.name)
def test_other_options_have_no_reference(task):
    other = get_task(task.name, observed=3, steps=10)
    assert "reference" in task.capabilities
    assert other.capabilities == task.capabilities - {"reference"}
    assert other.structure == Series(3, channels=len(task.start))
    assert other.observations().x.shape == (10, 3 * len(task.start))
    assert other.data_digest() == ""
    with pytest.raises(
        UserError, match=r"observed=3, steps=10\) has references for the default options only"
    ):
        other.reference(other.observations().x[0])


def test_guided_bridges_have_the_exact_likelihood_of_a_linear_sde():
    """For an Ornstein-Uhlenbeck scheme the linear flow is the scheme, so that every weight is exact."""
    task = OrnsteinUhlenbeck(dim=3, steps=20)
    theta = task.prior.to_theta(normal(4, 3))
    sde = MeanReversion(
        theta[:, 0].exp().view(4, 1, 1), theta[:, 1].view(4, 1, 1), theta[:, 2].exp().view(4, 1, 1)
    )
    ends = normal(5, 3, seed=2)
    found = log_likelihoods(sde, 0 * ends, ends, task.grid, normal(19, 4, 5, 2, 3, seed=3))
    expected = torch.stack([task.log_likelihood(theta, end.unsqueeze(0)) for end in ends], 1)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_guided_bridges_estimate_the_likelihood_of_a_double_well_and_its_gradient():
    """The mean of 400 estimates p̂, and of p̂ ∇ log p̂; |z| < 4.5 for three numbers."""
    task = DoubleWell(observed=2, steps=10, duration=0.5)
    theta, x = double([[0.2, -0.3]]), double([[-0.7, -1.1]])
    exact = float(task.log_likelihood(theta, x))
    gradient = task.marginal_score(theta, x)[0]
    point = theta.expand(400, -1).clone().requires_grad_()
    starts = double([[-1.0], [-0.7]])
    noise = normal(9, 400, 2, 16, 1, seed=4)
    found = log_likelihoods(task.sde(point[:, None, None]), starts, x.T, task.grid, noise).sum(1)
    (slopes,) = torch.autograd.grad(found.sum(), point)
    ratio = (found.detach() - exact).exp()
    for value, expected in ((ratio, double(1.0)), (ratio.unsqueeze(1) * slopes, gradient)):
        z = (value.mean(0) - expected) / (value.std(0) / math.sqrt(400))
        assert z.abs().max() < 4.5
    assert 0.01 < float(found.detach().std()) < 0.5


def test_guided_bridges_estimate_the_likelihood_where_noise_depends_on_the_state():
    """dX = −X dt + s √(1 + X²) dW against quadrature; |z| < 4.5 for two numbers."""

    def sde(s):
        return AutomaticSDE(lambda x, _: -x, lambda x, theta: theta * (1 + x**2).sqrt(), s, 1)

    grid, starts, ends = TimeGrid(1.0, 10), double([[0.5, -1.0]]), double([[1.5, 0.2]])
    exact = log_transition(sde(double([[[0.8]]])), starts, ends, grid, double([[12.0]]), 600)[0]
    noise = normal(9, 400, 2, 16, 1, seed=5)
    found = log_likelihoods(sde(double([0.8]).expand(400, 1, 1, 1)), starts.T, ends.T, grid, noise)
    ratio = (found - exact).exp()
    z = (ratio.mean(0) - 1) / (ratio.std(0) / math.sqrt(400))
    assert z.abs().max() < 4.5
    assert (ratio.std(0) > 0.01).all()
