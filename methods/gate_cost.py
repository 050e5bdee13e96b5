"""How gates are judged: σ² E‖y_W‖²/d with t uniform, on simulations that the gate has not seen.

All mixtures are unbiased for the score, so E‖y_W − s‖² = E‖y_W‖² − E‖s‖² for any gate that depends on u_t,
x and t, and E‖s‖² is the same for all gates: no score is needed. DSM's cost is 1 at every t. The weight σ² is
the one with which score errors are averaged over t.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from methods import targets
from methods.gates import Gate
from methods.schedule import T_MIN, alpha_sigma
from methods.training_data import TrainingData


class Draws(NamedTuple):
    """Row numbers (R, n), diffusion times t (R, n, 1) and noise ε (R, n, d)."""

    rows: Tensor
    t: Tensor
    eps: Tensor


def minibatch(rows: int, last: int, d: int, generators: Sequence[torch.Generator]) -> Draws:
    """Draw row numbers below `last`, t stratified over the minibatch, and ε."""
    index = torch.stack([torch.randint(last, (rows,), generator=g) for g in generators])
    return Draws(index, *_noise(rows, d, generators))


def every_row(first: int, last: int, repeats: int, d: int, generators: Sequence[torch.Generator]) -> Draws:
    """Take rows first..last as many times as asked for, each time with t and ε of its own."""
    index = torch.arange(first, last).repeat(repeats)
    t, eps = _noise(len(index), d, generators)
    shuffle = torch.stack([torch.randperm(len(index), generator=g) for g in generators])
    t = t.gather(1, shuffle.unsqueeze(-1))  # the strata of t must not follow the rows
    return Draws(index.expand(len(generators), -1), t, eps)


def cost(gate: Gate, data: TrainingData, draws: Draws) -> Tensor:
    """Give σ² ‖y_W‖²/d of every draw, (R, n)."""
    drawn, (alpha, sigma) = data.rows(draws.rows), alpha_sigma(draws.t)
    assert drawn.score is not None
    y_dsm, y_score = targets.dsm(draws.eps, sigma), targets.from_score(drawn.score, alpha)
    y = gate.mix(y_dsm, y_score, alpha * drawn.u + sigma * draws.eps, drawn.x, draws.t)
    return (sigma * y).square().mean(-1)


def _noise(rows: int, d: int, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
    shift = torch.stack([torch.rand(rows, generator=g) for g in generators])
    eps = torch.stack([torch.randn(rows, d, generator=g) for g in generators])
    t = T_MIN + (1 - T_MIN) * (torch.arange(rows) + shift) / rows
    return t.unsqueeze(-1), eps
