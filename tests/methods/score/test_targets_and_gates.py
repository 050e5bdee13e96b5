"""Targets and gates against exact conditional variances, brute force, and each other; nothing is trained."""

import math

import pytest
import torch
from scipy.optimize import minimize_scalar

from graybench.methods.score import targets
from graybench.methods.score.gates.moments import second_moment
from graybench.methods.score.gates.of_time import ConstantWeight, LearnedWeight, OptimalWeight, optimal_weight
from graybench.methods.score.schedule import (
    BETA_MAX,
    BETA_MIN,
    T_MIN,
    alpha_sigma,
    alpha_sigma_at,
    time_of_ratio,
)
from graybench.tasks.classic.galton import Galton
from graybench.tasks.seeding import generator
from graybench.tests.methods.exact import variances

TIMES = (0.005, 0.05, 0.2, 0.5, 0.9)
N = 40_000


@pytest.fixture(scope="module")
def simulations():
    return Galton().simulate(N, seed=17, marginal_score=True)


@pytest.fixture(scope="module")
def points(simulations):
    """For each t: the three targets and the exact score at N simulations."""
    task, drawn = Galton(), {}
    references = {x: task.reference(torch.tensor([x])) for x in simulations.x.unique().tolist()}
    for k, t in enumerate(TIMES):
        alpha, sigma = (torch.tensor(v, dtype=torch.float64) for v in alpha_sigma_at(t))
        eps = torch.randn(N, 1, generator=generator(k), dtype=torch.float64)
        u_t = alpha * simulations.u + sigma * eps
        s = torch.empty_like(u_t)
        for x, reference in references.items():
            rows = simulations.x[:, 0] == x
            s[rows] = reference.diffused_score(u_t[rows], float(alpha), float(sigma))
        y = {
            "dsm": targets.dsm(eps, sigma),
            "tsm": targets.from_score(simulations.marginal_score, alpha),
            "ltsm": targets.from_score(simulations.joint_score, alpha),
        }
        drawn[t] = (y, s)
    return drawn


@pytest.fixture(scope="module", params=TIMES)
def exact(request):
    return request.param, variances(Galton(), *alpha_sigma_at(request.param))


def z_score(values, expected):
    return float((values.mean() - expected) / (values.std() / math.sqrt(len(values))))


def test_schedule_satisfies_its_differential_equation():
    t = torch.linspace(T_MIN, 1, 200, dtype=torch.float64).requires_grad_(True)
    alpha, sigma = alpha_sigma(t)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t))
    (slope,) = torch.autograd.grad(alpha.sum(), t)
    torch.testing.assert_close(slope, -0.5 * (BETA_MIN + t * (BETA_MAX - BETA_MIN)) * alpha)
    for at in (T_MIN, 0.3, 1.0):
        a, s = alpha_sigma_at(at)
        assert time_of_ratio(s / a) == pytest.approx(at, rel=1e-9)


@pytest.mark.parametrize("name", ["dsm", "tsm", "ltsm"])
def test_empirical_variances_agree_with_the_exact_conditional_variances(name, exact, points):
    """|z| < 4.5 at 15 places: a correct implementation fails in 1 of 10,000 seeds."""
    t, expected = exact
    y, s = points[t]
    assert abs(z_score((y[name] - s).square(), expected[name])) < 4.5


@pytest.mark.parametrize("name", ["dsm", "tsm", "ltsm"])
def test_targets_are_unbiased_given_u_t_and_x(name, points):
    """E[(y − s) h(u_t, x)] = 0 for bounded h; |z| < 4.5 at 45 places fails in 1 of 3,000 seeds."""
    for t, (y, s) in points.items():
        for h in (torch.ones_like(s), torch.tanh(s), torch.cos(3 * s)):
            assert abs(z_score((y[name] - s) * h, 0.0)) < 4.5, (t, name)


def test_tsm_has_the_mean_of_ltsm_and_less_variance_at_every_t(exact, points):
    t, expected = exact
    assert expected["tsm"] < expected["ltsm"]
    y, s = points[t]
    assert abs(z_score((y["ltsm"] - y["tsm"]) * torch.tanh(s), 0.0)) < 4.5  # 5 places: 1 of 30,000 seeds
    assert (y["tsm"] - s).square().mean() < (y["ltsm"] - s).square().mean()


