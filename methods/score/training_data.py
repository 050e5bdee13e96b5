"""The simulations of R replicates as tensors, and what a fit draws of them: rows, diffusion times and noise.

Each replicate draws from its own generator, on the CPU. Diffusion times are stratified over a step's rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .schedule import T_MIN


@dataclass(frozen=True)
class TrainingData:
    """Simulations of R replicates: u (R, n, d), x (R, n, dim_x), and the scores that the target uses."""

    u: Tensor
    x: Tensor
    score: Tensor | None

    def to(self, device: str) -> "TrainingData":
        """Move the tensors to a device."""
        score = None if self.score is None else self.score.to(device)
        return TrainingData(self.u.to(device), self.x.to(device), score)

    def rows(self, index: Tensor) -> "TrainingData":
        """Gather rows (..., R, B) of each replicate: tensors (..., R, B, features)."""
        replicate = torch.arange(len(self.u), device=self.u.device).unsqueeze(1)
        score = None if self.score is None else self.score[replicate, index]
        return TrainingData(self.u[replicate, index], self.x[replicate, index], score)


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
    """Return t, (steps, R, rows, 1), and ε, (steps, R, rows, d)."""
    shift = torch.stack([torch.rand(steps, rows, generator=g) for g in generators], 1)
    eps = torch.stack([torch.randn(steps, rows, d, generator=g) for g in generators], 1)
    strata = (torch.arange(rows) + shift) / rows
    return (T_MIN + (1 - T_MIN) * strata).unsqueeze(-1), eps
