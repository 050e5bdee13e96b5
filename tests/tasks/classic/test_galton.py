"""The Galton board: pmf against enumeration, scores against the exact ones, the posterior against Bayes."""

import itertools
import math

import pytest
import torch
from scipy import integrate, stats

from graybench.tasks import get_task
from graybench.tasks.classic.galton import Galton
from graybench.tasks.errors import UserError
from graybench.tasks.seeding import generator
from graybench.tests.methods.exact import GRID, score_moments


def probability_left(task, row, position, theta):
    """The formula of `Galton`, for one ball, in plain Python."""
    if row % 2 == 1 and position in (0, task.nails):
        return 0.0 if position == 0 else 1.0
    swing = math.sin(math.pi * row / (task.rows - 1))
    z_h = 2 * position / (task.nails - 1) - 1
    return (1 - swing) / 2 + swing / (1 + math.exp(-10 * theta * z_h))


def enumerate_paths(task, theta):
    """Every sequence of decisions with its probability, its score (by differences), and its end."""
    for decisions in itertools.product((True, False), repeat=task.rows):
        logs, position = [], [task.nails // 2] * 3
        for shift in (0.0, 1e-5, -1e-5):
            place, total = task.nails // 2, 0.0
            for row, left in enumerate(decisions):
                p = probability_left(task, row, place, theta + shift)
                p = p if left else 1 - p
                total = total + math.log(p) if p > 0 else -math.inf
                place += (0 if left else 1) if row % 2 == 0 else (-1 if left else 0)
            logs.append(total)
            position = place
        if logs[0] > -math.inf:
            yield math.exp(logs[0]), (logs[1] - logs[2]) / 2e-5, position


@pytest.mark.parametrize("rows", [4, 7])
@pytest.mark.parametrize("theta", [-0.8, 0.0, 1.3])
def test_pmf_and_marginal_score_equal_enumeration(rows, theta):
    task = Galton(rows=rows, nails=3)
    pmf, slope = torch.zeros(task.bins).double(), torch.zeros(task.bins).double()
    for probability, score, end in enumerate_paths(task, theta):
        pmf[end] += probability
        slope[end] += probability * score
    at = torch.tensor([theta], dtype=torch.float64)
    torch.testing.assert_close(task.pmf(at)[0], pmf, rtol=1e-10, atol=1e-12)
    ends = torch.nonzero(pmf > 0).double()
    got = task.marginal_score(at.expand(len(ends)).unsqueeze(1), ends)[:, 0]
    torch.testing.assert_close(got, (slope / pmf)[pmf > 0], rtol=1e-6, atol=1e-7)


def test_simulated_positions_follow_the_pmf():
    task, n = Galton(), 100_000
    for theta in (-1.0, 0.5):
        x = task.simulator(torch.full((n, 1), theta, dtype=torch.float64), generator(11)).x[:, 0]
        counts = torch.bincount(x.long(), minlength=task.bins).double().numpy()
        expected = n * task.pmf(torch.tensor([theta], dtype=torch.float64))[0].numpy()
        assert (counts[expected == 0] == 0).all()
        counts, expected = counts[expected >= 5], expected[expected >= 5]
        scaled = expected * counts.sum() / expected.sum()
        # chi-squared; fails a correct simulator once in 10,000 seeds, for each θ
        assert stats.chisquare(counts, scaled).pvalue > 1e-4


def test_mined_scores_average_to_the_marginal_score_at_every_x():
    """E[S | θ, x] = ∇ log p(x | θ). |z| < 4.5 at 40 positions fails correct code in 1 of 3,700 seeds."""
    task, n = Galton(), 200_000
    for theta in (-0.7, 0.4):
        outcome = task.simulator(torch.full((n, 1), theta, dtype=torch.float64), generator(5))
        exact = task.marginal_score(
            torch.full((task.bins, 1), theta), torch.arange(task.bins).double().unsqueeze(1)
        )
        for place in range(task.bins):
            scores = outcome.joint_score[outcome.x[:, 0] == place, 0].double()
            if len(scores) > 200:
                # one path alone leads to the outermost positions: only float32 rounding is left there
                stderr = scores.std() / math.sqrt(len(scores)) + 1e-6
                assert abs(scores.mean() - exact[place, 0]) < 4.5 * stderr, (theta, place)


def test_joint_score_in_u_has_mean_zero_and_the_expected_square():
    scores = Galton().simulate(200_000, seed=2).joint_score[:, 0]
    z = scores.mean() / (scores.std() / math.sqrt(len(scores)))
    assert abs(z) < 4.5  # fails a correct simulator once in 150,000 seeds
    # E S² over the prior, by a recursion over the rows, and 1 for the prior's share; another 1 in 150,000
    _, _, second = score_moments(Galton())
    expected = float((torch.softmax(-(GRID**2) / 2, 0) * second.sum(1)).sum()) + 1
    square = scores.double().square()
    assert abs(square.mean() - expected) < 4.5 * square.std() / math.sqrt(len(square))


def test_joint_score_equals_enumeration_path_by_path():
    task = Galton(rows=4, nails=3)
    by_end = {}
    for _, score, end in enumerate_paths(task, 0.6):
        by_end.setdefault(end, []).append(score)
    outcome = task.simulator(torch.full((2000, 1), 0.6, dtype=torch.float64), generator(1))
    for x, score in zip(outcome.x[:, 0].tolist(), outcome.joint_score[:, 0].tolist(), strict=True):
        assert min(abs(score - known) for known in by_end[int(x)]) < 1e-4


def test_posterior_is_likelihood_times_prior():
    task = Galton()
    x_o = task.observations().x[0]

    def unnormalised(u):
        at = torch.tensor([[u]], dtype=torch.float64)
        return math.exp(float(task.log_likelihood(at, x_o.unsqueeze(0))) - u**2 / 2)

    evidence = integrate.quad(unnormalised, -7, 7, epsabs=1e-12, limit=200)[0]
    u = torch.linspace(-2, 2, 21, dtype=torch.float64)
    expected = torch.tensor([math.log(unnormalised(float(v)) / evidence) for v in u], dtype=torch.float64)
    torch.testing.assert_close(task.reference(x_o).log_prob(u.unsqueeze(1)), expected, rtol=0, atol=1e-5)


def test_many_balls_count_positions_and_add_scores():
    task, n = Galton(balls=40), 20_000
    theta = torch.full((n, 1), 0.3, dtype=torch.float64)
    outcome = task.simulator(theta, generator(4))
    assert (outcome.x.sum(1) == 40).all()
    expected = 40 * task.pmf(torch.tensor([0.3], dtype=torch.float64))[0]
    z = (outcome.x.double().mean(0) - expected) / (expected / n).sqrt()
    assert z[expected > 1e-3].abs().max() < 4.5  # 25 positions: a false alarm in 6,000 seeds
    # Fisher's identity against a bounded function of x, with the exact marginal score
    difference = (outcome.joint_score - task.marginal_score(theta, outcome.x))[:, 0]
    for h in (torch.ones(n), torch.tanh(outcome.x[:, 15] - 5)):
        terms = difference * h
        assert abs(terms.mean() / (terms.std() / math.sqrt(n))) < 4.5


def test_likelihood_of_many_balls_is_multinomial():
    task = Galton(rows=4, nails=3, balls=5)
    x = torch.tensor([[1.0, 3.0, 1.0]], dtype=torch.float64)
    pmf = task.pmf(torch.tensor([0.2], dtype=torch.float64))[0].numpy()
    expected = stats.multinomial.logpmf(x[0].numpy(), 5, pmf)
    got = task.log_likelihood(torch.tensor([[0.2]], dtype=torch.float64), x)
    assert float(got) == pytest.approx(expected, abs=1e-10)


def test_paths_move_as_the_board_says_and_end_like_the_simulator():
    task = Galton()
    theta = torch.full((500,), 0.5, dtype=torch.float64)
    paths = task.paths(theta, generator(9))
    steps = paths.diff(dim=1)
    assert (paths[:, 0] == 15).all()
    assert set(steps[:, 0::2].unique().tolist()) == {0.0, 1.0}
    assert set(steps[:, 1::2].unique().tolist()) == {-1.0, 0.0}
    final = task.simulator(theta.unsqueeze(1), generator(9)).x[:, 0]
    assert torch.equal(paths[:, -1], final)


@pytest.mark.parametrize("options", [{"rows": 1}, {"nails": 1}, {"balls": 0}, {"balls": 2.5}])
def test_impossible_boards_are_rejected(options):
    with pytest.raises(UserError, match="must be a whole number"):
        get_task("galton", **options)


def test_the_grid_resolves_the_posterior_of_the_most_balls():
    with pytest.raises(UserError, match="at most 1000"):
        Galton(balls=1001)
    task = Galton(balls=1000)
    reference = task.reference(task.observations().x[1])
    assert float(reference.sample(5000, seed=1).std()) > 3 * float(reference.grid[1] - reference.grid[0])


def test_positions_that_the_board_does_not_have_are_rejected():
    """4 rows move a ball by at most 2 from the middle, 15."""
    task, possible = Galton(rows=4), set()
    for position in (*range(-1, 33), 14.5, 99):
        try:
            task.reference(torch.tensor([float(position)]))
        except UserError:
            continue
        possible.add(position)
    assert possible == {13, 14, 15, 16, 17}


def test_counts_that_are_not_of_so_many_balls_are_rejected():
    task = Galton(balls=3)
    counts = torch.zeros(task.bins)
    counts[15], counts[16] = 2, 1
    assert torch.isfinite(task.reference(counts).log_prob(torch.zeros(1, 1)))
    counts[16] = 0
    with pytest.raises(UserError, match=r"the observation \(.*\) is not possible on this board\.$"):
        task.reference(counts)
