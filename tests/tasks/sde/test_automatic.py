"""SDEs from two functions, against the closed forms of the same SDEs, in values and in gradients."""

from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from graybench.tasks.errors import UserError
from graybench.tasks.landmarks.diffusion import LandmarkDiffusion
from graybench.tasks.sde.automatic import AutomaticSDE, Function
from graybench.tasks.sde.geometric_brownian import GeometricBrownianMotion
from graybench.tasks.sde.ornstein_uhlenbeck import MeanReversion
from graybench.tasks.sde.sde import SDE
from graybench.tests.numbers import normal

NUGGET = 0.05

close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)


class Case(NamedTuple):
    """An SDE as two functions, its closed form, three values of θ, (3, d), and four states, (4, D)."""

    drift: Function
    diffusion: Function
    closed: type[SDE] | partial[LandmarkDiffusion]
    theta: Tensor
    states: Tensor

    def pair(self, theta: Tensor) -> tuple[AutomaticSDE, SDE]:
        automatic = AutomaticSDE(self.drift, self.diffusion, theta, self.states.shape[-1])
        return automatic, self.closed(*theta.unbind(-1))


def kernel_root(x: Tensor, theta: Tensor) -> Tensor:
    """A root Q of k ⊗ I_2 that is not triangular: the symmetric one of k, for every coordinate."""
    points = x.unflatten(-1, (-1, 2))
    squared = (points.unsqueeze(-2) - points.unsqueeze(-3)).square().sum(-1)
    a, length = theta.exp().unbind(-1)
    shape = torch.exp(-0.5 * squared / length[..., None, None] ** 2)
    k = a[..., None, None] ** 2 * (shape + NUGGET * torch.eye(points.shape[-2]).double())
    factor = torch.linalg.cholesky(k)
    rotated = factor @ torch.linalg.qr(normal(*factor.shape[-2:], seed=7)).Q
    return torch.kron(rotated.reshape(-1, *rotated.shape[-2:]), torch.eye(2).double()).reshape(
        *rotated.shape[:-2], *(2 * n for n in rotated.shape[-2:])
    )


CASES = {
    "mean reversion": Case(
        lambda x, theta: theta[..., :1] * (theta[..., 1:2] - x),
        lambda x, theta: theta[..., 2:],
        MeanReversion,
        torch.tensor([[1.6, 0.5, 0.8], [0.7, -0.2, 1.1], [1.0, 0.1, 0.4]], dtype=torch.float64),
        normal(4, 3),
    ),
    "mean reversion, with a matrix": Case(
        lambda x, theta: theta[..., :1] * (theta[..., 1:2] - x),
        lambda x, theta: theta[..., 2, None, None] * torch.eye(3).double(),
        MeanReversion,
        torch.tensor([[1.6, 0.5, 0.8], [0.7, -0.2, 1.1], [1.0, 0.1, 0.4]], dtype=torch.float64),
        normal(3, 3),  # as many states as dimensions: the matrix is not mistaken for three scales
    ),
    "geometric": Case(
        lambda x, theta: theta[..., :1] * x,
        lambda x, theta: theta[..., 1:] * x,
        GeometricBrownianMotion,
        torch.tensor([[0.4, 0.7], [-0.3, 0.5], [0.1, 1.1]], dtype=torch.float64),
        normal(4, 3).exp(),
    ),
    "landmarks": Case(
        lambda x, theta: torch.zeros_like(x),
        kernel_root,
        partial(LandmarkDiffusion, dimensions=2, nugget=NUGGET),
        torch.tensor([[-0.4, 0.2], [0.1, -0.1], [0.3, 0.4]], dtype=torch.float64),
        normal(4, 6),
    ),
}


@pytest.fixture(params=CASES.values(), ids=list(CASES), scope="module")
def case(request):
    return request.param


def everything(sde: SDE, x: Tensor) -> dict[str, Tensor]:
    """What does not depend on the choice of a factor, at states x."""
    here, v = sde.at(x), normal(*x.shape, seed=2)
    shape = sde.at(x).times(v).shape
    return {
        "drift": here.drift.expand(shape),
        "divergence": here.divergence.expand(shape),
        "second_order": here.second_order.expand(shape[:-1]),
        "half_log_det": here.half_log_det.expand(shape[:-1]),
        "times": here.times(v),
        "solve": here.solve(v),
        "log_normal": here.log_normal(v, 0.3),
    }


def test_coefficients_are_those_of_the_closed_form(case):
    for theta in (case.theta[0], case.theta.unsqueeze(1)):  # one θ, and three that broadcast with the states
        automatic, closed = case.pair(theta)
        found, expected = everything(automatic, case.states), everything(closed, case.states)
        for name, value in found.items():
            assert value.shape[:-1] == expected[name].shape[:-1]
            close(value, expected[name], msg=lambda text, name=name: f"{name}: {text}")
        assert automatic.constant_covariance == closed.constant_covariance
        assert torch.equal(automatic.parameters.broadcast_to(closed.parameters.shape), closed.parameters)


