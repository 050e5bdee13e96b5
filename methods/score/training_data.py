"""The simulations of R replicates as tensors, and the draws of a fit: rows, diffusion times and noise.

Each replicate draws from its own generator, on the CPU. Diffusion times are stratified over the rows of a
step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .schedule import T_MIN


@dataclass(frozen=True)
class TrainingData:
    """The simulations of R replicates.

    Attributes:
        u: parameters (R, n, d).
        x: data (R, n, dim_x).
        score: the scores (R, n, d) that the target uses; None for DSM.
        hessian: −∇_u g (R, n, d, d) for gates that use it.
    """

    u: Tensor
    x: Tensor
    score: Tensor | None
    hessian: Tensor | None = None

    def to(self, device: str) -> "TrainingData":
        """Return the data with their tensors on a device."""
        return self._each(lambda values: values.to(device))

    def replicates(self, index: list[int]) -> "TrainingData":
        """Return the replicates `index`."""
        return self._each(lambda values: values[index])

    def rows(self, index: Tensor) -> "TrainingData":
        """Return the rows `index` (..., R, B) of each replicate, as tensors (..., R, B, features)."""
        replicates, n = self.u.shape[:2]
        flat = index + n * torch.arange(replicates, device=index.device).unsqueeze(1)

        def taken(values: Tensor) -> Tensor:
            found = nn.functional.embedding(flat, values.flatten(2).flatten(0, 1))  # the fastest look-up
            return found.unflatten(-1, values.shape[2:])

        return self._each(taken)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "TrainingData":
        """Return the data with a function applied to every tensor."""
        optional = (None if values is None else change(values) for values in (self.score, self.hessian))
        return TrainingData(change(self.u), change(self.x), *optional)


class Draws(NamedTuple):
    """Draws of a fit.

    Attributes:
        rows: row numbers (..., R, n).
        t: diffusion times (..., R, n, 1).
        eps: noise ε (..., R, n, d).
    """

    rows: Tensor
    t: Tensor
    eps: Tensor

    def to(self, device: torch.device) -> "Draws":
        """Return the draws with their tensors on a device."""
        return Draws(*(tensor.to(device) for tensor in self))


def minibatches(
    steps: int, rows: int, first: int, last: int, d: int, generators: Sequence[torch.Generator]
) -> Draws:
    """Draw minibatches from rows first to last − 1 with replacement, with t stratified over each step.

    Returns:
        Draws of shape (steps, R, rows, ...).
    """
    index = [torch.randint(first, last, (steps, rows), generator=g) for g in generators]
    return Draws(torch.stack(index, 1), *_noise(steps, rows, d, generators))


def every_row(first: int, last: int, repeats: int, d: int, generators: Sequence[torch.Generator]) -> Draws:
    """Return rows first to last − 1, `repeats` times, each time with new t and ε.

    Returns:
        Draws of shape (R, repeats * (last − first), ...).
    """
    index = torch.arange(first, last).repeat(repeats)
    t, eps = (drawn[0] for drawn in _noise(1, len(index), d, generators))
    shuffle = torch.stack([torch.randperm(len(index), generator=g) for g in generators])
    t = t.gather(1, shuffle.unsqueeze(-1))  # the strata of t must not follow the rows
    return Draws(index.expand(len(generators), -1), t, eps)


def _noise(steps: int, rows: int, d: int, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
    """Draw t (steps, R, rows, 1) and ε (steps, R, rows, d)."""
    shift = torch.stack([torch.rand(steps, rows, generator=g) for g in generators], 1)
    eps = torch.stack([torch.randn(steps, rows, d, generator=g) for g in generators], 1)
    strata = (torch.arange(rows) + shift) / rows
    return (T_MIN + (1 - T_MIN) * strata).unsqueeze(-1), eps
