"""Times of metrics of large samples: MMD² and the median distance in parts or at once, and C2ST."""

import torch
from torch import Tensor

from ...tasks.seeding import generator
from ..metrics.c2st import c2st_ensemble, c2st_mlp
from ..metrics.mmd import median_distance, mmd_squared
from .timing import Timing, take_turns

SIZE, QUICK_SIZE = 10_000, 1000
DIMENSIONS, BANDWIDTH = 4, 2.0


def rows(quick: bool) -> list[Timing]:
    """Time the distances of two samples; ratios are to MMD²."""
    n, random = QUICK_SIZE if quick else SIZE, generator(1)
    sample, reference = (torch.randn(n, DIMENSIONS, generator=random, dtype=torch.float64) for _ in range(2))
    reference = 1.1 * reference
    contestants = {
        "MMD² and its standard error": lambda: mmd_squared(sample, reference, BANDWIDTH),
        "MMD² with whole matrices, no standard error": lambda: whole_matrices(sample, reference),
        "the median distance": lambda: median_distance(reference),
        "the median of all distances at once": lambda: torch.nn.functional.pdist(reference).median(),
        "C2ST, five folds": lambda: c2st_mlp(sample, reference, 1),
        "C2ST of the ensemble, five folds": lambda: c2st_ensemble(sample, reference, 1),
    }
    taken = take_turns(contestants, 1)
    first = next(iter(taken.values()))
    size = f"of {n:,} samples in {DIMENSIONS} dimensions"
    return [Timing(f"{name}, {size}", seconds, seconds / first) for name, seconds in taken.items()]


def whole_matrices(sample: Tensor, reference: Tensor) -> float:
    """Compute MMD² from three matrices of n² numbers."""
    n = len(sample)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.cdist(a, b).square_().div_(-2 * BANDWIDTH**2).exp_()

    h = kernel(sample, sample).add_(kernel(reference, reference)).sub_(2 * kernel(sample, reference))
    return float(h.fill_diagonal_(0).sum()) / (n * (n - 1))
