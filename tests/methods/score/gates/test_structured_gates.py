"""Diagonal and matrix gates against brute force and dense formulas; mixtures against the exact score.

`designed` makes scores whose second moment is a given J exactly, in every fold of the cross-validation too:
the gates built from them are those of J with no sampling error.
"""

import math

import pytest
import torch
from scipy.optimize import minimize

from graybench.methods.score import targets
from graybench.methods.score.gates.of_state import ConditionalWeight, StateWeight
from graybench.methods.score.gates.of_time import ConstantWeight, OptimalWeight
from graybench.methods.score.schedule import T_MIN, alpha_sigma, alpha_sigma_at
from graybench.tasks.classic.linear_gaussian import NOISE, LinearGaussian, _model
from graybench.tasks.seeding import generator

TIMES = (0.005, 0.05, 0.2, 0.5, 0.9)
N = 40_000
TASK = LinearGaussian(2, spread=20.0, rotated=True)
BUILDERS = {
    "scalar": OptimalWeight.scalar,
    "diagonal": OptimalWeight.diagonal,
    "matrix": OptimalWeight.matrix,
}


@pytest.fixture(scope="module")
def simulations():
    return TASK.simulate(N, seed=23)


def positive(d, seed):
    root = torch.randn(d, d, generator=generator(seed), dtype=torch.float64)
    return root @ root.T + 0.1 * torch.eye(d, dtype=torch.float64)


def designed(J):
    """Return scores, (1, 10 d, d), with E[g gᵀ] = J in each fifth of them: √d times columns of a root."""
    return (len(J) ** 0.5 * torch.linalg.cholesky(J).T).repeat(10, 1).unsqueeze(0)


def gate_of(J):
    values, vectors = torch.linalg.eigh(J)
    return OptimalWeight(values.view(1, 1, -1), vectors.unsqueeze(0))


def true_moment(task):
    into_z = _model(task).into_z
    return torch.eye(task.dim, dtype=torch.float64) + into_z.T @ into_z / NOISE**2


def at(t, n=1):
    return torch.full((1, n, 1), t, dtype=torch.float64)


def weight_matrix(gate, t, d):
    """Return W by what the gate makes of the unit vectors."""
    eye = torch.eye(d, dtype=torch.float64)
    return eye - gate.score_part(eye.unsqueeze(0), eye, eye, at(t, d))[0].T


def exact_cost(W, J, t):
    """E‖y_W‖²/d = (tr(W Wᵀ)/σ² + tr((I − W) J (I − W)ᵀ)/α²)/d."""
    (alpha, sigma), rest = alpha_sigma_at(t), torch.eye(len(J), dtype=torch.float64) - W
    return float((W @ W.T).trace() / sigma**2 + (rest @ J @ rest.T).trace() / alpha**2) / len(J)


@pytest.mark.parametrize("seed", range(3))
def test_the_matrix_gate_is_what_minimising_over_all_matrices_finds(seed):
    """Not symmetric ones alone: `minimize` is free in all four entries."""
    J = positive(2, seed)
    gate = OptimalWeight.matrix(designed(J))
    for t in TIMES:
        sigma = alpha_sigma_at(t)[1]
        found = minimize(
            lambda w, t=t, scale=sigma**2: scale * exact_cost(torch.tensor(w).view(2, 2), J, t),
            [0.5, 0.1, -0.1, 0.5],
            method="BFGS",
            options={"gtol": 1e-9},
        )
        W = weight_matrix(gate, t, 2)
        torch.testing.assert_close(torch.tensor(found.x).view(2, 2), W, rtol=0, atol=1e-4)
        assert exact_cost(W, J, t) <= found.fun / sigma**2 * (1 + 1e-12)


def test_no_linear_function_of_the_difference_lowers_the_matrix_gates_target(simulations):
    """E[y_W (y_D − y_L)ᵀ] = 0, entry by entry; |z| < 4.5 at 20 places fails in 1 of 7,000 seeds."""
    gate, g = gate_of(true_moment(TASK)), simulations.joint_score
    for k, t in enumerate(TIMES):
        alpha, sigma = alpha_sigma(at(t, N))
        eps = torch.randn(1, N, 2, generator=generator(k), dtype=torch.float64)
        y_d, y_l = targets.dsm(eps, sigma), targets.from_score(g.unsqueeze(0), alpha)
        y = gate.mix(y_d, y_l, y_d, y_d, at(t, N))
        products = (y.unsqueeze(-1) * (y_d - y_l).unsqueeze(-2))[0]
        z = products.mean(0) / (products.std(0) / math.sqrt(N))
        assert z.abs().max() < 4.5, t


