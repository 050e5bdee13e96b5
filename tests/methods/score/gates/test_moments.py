"""The second moment of the scores, its shrinkage, and the cost by which it is shrunk, against the exact J."""

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize

from graybench.methods.score import targets
from graybench.methods.score.gates.moments import RATIOS, held_out_cost, second_moment, shrunk_second_moment
from graybench.methods.score.gates.of_time import OptimalWeight
from graybench.methods.score.schedule import T_MIN, alpha_sigma
from graybench.tasks.classic.linear_gaussian import NOISE, LinearGaussian, _model
from graybench.tasks.seeding import generator

SEEDS = range(50)


def true_moment(task):
    """J = I + AᵀA/τ²: with z − Aθ = τ ε, the joint score is g = −u + Aᵀε/τ."""
    into_z = _model(task).into_z
    return torch.eye(task.dim, dtype=torch.float64) + into_z.T @ into_z / NOISE**2


def scores(task, n, seeds=SEEDS):
    return torch.stack([task.simulate(n, seed).joint_score for seed in seeds])


def raw(score):
    return score.mT @ score / score.shape[1]


def scalar(score):
    return second_moment(score).view(-1, 1, 1) * torch.eye(score.shape[2], dtype=score.dtype)


def positive(d, seed, rows=None):
    root = torch.randn(d, rows or d, generator=generator(seed), dtype=torch.float64)
    return root @ root.T


def cost_at(t, own, held_out):
    """σ² E‖y_W‖²/d at each t, from W = σ² J (σ² J + α² I)⁻¹ and E[y yᵀ], with no eigenvectors."""
    alpha, sigma = (v.view(-1, 1, 1) for v in alpha_sigma(torch.as_tensor(t, dtype=torch.float64)))
    eye = torch.eye(len(own), dtype=torch.float64)
    W = sigma**2 * own @ torch.linalg.inv(sigma**2 * own + alpha**2 * eye)
    moment = W @ W.mT / sigma**2 + (eye - W) @ held_out @ (eye - W).mT / alpha**2
    return (sigma**2 * moment).diagonal(dim1=1, dim2=2).mean(1)


def test_second_moment_is_the_trace_of_the_true_one():
    """|z| < 4.5 at one place: a correct implementation fails in 1 of 150,000 seeds."""
    task = LinearGaussian(4, spread=10.0, rotated=True)
    score = scores(task, 40_000, [1])
    z = (second_moment(score)[0] - true_moment(task).trace() / 4) / (score[0].square().mean(1).std() / 200)
    assert abs(z) < 4.5


@pytest.mark.parametrize(("own", "held_out"), [(1, 1), (1, 2), (2, 3)])
def test_held_out_cost_is_the_integral_over_t(own, held_out):
    """The rule of 64 midpoints was within 1e-5 of `quad` for 60 pairs of such matrices, with ‖J‖ up to 16."""
    own, held_out = positive(3, own) + torch.eye(3), positive(3, held_out)
    integral, _ = quad(lambda t: float(cost_at(t, own, held_out)), T_MIN, 1, limit=200, epsrel=1e-7)
    assert float(held_out_cost(own, held_out)) == pytest.approx(integral / (1 - T_MIN), rel=5e-5)


def test_held_out_cost_is_that_of_the_gates_own_target():
    """On drawn scores, t and ε; |z| < 4.5 at 3 places fails in 1 of 50,000 seeds."""
    n, d = 100_000, 3
    for k in range(3):
        own, held_out, random = positive(d, k) + torch.eye(d), positive(d, k + 10), generator(k)
        xi, eps = torch.randn(2, 1, n, d, generator=random, dtype=torch.float64)
        t = T_MIN + (1 - T_MIN) * torch.rand(1, n, 1, generator=random, dtype=torch.float64)
        values, vectors = torch.linalg.eigh(own)
        gate = OptimalWeight(values.view(1, 1, d), vectors.unsqueeze(0))
        alpha, sigma = alpha_sigma(t)
        y_score = targets.from_score(xi @ torch.linalg.cholesky(held_out).T, alpha)
        y = gate.mix(targets.dsm(eps, sigma), y_score, eps, eps, t)
        drawn = (sigma * y).square().mean(2)
        assert abs(drawn.mean() - held_out_cost(own, held_out)) < 4.5 * drawn.std() / math.sqrt(n)


