"""Predators and prey: paths and particle filter against exact small chains and closed forms, frozen draws."""

import math

import numpy as np
import torch
from numba import njit
from scipy import stats
from scipy.linalg import expm

from graybench.tasks.frozen import load
from graybench.tasks.jump.freeze_lotka_volterra import particle_filter
from graybench.tasks.jump.jump_process import row_seeds, start
from graybench.tasks.jump.lotka_volterra import CENTRE, LotkaVolterra, advance
from graybench.tasks.seeding import generator

TASK = LotkaVolterra()
CHANGES = ((1, 0), (-1, 0), (0, 1), (0, -1))
# A chain that is small enough to be solved: three predators, four prey, stopped at the sixth event
FIRST, MOST, NOISE = (3, 4), 6, 1.0
RATES = np.array([0.06, 0.3, 0.4, 0.05])
OBSERVED = np.array([3.6, 5.2, 2.1, 5.5, 2.4, 6.8])


def z(terms):
    return terms.mean(0) / (terms.std(0) / math.sqrt(len(terms)))


def small_chain(rates):
    """The states (X, Y, events) of the small chain, and their transition probabilities in a unit of time."""
    states = [(*FIRST, 0)]
    moves = []
    for x, y, events in states:  # grows while it is read
        hazards = (rates[0] * x * y, rates[1] * x, rates[2] * y, rates[3] * x * y)
        for (dx, dy), hazard in zip(CHANGES, hazards, strict=True):
            if events < MOST and hazard > 0:
                after = (x + dx, y + dy, events + 1)
                if after not in states:
                    states.append(after)
                moves.append((states.index((x, y, events)), states.index(after), hazard))
    q = np.zeros((len(states), len(states)))
    for a, b, hazard in moves:
        q[a, b] += hazard
        q[a, a] -= hazard
    return np.array(states), expm(q)


def exact_log_likelihood(log_rates):
    """log p(OBSERVED) of the small chain, by the forward recursion."""
    states, p = small_chain(np.exp(log_rates))
    mass, total = np.eye(len(states))[0], 0.0
    for x, y in OBSERVED.reshape(-1, 2):
        mass = mass @ p * stats.norm.pdf(x, states[:, 0], NOISE) * stats.norm.pdf(y, states[:, 1], NOISE)
        total += math.log(mass.sum())
        mass /= mass.sum()
    return total


@njit
def small_paths(rates, seeds):
    """End, N and I of paths of the small chain after two units of time."""
    ends = np.zeros((len(seeds), 3), np.int64)
    counts, exposures, state = np.zeros((len(seeds), 4)), np.zeros((len(seeds), 4)), np.empty(2, np.uint64)
    for row in range(len(seeds)):
        start(state, seeds[row])
        ends[row, 0], ends[row, 1] = FIRST
        for _ in range(2):
            advance(rates, ends[row], MOST, counts[row], exposures[row], state)
    return ends, counts, exposures


@njit
def filters(rates, x, first, noise, most_events, particles, seeds):
    log_likelihoods, scores = np.empty(len(seeds)), np.empty((len(seeds), 4))
    for row in range(len(seeds)):
        log_likelihoods[row], scores[row] = particle_filter(
            rates, x, first, noise, most_events, particles, seeds[row]
        )
    return log_likelihoods, scores


def test_stopped_paths_follow_the_exact_chain_and_their_scores_have_mean_zero():
    n = 100_000
    ends, counts, exposures = small_paths(RATES, row_seeds(n, generator(1)))
    states, p = small_chain(RATES)
    expected = n * (p @ p)[0]
    index = {tuple(place): k for k, place in enumerate(states.tolist())}
    observed = np.bincount([index[tuple(place)] for place in ends.tolist()], minlength=len(states))
    often = expected >= 5
    observed = np.append(observed[often], observed[~often].sum())
    expected = np.append(expected[often], expected[~often].sum())
    # fails a correct simulator once in 10,000 seeds; more than a tenth of the paths are stopped
    assert stats.chisquare(observed, expected).pvalue > 1e-4
    assert (ends[:, 2] == MOST).mean() > 0.1
    assert np.abs(z(counts - RATES * exposures)).max() < 4.5  # four z values: fails 1 in 37,000


def test_the_particle_filter_is_unbiased_for_the_exact_likelihood_and_its_gradient():
    """E[L̂/L] = 1, E[(L̂/L)(ĝ − ∇ log L)] = 0: five z values, |z| < 4.5 fails correct code in 1 of 29,000."""
    at = np.log(RATES)
    exact = exact_log_likelihood(at)
    slopes = [
        (exact_log_likelihood(at + step) - exact_log_likelihood(at - step)) / 2e-4
        for step in 1e-4 * np.eye(4)
    ]
    found, scores = filters(RATES, OBSERVED, FIRST, NOISE, MOST, 10, row_seeds(60_000, generator(2)))
    ratio = np.exp(found - exact)
    assert ratio.std() > 0.3  # few particles, so that a bias would show
    assert abs(z(ratio - 1)) < 4.5
    assert np.abs(z(ratio[:, None] * (scores - slopes))).max() < 4.5