def test_the_diagonal_gate_is_what_minimising_over_diagonal_matrices_finds():
    for seed in range(3):
        J = positive(3, seed)
        gate = OptimalWeight.diagonal(designed(J))
        for t in TIMES:
            scale = alpha_sigma_at(t)[1] ** 2
            found = minimize(
                lambda w, t=t, J=J, scale=scale: scale * exact_cost(torch.diag(torch.tensor(w)), J, t),
                [0.5] * 3,
                method="BFGS",
                options={"gtol": 1e-9},
            )
            W = weight_matrix(gate, t, 3)
            torch.testing.assert_close(torch.diag(torch.tensor(found.x)), W, rtol=0, atol=1e-4)
            torch.testing.assert_close(gate(at(t))[0, 0], W.diagonal())


def test_the_more_a_gate_may_do_the_less_its_target_varies():
    for seed in range(10):
        J = positive(4, seed)
        gates = [build(designed(J)) for build in BUILDERS.values()]
        for t in (T_MIN, *TIMES, 1.0):
            scalar, diagonal, matrix = (exact_cost(weight_matrix(gate, t, 4), J, t) for gate in gates)
            assert matrix < diagonal < scalar
            assert scalar < 1 / alpha_sigma_at(t)[1] ** 2  # DSM's
            assert scalar < float(J.trace()) / 4 / alpha_sigma_at(t)[0] ** 2  # LTSM's


def test_turned_by_45_degrees_a_diagonal_gate_is_a_scalar_one_and_a_matrix_gate_is_better():
    """J = R diag(10, 0.1) Rᵀ has 5.05 twice on its diagonal; the matrix gate's cost is that of 10 and 0.1."""
    R = torch.tensor([[1.0, -1.0], [1.0, 1.0]], dtype=torch.float64) / 2**0.5
    J = R @ torch.diag(torch.tensor([10.0, 0.1], dtype=torch.float64)) @ R.T
    gates = {name: build(designed(J)) for name, build in BUILDERS.items()}
    for t in TIMES:
        alpha, sigma = alpha_sigma_at(t)
        W = {name: weight_matrix(gate, t, 2) for name, gate in gates.items()}
        torch.testing.assert_close(W["diagonal"], W["scalar"])
        own = [j / (sigma**2 * j + alpha**2) for j in (10, 0.1, 5.05)]
        assert exact_cost(W["matrix"], J, t) == pytest.approx((own[0] + own[1]) / 2)
        assert exact_cost(W["scalar"], J, t) == pytest.approx(own[2])
        assert (own[0] + own[1]) / 2 < own[2]


@pytest.mark.parametrize("name", BUILDERS)
def test_second_moment_is_that_of_the_target(name):
    J = positive(3, 5)
    gate = BUILDERS[name](designed(J))
    for t in (T_MIN, *TIMES, 1.0):
        expected = exact_cost(weight_matrix(gate, t, 3), J, t)
        assert float(gate.second_moment(*alpha_sigma(at(t)))) == pytest.approx(expected, rel=1e-9)
        for value in (0.0, 0.3, 1.0):
            constant = ConstantWeight(value, J.trace().view(1) / 3)
            expected = exact_cost(weight_matrix(constant, t, 3), J, t)
            assert float(constant.second_moment(*alpha_sigma(at(t)))) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", BUILDERS)
def test_second_moment_is_that_of_drawn_targets(name, simulations):
    """|z| < 4.5 at 15 places: a correct implementation fails in 1 of 10,000 seeds."""
    gate, g = BUILDERS[name](designed(true_moment(TASK))), simulations.joint_score
    for k, t in enumerate(TIMES):
        alpha, sigma = alpha_sigma(at(t, N))
        eps = torch.randn(1, N, 2, generator=generator(k), dtype=torch.float64)
        y_d, y_l = targets.dsm(eps, sigma), targets.from_score(g.unsqueeze(0), alpha)
        drawn = gate.mix(y_d, y_l, y_d, y_d, at(t, N)).square().mean(2)
        expected = gate.second_moment(alpha, sigma)[0, 0, 0]
        assert abs(drawn.mean() - expected) < 4.5 * drawn.std() / math.sqrt(N), t