def test_held_out_cost_is_least_at_the_moment_of_the_scores_held_out():
    """Not by chance: W* of the true J minimises E‖y_W‖² at every t, so that every other J costs more."""
    for d in (1, 2, 5):
        J = positive(d, d) + 0.1 * torch.eye(d)
        root, eye = torch.linalg.cholesky(J), torch.eye(d, dtype=torch.float64)
        turned = torch.randn(400, d, d, generator=generator(d), dtype=torch.float64)
        for size in (0.01, 0.1, 1.0):
            stretch = torch.matrix_exp(size * (turned + turned.mT) / 2)
            assert (held_out_cost(root @ stretch @ root.T, J) > held_out_cost(J, J)).all()
        assert held_out_cost(1.01 * J, J) > held_out_cost(J, J)
        assert held_out_cost(J + 0.01 * eye, J) > held_out_cost(J, J)


def test_minimising_the_held_out_cost_finds_the_moment():
    J = positive(2, 3) + 0.2 * torch.eye(2)

    def cost(entries):
        L = torch.tensor([[math.exp(entries[0]), 0], [entries[1], math.exp(entries[2])]], dtype=torch.float64)
        return float(held_out_cost(L @ L.T, J))

    a, b, c = minimize(cost, [0, 0, 0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-14}).x
    L = torch.tensor([[math.exp(a), 0], [b, math.exp(c)]], dtype=torch.float64)
    torch.testing.assert_close(L @ L.T, J, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spread", [1.0, 10.0, 100.0])
def test_from_many_simulations_the_shrunk_moment_is_the_true_one(spread):
    """In the basis where the true J is I, no eigenvalue is off by more than a tenth.

    At n = 10,000 and d = 10, those of the raw J are near 1 ± 2√(d/n) = 1 ± 0.063 at the edges. Over 3 × 50
    seeds the shrunk J was off by 0.076 at most, its diagonal by 0.043.
    """
    task = LinearGaussian(10, spread=spread, rotated=True)
    J, score = true_moment(task), scores(task, 10_000, range(3))
    into = torch.linalg.inv(torch.linalg.cholesky(J))
    shrunk = torch.linalg.eigvalsh(into @ shrunk_second_moment(score, diagonal=False) @ into.T)
    assert (shrunk - 1).abs().max() < 0.1
    diagonal = shrunk_second_moment(score, diagonal=True)
    assert torch.equal(diagonal, torch.diag_embed(diagonal.diagonal(dim1=1, dim2=2)))
    assert (diagonal.diagonal(dim1=1, dim2=2) / J.diagonal() - 1).abs().max() < 0.1


@pytest.mark.parametrize("n", [10, 12])
@pytest.mark.parametrize("spread", [10.0, 100.0, 1000.0])
def test_with_as_few_simulations_as_dimensions_shrinking_turns_harm_into_gain(spread, n):
    """Costs are exact, and DSM's is 1. The seeds are fixed: 0 to 49.

    There the raw J cost 15 to 28 on average at n = 10, 1.33 to 1.46 at n = 12, and above 1 in 291 of the
    300; the shrunk J's was 0.96 at most, and 1.005 times the scalar gate's at most.
    """
    task = LinearGaussian(10, spread=spread, rotated=True)
    J, score = true_moment(task), scores(task, n)
    shrunk = held_out_cost(shrunk_second_moment(score, diagonal=False), J)
    assert (held_out_cost(raw(score), J) > 1).sum() > 40
    assert held_out_cost(raw(score), J).mean() > 1.2
    assert (shrunk / held_out_cost(scalar(score), J)).max() < 1.01
    assert shrunk.mean() < held_out_cost(scalar(score), J).mean()
    assert shrunk.max() < 1


@pytest.mark.parametrize(("spread", "n"), [(10.0, 20), (10.0, 60), (100.0, 20), (1000.0, 20)])
def test_with_a_few_times_as_many_shrinking_still_gains(spread, n):
    """Over seeds 0 to 49 the shrunk J had 0.979, 0.963, 0.930 and 0.942 of the scalar cost at most."""
    task = LinearGaussian(10, spread=spread, rotated=True)
    J, score = true_moment(task), scores(task, n)
    shrunk = held_out_cost(shrunk_second_moment(score, diagonal=False), J)
    assert (shrunk / held_out_cost(scalar(score), J)).max() < 0.99
    assert shrunk.mean() < held_out_cost(raw(score), J).mean()


@pytest.mark.parametrize(("spread", "n"), [(10.0, 60), (100.0, 20)])
def test_heavy_tails_are_shrunk_away(spread, n):
    """g times √(1/χ²₃), of mean square 1, leaves J as it is and gives it the sampling error of Student's t₃.

    Over three sets of 50 the raw J cost 0.92 and 1.10 on average, the shrunk one 0.90 and 0.92 on average and
    at most 1.026 times what the scalar gate did.
    """
    task = LinearGaussian(10, spread=spread, rotated=True)
    normal = torch.randn(50, n, 3, generator=generator(1), dtype=torch.float64)
    J, score = true_moment(task), scores(task, n) / normal.norm(dim=2, keepdim=True)
    shrunk = held_out_cost(shrunk_second_moment(score, diagonal=False), J)
    assert (shrunk / held_out_cost(scalar(score), J)).max() < 1.05
    assert shrunk.mean() < held_out_cost(raw(score), J).mean() - 0.01


def test_where_the_raw_moment_serves_well_shrinking_costs_little():
    """At 40 and 60 simulations of a wide spread the raw J is good: on average shrinking costs at most 0.5 %.

    Over seeds 0 to 49 it was 0.26 % and 0.11 %.
    """
    task = LinearGaussian(10, spread=100.0, rotated=True)
    J = true_moment(task)
    for n in (40, 60):
        score = scores(task, n)
        shrunk = held_out_cost(shrunk_second_moment(score, diagonal=False), J)
        assert shrunk.mean() < 1.005 * held_out_cost(raw(score), J).mean()


@pytest.mark.parametrize("n", [1, 4, 9])
@pytest.mark.parametrize("diagonal", [False, True])
def test_with_fewer_than_two_simulations_a_fold_it_is_scalar(n, diagonal):
    score = scores(LinearGaussian(4, spread=10.0, rotated=True), n, range(3))
    torch.testing.assert_close(shrunk_second_moment(score, diagonal=diagonal), scalar(score))


@pytest.mark.parametrize("diagonal", [False, True])
def test_it_is_the_candidate_of_least_cross_validated_cost(diagonal):
    """Against a loop over replicates, folds and candidates; n is no multiple of 5."""
    score = scores(LinearGaussian(3, spread=30.0, rotated=True), 23, range(12))
    found = shrunk_second_moment(score, diagonal=diagonal)
    times = T_MIN + (1 - T_MIN) * (torch.arange(64) + 0.5) / 64
    sizes = []
    for g, shrunk in zip(score, found, strict=True):
        trials = []
        for ratio in RATIOS:
            for towards in ("scalar",) if diagonal else ("diagonal", "scalar"):
                total = 0.0
                for k in range(5):
                    mask = torch.zeros(23, dtype=torch.bool)
                    mask[4 * k : 4 * k + 4] = True
                    own = candidate(g[~mask], ratio, towards, diagonal)
                    held = g[mask].T @ g[mask] / 4
                    total += float(cost_at(times, own, held).mean())
                trials.append((total, candidate(g, ratio, towards, diagonal), ratio))
        _, best, ratio = min(trials, key=lambda trial: trial[0])
        torch.testing.assert_close(shrunk, best)
        sizes.append(ratio)
    assert len(set(sizes)) > 1  # the replicates do not all want the same


def candidate(g, ratio, towards, diagonal):
    J = g.T @ g / len(g)
    own = torch.diag(J.diagonal())
    target = own if towards == "diagonal" else torch.eye(len(J), dtype=torch.float64) * J.trace() / len(J)
    return (1 - ratio) * (own if diagonal else J) + ratio * target
