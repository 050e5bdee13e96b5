"""Loops of plain Python must be the same simulators as the suite's: otherwise their speed says nothing."""

import math
import random
from collections import Counter

import torch
from scipy import stats

from graybench.benchmark.speed.python_loops import one_ball, one_path
from graybench.tasks.classic.galton import Galton
from graybench.tasks.jump.lotka_volterra import CENTRE, LotkaVolterra
from graybench.tasks.seeding import generator


def test_balls_follow_the_pmf_and_scores_the_same_law():
    """χ² of positions fails 1 seed in 10,000; |z| < 4.5, 1 of 150,000, for the scores' mean of 0."""
    task, source, theta = Galton(), random.Random(3), 0.4
    drops = [one_ball(task, theta, source) for _ in range(5000)]
    counts = Counter(position for position, _ in drops)
    pmf = task.pmf(torch.tensor([theta], dtype=torch.float64))[0]
    common = [p for p in range(task.bins) if 5000 * pmf[p] >= 5]
    observed = [counts[p] for p in common]
    expected = [float(pmf[p]) * sum(observed) / float(pmf[common].sum()) for p in common]
    assert stats.chisquare(observed, expected).pvalue > 1e-4
    scores = torch.tensor([score for _, score in drops], dtype=torch.float64)
    assert abs(scores.mean() / (scores.std() / 5000**0.5)) < 4.5
    other = task.simulator(torch.full((20_000, 1), theta), torch.Generator().manual_seed(1)).joint_score
    assert abs(scores.square().mean() / other.square().mean() - 1) < 0.15


def test_paths_have_the_marginals_of_the_task():
    """Kolmogorov-Smirnov of X and Y half-way and at the end, with the task's noise, and of the scores, twelve
    values in all; each fails 1 seed in 10,000.
    """
    source, noise = random.Random(4), random.Random(5)
    looped = [one_path([math.exp(c) for c in CENTRE], source) for _ in range(150)]
    outcome = LotkaVolterra().simulator(
        torch.tensor(CENTRE, dtype=torch.float64).repeat(4000, 1), generator(1)
    )
    for k in (0, 1, 8, 9, 10, 11, 18, 19):
        seen = [path[k] + noise.gauss(0, 10) for path, _ in looped]
        assert stats.ks_2samp(seen, outcome.x[:, k].numpy()).pvalue > 1e-4
    for j in range(4):
        scores = [score[j] for _, score in looped]
        assert stats.ks_2samp(scores, outcome.joint_score[:, j].numpy()).pvalue > 1e-4
