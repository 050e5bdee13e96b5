"""Transition densities: Fokker-Planck, Chapman-Kolmogorov, SciPy, and the limit of the scheme."""

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats
from torch.func import jacrev

from graybench.tasks.sde.brownian import BrownianMotion
from graybench.tasks.sde.geometric_brownian import GeometricBrownianMotion
from graybench.tasks.sde.ornstein_uhlenbeck import MeanReversion, OrnsteinUhlenbeck
from graybench.tasks.seeding import generator
from graybench.tests.numbers import double

PARAMETERS = {
    BrownianMotion: (0.7, 0.6),
    MeanReversion: (1.6, 0.5, 0.8),
    GeometricBrownianMotion: (0.4, 0.5),
}
# of sixth order: its error is h⁶/140 times the seventh derivative
DIFFERENCE = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}


@pytest.fixture(params=PARAMETERS, ids=lambda model: model.__name__, scope="module")
def model(request):
    return request.param


def make(model):
    return model(*map(double, PARAMETERS[model]))


def points(model, n, dim, seed):
    """States of a moderate density, (n, dim); positive for the geometric motion."""
    x = 0.4 * torch.randn(n, dim, generator=generator(seed), dtype=torch.float64)
    return x.exp() if model is GeometricBrownianMotion else x


def axis(model, spacing=0.01):
    """Points on the line and their quadrature weights; on a log axis for geometric motion."""
    z = torch.arange(-8, 8, spacing, dtype=torch.float64)
    x = z.exp() if model is GeometricBrownianMotion else z
    return x.unsqueeze(1), spacing * (x if model is GeometricBrownianMotion else torch.ones_like(z))


@pytest.mark.parametrize("dim", [1, 3])
def test_transition_solves_the_fokker_planck_equation(model, dim):
    """∂_t log p = −∂_i J_i / p with the flux J_i = f_i p − ½ ∂_j(Σ_ij p), from f, Σ and p only."""
    sde, t, h, unit = make(model), 0.7, 0.01, torch.eye(dim, dtype=torch.float64)
    for x_0, x in zip(points(model, 5, dim, 1), points(model, 5, dim, 2), strict=True):

        def density(y, start=x_0):
            return sde.log_transition(start, y, t).exp()

        def flux(y, density=density):
            diffused = jacrev(lambda z: sde.at(z).times(unit) * density(z))(y)
            return sde.at(y).drift * density(y) - 0.5 * torch.einsum("ijj->i", diffused)

        at_time = partial(sde.log_transition, x_0, x)
        in_time = sum(c * (at_time(t + k * h) - at_time(t - k * h)) for k, c in DIFFERENCE.items()) / h
        torch.testing.assert_close(in_time, -jacrev(flux)(x).trace() / density(x), rtol=1e-8, atol=1e-8)


def test_transition_has_mass_one_and_composes(model):
    """∫ p = 1, and Chapman-Kolmogorov: ∫ p(x | y) p(y | x_0) dy is p(x | x_0) at the sum of the times."""
    sde, (y, weights) = make(model), axis(model)
    x_0, x = double([0.4]), points(model, 6, 1, 4)
    first = weights * sde.log_transition(x_0, y, 0.3).exp()
    torch.testing.assert_close(first.sum(), double(1.0), rtol=1e-10, atol=0)
    composed = sde.log_transition(y, x.unsqueeze(1), 0.5).exp() @ first
    torch.testing.assert_close(composed, sde.log_transition(x_0, x, 0.8).exp(), rtol=1e-9, atol=0)


def test_parameters_and_states_broadcast_as_in_a_loop(model):
    several = [double(value) + 0.15 * torch.arange(3).double().unsqueeze(1) for value in PARAMETERS[model]]
    x_0, x = points(model, 1, 2, 5)[0], points(model, 4, 2, 6)
    got = model(*several).log_transition(x_0, x, 0.6)
    for j, row in enumerate(got):
        expected = [model(*(value[j, 0] for value in several)).log_transition(x_0, y, 0.6) for y in x]
        torch.testing.assert_close(row, torch.stack(expected))


def law_of_the_scheme(sde, x_0, steps, x, weights):
    """The density of X_K at points x of the line by K − 1 integrals over them."""
    dt = 1 / steps

    def kernel(before):
        here = sde.at(before.unsqueeze(-2))
        return here.log_normal(x - before.unsqueeze(-2) - dt * here.drift, dt).exp()

    rows, density = kernel(x), kernel(x_0)
    for _ in range(steps - 1):
        density = (weights * density) @ rows
    return density


def test_scheme_comes_to_the_transition_as_its_steps_grow(model):
    """∫ |p_K − p| falls like 1/K, and is 0 for Brownian motion, whose scheme is exact in law."""
    sde, (x, weights) = make(model), axis(model, 0.02)
    x_0 = double([0.4])
    exact = sde.log_transition(x_0, x, 1.0).exp()
    error = [
        float(weights @ (law_of_the_scheme(sde, x_0, steps, x, weights) - exact).abs()) for steps in (16, 32)
    ]
    if model is BrownianMotion:
        assert max(error) < 1e-10
    else:
        assert 0.001 < error[1] < 0.05
        assert error[0] / error[1] == pytest.approx(2, rel=0.1)


def test_error_of_the_ornstein_uhlenbeck_scheme_halves_when_its_steps_double():
    theta = torch.tensor([[0.4, 0.5, -0.2]], dtype=torch.float64)
    x = torch.linspace(-2, 3, 20, dtype=torch.float64).unsqueeze(1)
    sde = MeanReversion(theta[:, 0].exp(), theta[:, 1], theta[:, 2].exp())
    exact = sde.log_transition(torch.zeros(1), x, 1.0)
    steps = (250, 500, 1000, 2000)
    errors = [OrnsteinUhlenbeck(dim=1, steps=K).log_likelihood(theta, x) - exact for K in steps]
    for before, after in pairwise(errors):
        torch.testing.assert_close(before, 2 * after, rtol=0.02, atol=1e-5)
    assert errors[0].abs().max() > 1e-3
    assert errors[-1].abs().max() < 1e-2


def test_ornstein_uhlenbeck_is_stationary_in_the_end():
    """X_∞ is N(μ, s²/(2 k)) for any start."""
    x = points(MeanReversion, 6, 1, 9)
    k, mu, s = PARAMETERS[MeanReversion]
    expected = stats.norm(mu, s / math.sqrt(2 * k)).logpdf(x[:, 0])
    got = make(MeanReversion).log_transition(double([3.0]), x, 40.0)
    torch.testing.assert_close(got, torch.from_numpy(expected))


@pytest.mark.parametrize("dim", [1, 3])
def test_geometric_brownian_motion_is_the_lognormal_of_scipy(dim):
    x_0, x = points(GeometricBrownianMotion, 2, dim, 10), points(GeometricBrownianMotion, 2, dim, 11)
    mu, sigma = PARAMETERS[GeometricBrownianMotion]
    median = x_0.numpy() * np.exp((mu - sigma**2 / 2) * 0.7)
    expected = stats.lognorm(s=sigma * math.sqrt(0.7), scale=median).logpdf(x.numpy()).sum(1)
    got = make(GeometricBrownianMotion).log_transition(x_0, x, 0.7)
    torch.testing.assert_close(got, torch.from_numpy(expected))
