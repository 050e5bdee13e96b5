"""The double well and its likelihood by quadrature, against closed forms, other grids and simulation."""

import math

import numpy as np
import pytest
import torch
from scipy import linalg

from graybench.tasks import get_task
from graybench.tasks.errors import UserError
from graybench.tasks.sde import double_well
from graybench.tasks.sde.double_well import DoubleWell
from graybench.tasks.sde.ornstein_uhlenbeck import OrnsteinUhlenbeck
from graybench.tasks.sde.quadrature import log_transition
from graybench.tasks.sde.sde import TimeGrid
from graybench.tasks.seeding import generator
from graybench.tasks.structure import Series, Vector
from graybench.tests.numbers import double


def test_quadrature_is_the_closed_form_of_an_ornstein_uhlenbeck_scheme():
    """From 0, and from other starts, to several ends at once: more ends take the powers of the step."""
    task = OrnsteinUhlenbeck(dim=1, steps=20)
    theta = double([[0.0, 0.3, -0.5], [0.5, -0.2, 0.1]])
    reach = double([[3.5], [5.0]])
    for m in (3, 60):
        ends = torch.linspace(-1.0, 1.0, m).double().expand(2, -1)
        found = log_transition(task.sde(theta.unsqueeze(1)), 0 * ends, ends, task.grid, reach, 160)
        each = [task.log_likelihood(theta, end.expand(2, 1)) for end in ends[0]]
        torch.testing.assert_close(found, torch.stack(each, 1), rtol=1e-9, atol=1e-9)
    # A start at the mean plus s is the same law as a start at 0 with the mean −s, moved by s.
    moved = theta - double([0.0, 1.0, 0.0])
    found = log_transition(
        task.sde(theta.unsqueeze(1)), double([[1.0], [1.0]]), double([[1.4], [1.4]]), task.grid, reach, 160
    )
    expected = task.log_likelihood(moved, double([[0.4]]))
    torch.testing.assert_close(found[:, 0], expected, rtol=1e-9, atol=1e-9)


def log_density_of_chain(duration, end, spacing):
    """log p(X_T = end | X_0 = −1) of dX = (X − X³) dt + 0.7 dW, by a chain on a grid of [−3, 3]."""
    x = np.arange(-3.0, 3.0 + spacing / 2, spacing)
    drift, diffusion = (x - x**3) / (2 * spacing), 0.7**2 / (2 * spacing**2)
    up, down = (diffusion + drift)[:-1], (diffusion - drift)[1:]
    generator = np.diag(up, 1) + np.diag(down, -1)
    np.fill_diagonal(generator, -generator.sum(1))
    start, stop = (round((place + 3) / spacing) for place in (-1.0, end))
    return math.log(linalg.expm(duration * generator)[start, stop] / spacing)


@pytest.mark.parametrize("end", [-1.0, 1.0])
@pytest.mark.parametrize("duration", [1.0, 4.0])
def test_likelihood_tends_to_the_density_of_the_process(duration, end):
    """The scheme's error is proportional to dt; that of the chain, to the square of its spacing."""
    theta = double([[0.0, math.log(0.7)]])
    wide, narrow = (log_density_of_chain(duration, end, spacing) for spacing in (0.02, 0.01))
    limit = narrow + (narrow - wide) / 3
    coarse, fine = (
        float(DoubleWell(duration=duration, steps=steps).log_likelihood(theta, double([[end]])))
        for steps in (int(100 * duration), int(200 * duration))
    )
    assert abs(2 * fine - coarse - limit) < 1e-3
    assert abs(fine - limit) < 0.01


@pytest.mark.parametrize("observed", [1, 3])
def test_the_spacing_is_fine_enough(monkeypatch, observed):
    """At draws from the prior and at 4 standard deviations, against a spacing of a third."""
    task = DoubleWell(observed=observed)
    drawn = task.simulate(50, 1)
    corners = double([[i, j] for i in (-4, 0, 4) for j in (-4, 0, 4)])
    theta = torch.cat([drawn.theta, task.prior.to_theta(corners)])
    x = torch.cat([drawn.x, drawn.x[:1].expand(9, -1)])
    found = task.log_likelihood(theta, x)
    monkeypatch.setattr(double_well, "SPACING", 0.3)
    monkeypatch.setattr(double_well, "FARTHEST_WELL", 8.6)
    torch.testing.assert_close(found, task.log_likelihood(theta, x), rtol=0, atol=1e-5)


def test_a_row_is_the_same_in_any_company():
    task = DoubleWell(observed=2)
    drawn = task.simulate(30, 2)
    alone = torch.cat([task.log_likelihood(drawn.theta[i : i + 1], drawn.x[i : i + 1]) for i in range(30)])
    torch.testing.assert_close(task.log_likelihood(drawn.theta, drawn.x), alone, rtol=1e-12, atol=1e-12)


def test_a_path_is_a_product_of_transitions():
    task, once = DoubleWell(observed=3, steps=20), DoubleWell(steps=20)
    theta, x = double([[0.2, -0.5]]), double([[-0.8, 0.1, 0.9]])
    alone = log_transition(
        once.sde(theta.unsqueeze(1)), double([[-1.0, -0.8, 0.1]]), x, once.grid, double([[4.0]]), 200
    )
    torch.testing.assert_close(task.log_likelihood(theta, x), alone.sum(1), rtol=0, atol=1e-6)


def test_shares_of_simulated_ends_are_those_of_the_likelihood():
    """The share beyond 0 at θ = (0.3, −0.3) and T = 2; |z| < 4.5 fails in 1 of 150,000 seeds."""
    task, n = DoubleWell(duration=2.0), 20_000
    theta = double([[0.3, -0.3]])
    x = task.simulator(theta.expand(n, -1), generator(3)).x
    line = torch.linspace(0.0, 3.0, 601).double().unsqueeze(1)
    density = task.log_likelihood(theta.expand(601, -1), line).exp()
    share = float((density[1:] + density[:-1]).sum() * 0.005 / 2)
    assert 0.02 < share < 0.5
    assert abs(float((x > 0).double().mean()) - share) < 4.5 * math.sqrt(share * (1 - share) / n)


def test_data_and_path_of_a_path():
    task = DoubleWell(observed=3, steps=4, duration=0.5)
    outcome = task.simulator(task.simulate(5, 4).theta, generator(4))
    assert outcome.latents.shape == (5, 13, 1)
    assert torch.equal(outcome.x, outcome.latents[:, [4, 8, 12], 0])
    assert outcome.model.grids == (TimeGrid(0.5, 4),) * 3
    assert task.structure == Series(3, channels=1)
    assert DoubleWell().structure == Vector(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"observed": 0}, "double_well: observed must be a whole number from 1 up, but is 0"),
        ({"steps": 1}, "double_well: steps must be a whole number from 2 up, but is 1"),
        ({"duration": -1.0}, "double_well: duration must be a finite number above 0, but is -1.0"),
        ({"duration": math.inf}, "double_well: duration must be a finite number above 0, but is inf"),
    ],
)
def test_options_that_make_no_task_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        get_task("double_well", **options)
