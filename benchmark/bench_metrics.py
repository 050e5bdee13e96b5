"""Metrics of large samples: MMD² by blocks against the same formula with whole matrices, and C2ST."""

import torch

from benchmark.sample_metrics import c2st_mlp, median_distance, mmd_squared
from benchmark.timing import Timing, take_turns
from tasks.seeding import generator

SIZE, QUICK_SIZE = 10_000, 1000
DIMENSIONS = 4


def rows(quick: bool) -> list[Timing]:
    """Time the metrics of a cell's samples, held to MMD²."""
    n = QUICK_SIZE if quick else SIZE
    random = generator(1)
    sample, reference = (torch.randn(n, DIMENSIONS, generator=random, dtype=torch.float64) for _ in range(2))
    reference = 1.1 * reference
    contestants = {
        "MMD² and its standard error": lambda: mmd_squared(sample, reference, 2.0),
        "the median distance": lambda: median_distance(reference),
        "C2ST, five folds": lambda: c2st_mlp(sample, reference, 1),
    }
    taken = take_turns(contestants, 1)
    first = next(iter(taken.values()))
    size = f"of {n:,} samples in {DIMENSIONS} dimensions"
    return [Timing(f"{name} {size}", seconds, seconds / first) for name, seconds in taken.items()]
