"""What a fit draws: rows of the simulations, diffusion times stratified over them, and noise.

Each replicate draws from its own generator, on the CPU.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .schedule import T_MIN


class Draws(NamedTuple):
    """Row numbers (..., R, n), diffusion times t (..., R, n, 1) and noise ε (..., R, n, d)."""

    rows: Tensor
    t: Tensor
    eps: Tensor

    def to(self, device: torch.device) -> "Draws":
        """Move the tensors to a device."""
        return Draws(*(tensor.to(device) for tensor in self))


def minibatches(
    steps: int, rows: int, first: int, last: int, d: int, generators: Sequence[torch.Generator]
) -> Draws:
    """Draw rows first..last with replacement, and t stratified over each step: (steps, R, rows, …)."""
    index = [torch.randint(first, last, (steps, rows), generator=g) for g in generators]
    return Draws(torch.stack(index, 1), *_noise(steps, rows, d, generators))


def every_row(first: int, last: int, repeats: int, d: int, generators: Sequence[torch.Generator]) -> Draws:
    """Take rows first..last as many times as asked for, each time with t and ε of its own: (R, rows, …)."""
    index = torch.arange(first, last).repeat(repeats)
    t, eps = (drawn[0] for drawn in _noise(1, len(index), d, generators))
    shuffle = torch.stack([torch.randperm(len(index), generator=g) for g in generators])
    t = t.gather(1, shuffle.unsqueeze(-1))  # the strata of t must not follow the rows
    return Draws(index.expand(len(generators), -1), t, eps)


def _noise(steps: int, rows: int, d: int, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
    """Give t, (steps, R, rows, 1), and ε, (steps, R, rows, d)."""
    shift = torch.stack([torch.rand(steps, rows, generator=g) for g in generators], 1)
    eps = torch.stack([torch.randn(steps, rows, d, generator=g) for g in generators], 1)
    strata = (torch.arange(rows) + shift) / rows
    return (T_MIN + (1 - T_MIN) * strata).unsqueeze(-1), eps
