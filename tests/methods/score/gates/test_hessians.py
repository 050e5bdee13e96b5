"""Gates of Hessians: equal to matrix gates of the same J, safe if E[H] is indefinite, and right given x."""

import math

import pytest
import torch

from graybench.benchmark.running.measure import run_cell
from graybench.benchmark.running.sweep import Sweep
from graybench.methods import get_method, load_posterior
from graybench.methods.score.gates.choice import OF_HESSIANS
from graybench.methods.score.gates.moments import held_out_cost
from graybench.methods.score.gates.of_state import ConditionalHessianWeight, StateHessianWeight
from graybench.methods.score.gates.of_time import OptimalWeight
from graybench.methods.score.schedule import alpha_sigma_at
from graybench.methods.score.training_data import TrainingData
from graybench.tasks.classic.gaussian_mixture import GaussianMixture
from graybench.tasks.classic.linear_gaussian import LinearGaussian
from graybench.tasks.errors import UserError
from graybench.tasks.seeding import generator
from graybench.tests.methods.score.gates.test_of_state import X, moment_at, moment_of

GATES = [*OF_HESSIANS]
EYE = torch.eye(2, dtype=torch.float64)


def matrix_of(gate):
    values, V = gate.values, gate.directions
    return (V * values) @ V.mT


def test_equal_hessians_give_the_gate_of_their_matrix():
    J = torch.tensor([[9.0, 4.0], [4.0, 5.0]], dtype=torch.float64)
    gate = OptimalWeight.hessian(J.expand(1, 50, 2, 2))
    torch.testing.assert_close(matrix_of(gate)[0], J)


def test_hessians_of_a_linear_gaussian_give_j_exactly_where_scores_do_not():
    """100 simulations in 5 dimensions: the Hessian is the same in all of them."""
    task = LinearGaussian(5, spread=20.0, rotated=True)
    simulations = task.simulate(100, 1, joint_hessian=True)
    exact = simulations.joint_hessian[0]
    of_hessians = matrix_of(OptimalWeight.hessian(simulations.joint_hessian.unsqueeze(0)))[0]
    of_scores = matrix_of(OptimalWeight.matrix(simulations.joint_score.unsqueeze(0)))[0]
    torch.testing.assert_close(of_hessians, exact, rtol=1e-6, atol=1e-6)
    assert held_out_cost(of_scores, exact) > held_out_cost(of_hessians, exact)


@pytest.mark.parametrize("n", [3, 60])
def test_an_indefinite_mean_is_raised_to_the_curvature_of_the_prior(n):
    """The mean has the eigenvalues −2 and 6, along directions that are not the axes."""
    V = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    mean = V @ torch.diag(torch.tensor([-2.0, 6.0], dtype=torch.float64)) @ V.T
    gate = OptimalWeight.hessian(mean.expand(1, n, 2, 2))
    t = torch.linspace(0.001, 1, 50, dtype=torch.float64).view(1, -1, 1)
    weights = gate(t)
    assert ((weights >= 0) & (weights <= 1)).all()
    assert gate.values.min() >= 1
    if n == 60:
        torch.testing.assert_close(gate.values.flatten(), torch.tensor([1.0, 6.0], dtype=torch.float64))


def test_a_conditional_gate_finds_the_mean_hessian_given_x():
    """H = J(x) + 3 s B with s = ±1 at random: half of the H are indefinite, their mean given x is J(x).

    Relative Frobenius errors of J(x), averaged over x; that of the start is 0.73.
    """
    n, seeds = 4000, range(2)
    drawn = []
    for seed in seeds:
        random = generator(seed)
        x = 2 * torch.rand(n, 1, generator=random, dtype=torch.float64) - 1
        sign = torch.where(torch.rand(n, 1, 1, generator=random) < 0.5, -1.0, 1.0).double()
        H = moment_at(x) + 3 * sign * torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
        g = (torch.linalg.cholesky(moment_at(x)) @ torch.randn(n, 2, 1, generator=random).double()).squeeze(2)
        drawn.append((g, x, g, H))
    assert (torch.linalg.eigvalsh(drawn[0][3])[:, 0] < 0).double().mean() > 0.5
    data = TrainingData(*(torch.stack(tensors).float() for tensors in zip(*drawn, strict=True)))
    J = moment_at(X)
    start = OptimalWeight(*_eigen(J.mean(0), len(seeds)))
    gate = ConditionalHessianWeight(start, data.x, [generator(seed) for seed in seeds])
    gate.fit(data, seeds)
    error = torch.linalg.matrix_norm(moment_of(gate, X) - J) / torch.linalg.matrix_norm(J)
    before = torch.linalg.matrix_norm(J.mean(0) - J) / torch.linalg.matrix_norm(J)
    assert (error.mean(1) < 0.25).all(), (error.mean(1), before.mean())


def _eigen(J, replicates):
    values, vectors = torch.linalg.eigh(J.float())
    return values.expand(replicates, 1, 2), vectors.expand(replicates, 2, 2)


def test_a_method_requires_what_its_gate_needs():
    assert get_method("mix").requires == {"joint_score"}
    assert get_method("mix", gate="hessian").requires == {"joint_score", "joint_hessian"}
    simulations = LinearGaussian(2).simulate(20, 1)
    with pytest.raises(UserError, match="method mix needs simulations with a joint_hessian: simulate with"):
        get_method("mix", gate="hessian").fit(simulations, 1)
    with pytest.raises(UserError, match="there is no gate 'hessian'"):
        get_method("tsm_mix", gate="hessian")