def test_the_particle_filter_at_full_size_against_independent_deaths_and_births():
    """Predators that only die and prey that are only born: two hidden chains with closed transitions."""
    death, birth = 0.3, 0.1
    rates = np.array([1e-30, death, birth, 1e-30])
    theta = torch.from_numpy(np.log(rates)).unsqueeze(0)
    x = TASK.simulator(theta, generator(3)).x[0].numpy()
    predators, prey = np.arange(51), np.arange(100, 600)
    dying = stats.binom.pmf(predators, predators[:, None], math.exp(-death))
    # births of y parents: negative binomial, y successes at e^{−birth} each
    breeding = stats.nbinom.pmf(prey - prey[:, None], prey[:, None], math.exp(-birth))
    exact = 0.0
    for column, places, p, first in ((0, predators, dying, 50), (1, prey, breeding, 0)):
        mass = np.eye(len(places))[first]
        for value in x[column::2]:
            mass = mass @ p * stats.norm.pdf(value, places, 10.0)
            exact += math.log(mass.sum())
            mass /= mass.sum()
    found, _ = filters(rates, x, (50, 100), 10.0, 30_000, 100, row_seeds(1_000, generator(4)))
    assert found.std() < 1
    assert abs(z(np.exp(found - exact) - 1)) < 4.5  # fails a correct filter once in 150,000 seeds


def test_moments_of_deaths_and_births_with_noise():
    """Means and variances of X_t and Y_t at ten times: 40 z values, |z| < 4.5 fails 1 of 3,700 seeds."""
    n, death, birth = 20_000, 0.3, 0.1
    theta = torch.tensor([-70.0, math.log(death), math.log(birth), -70.0], dtype=torch.float64)
    x = TASK.simulator(theta.expand(n, -1), generator(5)).x
    time = torch.arange(1, 11, dtype=torch.float64)
    alive, grown = torch.exp(-death * time), torch.exp(birth * time)
    laws = ((50 * alive, 50 * alive * (1 - alive) + 100), (100 * grown, 100 * grown * (grown - 1) + 100))
    for column, (mean, variance) in enumerate(laws):
        centred = x[:, column::2] - mean
        assert z(centred).abs().max() < 4.5
        assert z(centred**2 - variance).abs().max() < 4.5


def test_joint_score_is_the_derivative_of_the_path_density():
    theta = TASK.prior.to_theta(torch.randn(50, 4, generator=generator(6), dtype=torch.float64))
    outcome = TASK.simulator(theta, generator(7))
    step = 1e-5 * torch.eye(4, dtype=torch.float64)
    for j in range(4):
        up, down = (TASK.log_joint(theta + s * step[j], outcome.x, outcome.latents) for s in (1, -1))
        torch.testing.assert_close((up - down) / 2e-5, outcome.joint_score[:, j], rtol=1e-5, atol=1e-3)


def test_joint_scores_satisfy_the_identities_of_the_prior_predictive():
    """E[g h] = 0 and E[g_j u_j h + h] = 0: 24 z values, |z| < 4.5 fails correct code in 1 of 6,000 seeds."""
    simulated = TASK.simulate(40_000, seed=8)
    u, x, g = simulated.u, simulated.x, simulated.joint_score
    for h in (torch.ones(len(u)), torch.tanh(x[:, 3] / 100 - 1), (x[:, 18] < x[:, 10]) * 1.0):
        h = h.unsqueeze(1)
        assert z(g * h).abs().max() < 4.5
        assert z(g * u * h + h).abs().max() < 4.5
    central = torch.tensor([CENTRE], dtype=torch.float64).expand(10_000, -1)
    assert z(TASK.simulator(central, generator(9)).joint_score).abs().max() < 4.5


def test_a_path_that_is_stopped_stays_where_it_is_and_keeps_a_valid_score():
    """Many paths reach the last event, and E[S | θ] = 0 all the same: |z| < 4.5 fails 1 in 37,000 seeds."""
    theta = torch.tensor([-6.0, 0.3, 1.0, -6.0], dtype=torch.float64).expand(1_000, -1)
    outcome = TASK.simulator(theta, generator(10))
    stopped = outcome.latents[0].sum(1) == 30_000
    assert 0.2 < stopped.double().mean() < 1
    assert (outcome.x[stopped, -1] - outcome.x[stopped, -3]).abs().max() < 100  # seven sigma of the noise
    assert z(outcome.joint_score).abs().max() < 4.5


def test_a_row_does_not_depend_on_the_others():
    theta = TASK.prior.to_theta(torch.randn(50, 4, generator=generator(11), dtype=torch.float64))
    other = theta.clone()
    other[::2] += 0.3
    first, second = (TASK.simulator(value, generator(12)) for value in (theta, other))
    assert torch.equal(first.x[1::2], second.x[1::2])
    assert torch.equal(first.joint_score[1::2], second.joint_score[1::2])


def test_the_likelihoods_behind_the_stored_references_were_known_well():
    assert (load("lotka_volterra")["log_likelihood_std"] < 1).all()


def test_the_truth_is_a_plausible_draw_of_the_stored_posteriors():
    """Its ranks in ten posteriors are uniform; each of four tests fails 1 in 10,000 observation seeds."""
    observed = TASK.observations()
    ranks = [
        (TASK.reference(x).draws < u).double().mean(0) for x, u in zip(observed.x, observed.u, strict=True)
    ]
    for ranks_of_one in torch.stack(ranks).T:
        assert stats.kstest(ranks_of_one.numpy(), "uniform").pvalue > 1e-4
