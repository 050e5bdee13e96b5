"""The four SDEs: coefficients against the models written out and autograd, the scheme against a loop."""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal
from torch.func import hessian, jacrev

from graybench.tasks.landmarks.diffusion import LandmarkDiffusion
from graybench.tasks.sde.brownian import BrownianMotion
from graybench.tasks.sde.geometric_brownian import GeometricBrownianMotion
from graybench.tasks.sde.ornstein_uhlenbeck import MeanReversion
from graybench.tasks.sde.sde import SDE, TimeGrid, euler_path, log_euler_path
from graybench.tests.numbers import double, normal

NUGGET = 0.05
GRID = TimeGrid(0.6, 3)
GRIDS = pytest.mark.parametrize("grid", [GRID, TimeGrid.at((0.0, 0.05, 0.4, 0.6))], ids=["equal", "uneven"])

close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-10)


class Case(NamedTuple):
    """A model, its parameters, four states (4, D), and f and Σ at one state written out in NumPy."""

    make: Callable[..., SDE]
    parameters: tuple[float, ...]
    states: Tensor
    drift: Callable[..., np.ndarray]
    covariance: Callable[..., np.ndarray]

    @property
    def sde(self):
        return self.make(*map(double, self.parameters))

    def several(self):
        """Three values of each parameter, (3, 1), to broadcast with the four states."""
        return [double(value) + 0.15 * torch.arange(3).double().unsqueeze(1) for value in self.parameters]

    def each(self):
        """The three models of `several`, one at a time."""
        return [self.make(*row) for row in torch.cat(self.several(), 1)]


def landmark_covariance(x, log_a, log_length, m):
    """k ⊗ I_m by a loop over pairs of landmarks."""
    points, a, length = x.reshape(-1, m), math.exp(log_a), math.exp(log_length)
    k = np.empty((len(points), len(points)))
    for i, p in enumerate(points):
        for j, q in enumerate(points):
            k[i, j] = a**2 * (math.exp(-(math.dist(p, q) ** 2) / (2 * length**2)) + NUGGET * (i == j))
    return np.kron(k, np.eye(m))


def landmarks(n, m):
    return Case(
        partial(LandmarkDiffusion, dimensions=m, nugget=NUGGET),
        (-0.4, 0.2),
        normal(4, n * m),
        lambda x, log_a, log_length: np.zeros(n * m),
        partial(landmark_covariance, m=m),
    )


CASES = {
    "brownian": Case(
        BrownianMotion,
        (0.7, 1.3),
        normal(4, 3),
        lambda x, mu, sigma: np.full(3, mu),
        lambda x, mu, sigma: sigma**2 * np.eye(3),
    ),
    "mean reversion": Case(
        MeanReversion,
        (1.6, 0.5, 0.8),
        normal(4, 3),
        lambda x, k, mu, s: k * (mu - x),
        lambda x, k, mu, s: s**2 * np.eye(3),
    ),
    "geometric": Case(
        GeometricBrownianMotion,
        (0.4, 0.7),
        normal(4, 3).exp(),
        lambda x, mu, sigma: mu * x,
        lambda x, mu, sigma: sigma**2 * np.diag(x**2),
    ),
    "landmarks in 2-D": landmarks(4, 2),
    "landmarks in 3-D": landmarks(3, 3),
}


@pytest.fixture(params=CASES.values(), ids=list(CASES), scope="module")
def case(request):
    return request.param


def dense(sde, x):
    """Σ at one state, (D, D), from its action on unit vectors."""
    return sde.at(x).times(torch.eye(len(x), dtype=torch.float64))


def everything(coefficients, v):
    """All coefficients of a model at its states, with one vector v at each state."""
    fields = ("drift", "divergence", "second_order", "half_log_det")
    products = (coefficients.times, coefficients.colour, coefficients.whiten, coefficients.solve)
    normal_density = coefficients.log_normal(v, 0.3)
    return [
        *(getattr(coefficients, f) for f in fields),
        *(product(v) for product in products),
        normal_density,
    ]


def test_drift_and_covariance_are_those_of_the_model_written_out(case):
    for x in case.states:
        here = x.numpy()
        close(case.sde.at(x).drift, double(case.drift(here, *case.parameters)))
        close(dense(case.sde, x), double(case.covariance(here, *case.parameters)))


def test_divergence_is_that_of_autograd(case):
    for x in case.states:
        slopes = jacrev(partial(dense, case.sde))(x)
        close(case.sde.at(x).divergence, torch.einsum("ijj->i", slopes))


def test_second_order_is_that_of_autograd(case):
    for x in case.states:
        curvature = torch.einsum("ijij->", hessian(partial(dense, case.sde))(x))
        divergence = jacrev(lambda y: case.sde.at(y).drift)(x).trace()
        close(case.sde.at(x).second_order, 0.5 * curvature - divergence)


def test_covariance_is_said_to_be_constant_where_its_derivative_vanishes(case):
    slopes = jacrev(partial(dense, case.sde))(case.states[0])
    assert case.sde.constant_covariance == (float(slopes.abs().max()) == 0)


def test_colour_is_a_root_of_the_covariance(case):
    for x in case.states:
        # Row j is L e_j, so that the rows make Lᵀ.
        root = case.sde.at(x).colour(torch.eye(len(x), dtype=torch.float64)).T
        close(root @ root.T, double(case.covariance(x.numpy(), *case.parameters)))