def test_what_is_left_to_the_score_is_the_dense_formula():
    """(I − W) v = α² (σ² J + α² I)⁻¹ v, for three replicates, each row at its own t, up to t = 1."""
    moments, n, d = torch.stack([10.0**k * positive(4, k) for k in (-1, 0, 3)]), 50, 4
    gate = OptimalWeight.matrix(torch.cat([designed(J) for J in moments]))
    v = torch.randn(3, n, d, generator=generator(1), dtype=torch.float64)
    t = torch.linspace(T_MIN, 1, 3 * n, dtype=torch.float64).view(3, n, 1)
    alpha, sigma = (value.unsqueeze(-1) for value in alpha_sigma(t))
    dense = alpha**2 * torch.linalg.inv(
        sigma**2 * moments.unsqueeze(1) + alpha**2 * torch.eye(d, dtype=torch.float64)
    )
    expected = (dense @ v.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(gate.score_part(v, v, v, t), expected, rtol=1e-9, atol=1e-12)
    y_d = torch.randn(3, n, d, generator=generator(2), dtype=torch.float64)
    torch.testing.assert_close(gate.mix(y_d, y_d + v, v, v, t), y_d + expected, rtol=1e-9, atol=1e-12)
    stacked = gate.score_part(torch.stack([v, 2 * v]), v, v, t)  # further leading dimensions
    torch.testing.assert_close(stacked, torch.stack([expected, 2 * expected]), rtol=1e-9, atol=1e-12)


def arbitrary(gate, seed):
    """Return a state-dependent gate random parameters, its output layer too."""
    for k, parameter in enumerate(gate.mlp.parameters()):
        noise = torch.randn(parameter.shape, generator=generator(1000 * seed + k))
        parameter.data = 1.5 * noise / parameter.shape[1] ** 0.5
    return gate.double()


def gates_to_be_unbiased(simulations):
    u, x = (tensor[:500].float().unsqueeze(0) for tensor in (simulations.u, simulations.x))
    start = OptimalWeight.matrix(simulations.joint_score[:500].float().unsqueeze(0))
    axes = OptimalWeight.diagonal(simulations.joint_score[:500].float().unsqueeze(0))
    return {
        "matrix": gate_of(true_moment(TASK)),
        "wrong matrix": gate_of(positive(2, 8)),
        "conditional matrix": arbitrary(ConditionalWeight(start, x, [generator(1)]), 3),
        "conditional diagonal": arbitrary(ConditionalWeight(axes, x, [generator(1)]), 3),
        "state": arbitrary(StateWeight(start, u, x, [generator(1)]), 3),
    }


def test_mixtures_are_unbiased_whatever_the_gate(simulations):
    """E[(y_W − s) h(u_t, x)] = 0 for bounded h and the exact score s of the posterior N(G x, S).

    |z| < 4.5 at 200 places: a correct implementation fails in 1 of 700 seeds. The arbitrary gates do depend
    on x or u_t: at t = 0.2 what they leave to the score varies by 0.3 of itself or more.
    """
    reference = [TASK.reference(row) for row in torch.eye(2, dtype=torch.float64)]
    means, covariance = torch.stack([r.mean for r in reference]), reference[0].covariance
    u, x, g = (tensor.unsqueeze(0) for tensor in (simulations.u, simulations.x, simulations.joint_score))
    for name, gate in gates_to_be_unbiased(simulations).items():
        for k, t in enumerate(TIMES):
            alpha, sigma = alpha_sigma(at(t, N))
            eps = torch.randn(1, N, 2, generator=generator(100 + k), dtype=torch.float64)
            u_t, a, b = alpha * u + sigma * eps, *alpha_sigma_at(t)
            law = a**2 * covariance + b**2 * torch.eye(2, dtype=torch.float64)
            s = -torch.linalg.solve(law, (u_t - alpha * (x @ means)).mT).mT
            with torch.no_grad():
                y_d, y_l = targets.dsm(eps, sigma), targets.from_score(g, alpha)
                y = gate.mix(y_d, y_l, u_t, x, at(t, N))
                left = gate.score_part(torch.ones_like(u_t), u_t, x, at(t, N))
            if t == 0.2 and not isinstance(gate, OptimalWeight):
                assert (left.std(1) > 0.3 * left.mean(1).abs()).all(), name
            for h in (torch.ones_like(s), torch.tanh(s), torch.tanh(s.flip(-1)), torch.cos(u_t + x)):
                biased = ((y - s) * h)[0]
                z = biased.mean(0) / (biased.std(0) / math.sqrt(N))
                assert z.abs().max() < 4.5, (name, t)