@pytest.mark.parametrize("gate", GATES)
def test_a_cell_runs_where_hessians_are_and_is_skipped_with_a_reason_where_not(gate):
    sweep = Sweep.model_validate(
        {
            "name": "hessians",
            "tasks": ["linear_gaussian", "galton"],
            "methods": [{"name": "mix", "gate": gate, "steps": 20}],
            "budgets": [50],
            "replicates": 2,
            "posterior_samples": 5,
            "metrics": ["excess_variance"],
        }
    )
    found, skipped = (run_cell(cell).rows for cell in sweep.cells())
    assert set(found["status"]) == {"ok"}
    assert math.isfinite(found["value"].mean())
    assert set(skipped["status"]) == {"skipped"}
    assert set(skipped["reason"]) == {"mix requires joint_hessian, which galton does not provide"}


@pytest.mark.parametrize("gate", GATES)
def test_fits_together_equal_fits_alone_and_loaded_posteriors_those_that_were_saved(gate, tmp_path):
    task = GaussianMixture()
    simulations = [task.simulate(100, seed, joint_hessian=True) for seed in (1, 2)]
    method = get_method("mix", gate=gate, steps=60, width=16)
    together = method.fit_replicates(simulations, [7, 8])
    x_o = task.observations().x[:2]
    for own, seed, posterior in zip(simulations, [7, 8], together, strict=True):
        samples = posterior.sample(5, x_o, 3)
        torch.testing.assert_close(method.fit(own, seed).sample(5, x_o, 3), samples, rtol=1e-3, atol=1e-3)
        posterior.save(tmp_path)
        assert load_posterior(tmp_path).sample(5, x_o, 3).equal(samples)


def test_a_state_gate_starts_at_the_closed_form():
    task = LinearGaussian(3, spread=8.0, rotated=True)
    drawn = task.simulate(100, 1, joint_hessian=True)
    u, x, H = drawn.u.unsqueeze(0), drawn.x.unsqueeze(0), drawn.joint_hessian.unsqueeze(0)
    start = OptimalWeight.hessian(H)
    gate = StateHessianWeight(start, u, x, [generator(1)]).double()
    t = torch.linspace(0.001, 1, 100, dtype=torch.float64).view(1, -1, 1)
    v = torch.randn(1, 100, 3, generator=generator(2), dtype=torch.float64)
    found = gate.score_part(v, u, x, t)
    torch.testing.assert_close(found, start.score_part(v, u, x, t))


@pytest.mark.parametrize("t", [0.15, 0.2, 0.4])
def test_the_state_gate_is_that_of_least_variance(t):
    """x ~ N(z u, 1) with z = 1 or 4 hidden and u ~ N(0, 1): 1 − W* = α²/(α² + σ² E[H | u_t, x]), H = 1 + z².

    The gate of least E‖y_W‖² has 1 − W* = −E[d y_DSM]/E[d²] given u_t and x. Both are computed by quadrature
    over u_0 and z: the Laplace-Fisher identity holds with latents. The fitted gate is near it.
    """
    alpha, sigma = alpha_sigma_at(t)
    u0 = torch.linspace(-6, 6, 6001, dtype=torch.float64)
    places = [(-2.0, -1.5), (-2.0, -0.6), (-1.0, -0.3), (0.5, 0.2), (0.5, -0.5), (1.0, 0.8), (3.0, 0.9)]
    exact = []
    for x, u_t in places:
        total, hessian, cross, square = 0.0, 0.0, 0.0, 0.0
        y_dsm = -(u_t - alpha * u0) / sigma**2
        for z in (1.0, 4.0):
            p = torch.exp(-0.5 * (u0**2 + (x - z * u0) ** 2 + ((u_t - alpha * u0) / sigma) ** 2))
            d = (-u0 + z * (x - z * u0)) / alpha - y_dsm
            total += p.sum()
            hessian += (p * (1 + z**2)).sum()
            cross += (p * d * y_dsm).sum()
            square += (p * d**2).sum()
        exact.append(float(-cross / square))
        assert exact[-1] == pytest.approx(float(alpha**2 / (alpha**2 + sigma**2 * hessian / total)), rel=1e-6)
    random = generator(3)
    u = torch.randn(1, 20_000, 1, generator=random)
    z = torch.where(torch.rand(u.shape, generator=random) < 0.5, 1.0, 4.0)
    x = z * u + torch.randn(u.shape, generator=random)
    data = TrainingData(u, x, -u + z * (x - z * u), (1 + z**2).unsqueeze(-1))
    gate = StateHessianWeight(OptimalWeight.hessian(data.hessian), u, x, [generator(4)])
    gate.fit(data, [5])
    at = torch.tensor(places).unsqueeze(0)
    with torch.no_grad():
        inputs = torch.ones(1, len(places), 1), at[..., 1:], at[..., :1], torch.full((1, len(places), 1), t)
        found, start = (g.score_part(*inputs).flatten().double() for g in (gate, gate.start))
    error, before = ((own - torch.tensor(exact)).abs() for own in (found, start))
    assert error.mean() < 0.5 * before.mean(), (found, exact, start)
