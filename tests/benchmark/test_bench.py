"""The speed table: what is timed must be the same thing; times themselves are not asserted."""

import random
from collections import Counter

import torch
from scipy import stats

from benchmark import bench
from tasks.galton import Galton


def test_the_python_loop_is_the_same_simulator():
    """Positions follow the pmf (χ² fails 1 seed in 10,000), and scores have the same law."""
    task, source, theta = Galton(), random.Random(3), 0.4
    drops = [bench._one_ball(task, theta, source) for _ in range(5000)]
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


def test_the_table_has_a_ratio_for_everything(monkeypatch):
    monkeypatch.setattr(bench, "ROUNDS", 1)
    monkeypatch.setattr(bench, "BALLS", 4096)
    monkeypatch.setattr(bench, "BATCH", 2048)
    monkeypatch.setattr(bench, "LOOPED_BALLS", {"python": 20, "single": 2})
    monkeypatch.setattr(bench, "STEPS", 5)
    monkeypatch.setattr(bench, "GATE_STEPS", 5)
    monkeypatch.setattr(bench, "GATE_BUDGET", 50)
    before = torch.get_num_threads()
    rows = [line.split("|")[1:-1] for line in bench.measure_all().splitlines()[2:]]
    assert torch.get_num_threads() == before
    assert len(rows) == 3 + len(bench.REPLICATES) + 2 + len(bench.CLOSED) + len(bench.FITTED)
    assert float(rows[0][2]) == float(rows[3][2]) == 1
    assert all(float(ratio) > 0 for _, _, ratio in rows)