def test_gradients_in_theta_and_x_are_those_of_the_closed_form(case):
    """Each coefficient alone, with a random weight for each of its numbers, by autograd."""
    found = [gradients(case, which) for which in (0, 1)]
    for name, of_automatic in found[0].items():
        for got, expected in zip(of_automatic, found[1][name], strict=True):
            close(got, expected, msg=lambda text, name=name: f"{name}: {text}")


def gradients(case: Case, which: int) -> dict[str, tuple[Tensor, ...]]:
    theta = case.theta.unsqueeze(1).requires_grad_()
    x = case.states.clone().requires_grad_()
    values = everything(case.pair(theta)[which], x)
    made = {}
    for name, value in values.items():
        total = (value * normal(*value.shape, seed=3)).sum()
        if total.requires_grad:
            found = torch.autograd.grad(total, (theta, x), retain_graph=True, allow_unused=True)
            pairs = zip(found, (theta, x), strict=True)
            made[name] = tuple(torch.zeros_like(of) if g is None else g for g, of in pairs)
        else:
            made[name] = (torch.zeros_like(theta), torch.zeros_like(x))
    return made


def test_second_derivatives_pass_through(case):
    """The Hessian of a sum of coefficients in x: bases differentiate densities with `create_graph`."""

    def hessian(sde: SDE) -> Tensor:
        def total(x: Tensor) -> Tensor:
            here = sde.at(x)
            return (
                (here.divergence * here.solve(here.drift + x)).sum() + here.second_order + here.half_log_det
            )

        return torch.autograd.functional.hessian(total, case.states[0])

    automatic, closed = case.pair(case.theta[0])
    close(hessian(automatic), hessian(closed), rtol=1e-8, atol=1e-8)


def test_without_grad_mode_the_derivatives_are_the_same(case):
    automatic, _ = case.pair(case.theta.unsqueeze(1))
    expected = everything(automatic, case.states)
    with torch.no_grad():
        found = everything(automatic, case.states)
    for name, value in found.items():
        close(value, expected[name].detach())
        assert not value.requires_grad


def test_colour_is_a_root_and_whiten_undoes_it(case):
    automatic, _ = case.pair(case.theta.unsqueeze(1))
    here, v = automatic.at(case.states), normal(3, *case.states.shape, seed=4)
    close(here.whiten(here.colour(v)), v)
    units = torch.eye(case.states.shape[1], dtype=torch.float64)
    one = case.pair(case.theta[0])[0].at(case.states[0])
    root = one.colour(units).mT
    close(root @ root.mT, one.times(units))


def test_more_noises_than_states_make_the_covariance_of_their_sum():
    """Q of 2 × 3: two particles, each with its own noise and one that both share."""
    shared = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]], dtype=torch.float64)
    sde = AutomaticSDE(lambda x, _: -x, lambda x, _: shared, torch.zeros(1).double(), 2)
    assert sde.constant_covariance
    units = torch.eye(2, dtype=torch.float64)
    close(sde.at(torch.ones(2).double()).times(units), torch.tensor([[1.25, 0.25], [0.25, 1.25]]).double())


def test_a_covariance_that_is_not_positive_definite_makes_a_density_of_nan():
    """Q = [[a, b], [2a, b²]] is singular where a = 0, b = 0 or b = 2; the last state keeps its density."""

    def diffusion(x: Tensor, theta: Tensor) -> Tensor:
        a, b = x.unbind(-1)
        return torch.stack([torch.stack([a, b], -1), torch.stack([2 * a, b**2], -1)], -2)

    sde = AutomaticSDE(lambda x, _: -x, diffusion, torch.zeros(1).double(), 2)
    x = torch.tensor([[0.0, 3.0], [1.0, 0.0], [1.0, 2.0], [1.0, torch.nan], [2.0, 3.0]], dtype=torch.float64)
    density = sde.at(x).log_normal(torch.ones_like(x), 0.1)
    assert torch.isfinite(density).tolist() == [False, False, False, False, True]


@pytest.mark.parametrize(
    ("drift", "diffusion", "message"),
    [
        (
            lambda x, _: x[..., :2],
            lambda x, _: x,
            r"drift\(x, theta\) must return shape \(5, 3\) for",
        ),
        (
            lambda x, _: x,
            lambda x, _: x[..., :2],
            r"diffusion\(x, theta\) must .* but returns \(5, 2\)",
        ),
        (
            lambda x, _: x,
            lambda x, _: x[..., :2, None],
            r"diffusion\(x, theta\) must .* \(5, 3, 1\)",
        ),
        (
            lambda x, _: x,
            lambda x, _: 0.5,
            r"diffusion\(x, theta\) must return a tensor, .* float",
        ),
        (
            lambda x, _: None,
            lambda x, _: x,
            r"drift\(x, theta\) must return a tensor, .* NoneType",
        ),
    ],
)
def test_functions_of_a_wrong_shape_are_refused(drift, diffusion, message):
    sde = AutomaticSDE(drift, diffusion, torch.zeros(1).double(), 3)
    with pytest.raises(UserError, match=message):
        everything(sde, normal(5, 3))