def test_dsm_and_ltsm_are_uncorrelated_with_the_moments_that_the_weight_rests_on(exact):
    """E⟨y_D, y_L⟩ = 0, E‖y_D‖² = 1/σ², E‖y_L‖² = j/α²: exactly, by quadrature."""
    t, v = exact
    alpha, sigma = alpha_sigma_at(t)
    s_square = 1 / sigma**2 - v["dsm"]
    assert v["cross"] + s_square == pytest.approx(0, abs=2e-3 / sigma**2)
    assert v["ltsm"] + s_square == pytest.approx(v["j"] / alpha**2, rel=2e-3)


def test_optimal_weight_minimises_the_exact_variance(exact):
    t, v = exact
    alpha, sigma = (torch.tensor(value, dtype=torch.float64) for value in alpha_sigma_at(t))
    closed = float(optimal_weight(torch.tensor(v["j"]), alpha, sigma))
    found = minimize_scalar(
        lambda w: w**2 * v["dsm"] + (1 - w) ** 2 * v["ltsm"] + 2 * w * (1 - w) * v["cross"],
        bounds=(0, 1),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert found.x == pytest.approx(closed, abs=2e-3)


def test_optimal_weight_of_simulations_is_the_brute_force_minimiser(simulations, points):
    """In 20 batches, |t| < 4.5 with 19 degrees of freedom at 5 places fails in 1 of 800 seeds."""
    j = second_moment(simulations.joint_score.unsqueeze(0))
    for t, (y, s) in points.items():
        alpha, sigma = (torch.tensor(value, dtype=torch.float64) for value in alpha_sigma_at(t))
        closed = float(optimal_weight(j, alpha, sigma))
        found = []
        for k in range(20):
            rows = slice(k * N // 20, (k + 1) * N // 20)
            grid = torch.linspace(0, 1, 2001, dtype=torch.float64)
            y_d, y_l, truth = y["dsm"][rows], y["ltsm"][rows], s[rows]
            loss = torch.stack([(w * y_d + (1 - w) * y_l - truth).square().mean() for w in grid])
            found.append(float(grid[loss.argmin()]))
        brute = torch.tensor(found)
        stderr = brute.std() / math.sqrt(len(brute)) + 5e-4  # half of the grid's step
        assert abs(brute.mean() - closed) < 4.5 * stderr, t


def test_the_scalar_gate_maps_to_its_limits_and_mixes_by_its_weight():
    t = torch.tensor([T_MIN, 0.3, 1.0], dtype=torch.float64).view(1, 3, 1).expand(3, -1, -1)
    gate = OptimalWeight(torch.tensor([0.5, 2.75, 40.0], dtype=torch.float64).view(3, 1, 1))
    weights = gate(t)
    assert (weights[:, 0] < 0.01).all()
    assert (weights[:, 2] > 0.999).all()
    assert (weights[:, 0].diff(dim=0) > 0).all()  # a noisier joint score leaves more to DSM
    y_d, y_l = torch.randn(2, 3, 3, 2, generator=generator(1), dtype=torch.float64)
    torch.testing.assert_close(gate.mix(y_d, y_l, y_d, y_d, t), weights * y_d + (1 - weights) * y_l)
    assert (ConstantWeight(1.0, torch.zeros(3))(t) == 1).all()


def test_a_mixture_is_exact_where_scores_are_huge():
    """At t = 1 and j = 1e10, y_L is 1e7 and 1 − w is 4e-15: float32 must agree with float64 to 1e-5."""
    t = torch.ones(1, 1, 1)
    y_d, y_l = torch.tensor([[[0.7]]]), torch.tensor([[[1.5e7]]])
    exact = OptimalWeight(torch.full((1, 1, 1), 1e10, dtype=torch.float64)).mix(
        *(tensor.double() for tensor in (y_d, y_l, y_d, y_d, t))
    )
    found = OptimalWeight(torch.full((1, 1, 1), 1e10)).mix(y_d, y_l, y_d, y_d, t)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=0)


@pytest.mark.parametrize("from_half", [True, False])
def test_a_learned_weight_starts_at_one_half_or_at_the_optimal_one(from_half):
    start = OptimalWeight(torch.tensor([0.5, 40.0]).view(2, 1, 1))
    gate = LearnedWeight(start, from_half=from_half, generators=[generator(1), generator(2)])
    t = torch.rand(2, 50, 1, generator=generator(3))
    torch.testing.assert_close(gate(t), torch.full((2, 50, 1), 0.5) if from_half else start(t))
    torch.testing.assert_close(gate(t) + gate.remainder(t), torch.ones(2, 50, 1))