def test_whiten_undoes_colour_and_solve_undoes_times(case):
    here, v = case.sde.at(case.states), normal(*case.states.shape, seed=2)
    close(here.whiten(here.colour(v)), v)
    close(here.colour(here.whiten(v)), v)
    close(here.solve(here.times(v)), v)
    close(here.times(here.solve(v)), v)


def test_half_log_det_is_that_of_slogdet(case):
    covariance = torch.stack([double(case.covariance(x.numpy(), *case.parameters)) for x in case.states])
    sign, log_det = torch.linalg.slogdet(covariance)
    assert (sign == 1).all()
    close(case.sde.at(case.states).half_log_det, 0.5 * log_det)


def test_log_normal_is_that_of_torch(case):
    deviation, dt = normal(*case.states.shape, seed=3), 0.3
    covariance = torch.stack([double(case.covariance(x.numpy(), *case.parameters)) for x in case.states])
    expected = MultivariateNormal(torch.zeros_like(deviation), covariance * dt).log_prob(deviation)
    close(case.sde.at(case.states).log_normal(deviation, dt), expected)


@pytest.mark.parametrize("shared", [True, False], ids=["the same states", "other states"])
def test_parameters_broadcast_as_in_a_loop(case, shared):
    x, v = case.states, normal(3, *case.states.shape, seed=4)
    rows = x.expand(3, *x.shape) * (1.0 if shared else torch.tensor([0.8, 1.0, 1.2]).double()[:, None, None])
    got = everything(case.make(*case.several()).at(x if shared else rows), v)
    loop = [everything(sde.at(x_j), v_j) for sde, x_j, v_j in zip(case.each(), rows, v, strict=True)]
    for values, expected in zip(got, zip(*loop, strict=True), strict=True):
        expected = torch.stack(expected)
        close(values.expand_as(expected), expected)


def test_parameters_are_the_tensors_in_order_broadcast_together(case):
    rows = torch.cat(case.several(), 1).unsqueeze(1)
    assert torch.equal(case.make(*case.several()).parameters, rows)
    others = case.parameters[1:]
    mixed = case.make(case.several()[0], *map(double, others))
    expected = rows.clone()
    expected[..., 1:] = double(others)
    assert torch.equal(mixed.parameters, expected)


def test_an_sde_that_is_not_a_dataclass_has_to_define_its_parameters():
    class Still(SDE):
        constant_covariance = True

        def at(self, x):
            raise NotImplementedError

    with pytest.raises(NotImplementedError, match="Still is not a dataclass: define its `parameters`"):
        _ = Still().parameters


@GRIDS
def test_euler_path_is_the_recursion_by_hand(case, grid):
    x_0, noise = case.states[0], 0.5 * normal(grid.steps, 2, len(case.states[0]), seed=5)
    paths = euler_path(case.sde, x_0, grid, noise)
    assert paths.shape == (2, grid.steps + 1, len(x_0))
    for row, path in enumerate(paths):
        x = x_0.numpy()
        close(path[0], x_0)
        for k, dt in enumerate(np.diff(grid.times)):
            root = np.linalg.cholesky(case.covariance(x, *case.parameters))
            drift = case.drift(x, *case.parameters)
            x = x + dt * drift + math.sqrt(dt) * root @ noise[k, row].numpy()
            close(path[k + 1], double(x))


@GRIDS
def test_log_euler_path_is_the_sum_of_the_steps_by_hand(case, grid):
    path, total = case.states, 0.0
    for (before, after), dt in zip(pairwise(path), np.diff(grid.times), strict=True):
        drift, covariance = (
            double(part(before.numpy(), *case.parameters)) for part in (case.drift, case.covariance)
        )
        total = total + MultivariateNormal(before + dt * drift, dt * covariance).log_prob(after)
    close(log_euler_path(case.sde, path, grid), total)


def test_log_euler_path_broadcasts_as_in_a_loop(case):
    paths = case.states * torch.tensor([0.8, 1.0, 1.2]).double()[:, None, None]
    sde = case.make(*case.several())
    expected = [log_euler_path(one, path, GRID) for one, path in zip(case.each(), paths, strict=True)]
    close(log_euler_path(sde, paths, GRID), torch.stack(expected))
    shared = [log_euler_path(one, case.states, GRID) for one in case.each()]
    close(log_euler_path(sde, case.states, GRID), torch.stack(shared))


def test_euler_path_takes_a_model_and_a_start_for_each_row(case):
    noise, starts = 0.5 * normal(GRID.steps, 3, len(case.states[0]), seed=6), case.states[:3]
    sde = case.make(*(value.squeeze(1) for value in case.several()))
    rows = zip(case.each(), starts, noise.unbind(1), strict=True)
    close(
        euler_path(sde, starts, GRID, noise), torch.stack([euler_path(s, x, GRID, eps) for s, x, eps in rows])
    )


def test_log_euler_path_has_the_gradient_of_differences(case):
    """Gradients in every parameter and in the path."""
    inputs = [value.requires_grad_() for value in (*case.several(), case.states.clone())]

    def log_density(*values):
        return log_euler_path(case.make(*values[:-1]), values[-1], GRID)

    assert torch.autograd.gradcheck(log_density, inputs, atol=1e-5, rtol=1e-6)


def test_landmarks_have_no_transition_density():
    sde, x = CASES["landmarks in 2-D"].sde, CASES["landmarks in 2-D"].states[0]
    with pytest.raises(NotImplementedError, match="LandmarkDiffusion has no transition density"):
        sde.log_transition(x, x, 1.0)
