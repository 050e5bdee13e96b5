"""Which gates there are, from the simplest to the richest, and which to take: `auto`.

Every candidate, DSM among them, is fitted on four fifths of the budget's simulations and judged on the fifth that
it has not seen, five times over, by its cost σ² E‖y_W‖²/d (`methods.gate_cost`), all at the same t and ε. Of the
candidates within one standard error of the least cost, the simplest is taken, the standard error being that of
the paired difference over simulations. The gain is DSM's cost less that of the gate chosen: what it takes from the
target variance, in units of DSM's E‖y‖². The least of eight costs is somewhat too low, and the gain, where it is
near its standard error, somewhat too high.

A learned w(t) is no candidate: it is trained with the score, and the least that it can cost is what w* costs.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from methods.gate_cost import cost, every_row
from methods.gates import ConstantWeight, Gate, LearnedWeight, OptimalWeight
from methods.moments import FOLDS
from methods.state_gates import ConditionalWeight, StateWeight
from methods.training_data import TrainingData
from tasks.seeding import derive_seed, generator

AUTO = "auto"
HELD_OUT_DRAWS = 32_000

Streams = Sequence[torch.Generator]


class Choice(NamedTuple):
    """The gate that a replicate chose, and the cost it takes from DSM's, with a standard error."""

    gate: str
    gain: float
    stderr: float


def _conditional(start: Callable[[Tensor], OptimalWeight]) -> Callable[[TrainingData, Tensor, Streams], Gate]:
    return lambda data, score, streams: ConditionalWeight(start(score), data.x, streams)


def _learned(from_half: bool) -> Callable[[TrainingData, Tensor, Streams], Gate]:
    return lambda data, score, streams: LearnedWeight(
        OptimalWeight.scalar(score), from_half=from_half, generators=streams
    )


CANDIDATES: dict[str, Callable[[TrainingData, Tensor, Streams], Gate]] = {
    "dsm": lambda data, score, streams: ConstantWeight(1.0, torch.zeros(len(score))),
    "scalar": lambda data, score, streams: OptimalWeight.scalar(score),
    "diagonal": lambda data, score, streams: OptimalWeight.diagonal(score),
    "matrix": lambda data, score, streams: OptimalWeight.matrix(score),
    "conditional_scalar": _conditional(OptimalWeight.scalar),
    "conditional_diagonal": _conditional(OptimalWeight.diagonal),
    "conditional_matrix": _conditional(OptimalWeight.matrix),
    "state": lambda data, score, streams: StateWeight(OptimalWeight.matrix(score), data.u, data.x, streams),
}
GATES = {**CANDIDATES, "learned": _learned(from_half=True), "learned_from_optimal": _learned(from_half=False)}


def make_gate(name: str, data: TrainingData, seeds: Sequence[int]) -> Gate:
    """Make a gate for R replicates at its closed form; `Gate.fit` then fits what that leaves open."""
    assert data.score is not None
    return GATES[name](data, data.score, [generator(derive_seed(seed, "gate")) for seed in seeds])


def choose(data: TrainingData, seeds: Sequence[int]) -> list[Choice]:
    """Choose the gate of each replicate; see the module. With fewer than two simulations a fold, DSM."""
    if data.u.shape[1] < 2 * FOLDS:
        return [Choice("dsm", 0.0, float("nan"))] * len(seeds)
    costs = {name: held_out_costs(name, data, seeds) for name in CANDIDATES}
    return [_choose({name: own[r] for name, own in costs.items()}) for r in range(len(seeds))]


def held_out_costs(name: str, data: TrainingData, seeds: Sequence[int]) -> Tensor:
    """Give the cost of each simulation under the gate that was fitted without it, (R, n − n mod 5)."""
    replicates, n, d = data.u.shape
    held = n // FOLDS
    order = torch.stack([torch.arange(n).roll(-held * (k + 1)) for k in range(FOLDS)])
    assert data.score is not None
    each = (tensor.repeat_interleave(FOLDS, 0) for tensor in (data.u, data.x, data.score))
    folds = TrainingData(*each).rows(order.repeat(replicates, 1))
    assert folds.score is not None
    fold_seeds = [derive_seed(seed, "fold", k) for seed in seeds for k in range(FOLDS)]
    seen = TrainingData(*(tensor[:, :-held] for tensor in (folds.u, folds.x, folds.score)))
    gate = make_gate(name, seen, fold_seeds)
    gate.fit(seen, fold_seeds)
    repeats = max(1, HELD_OUT_DRAWS // n)
    streams = [generator(derive_seed(seed, "fold held out")) for seed in fold_seeds]
    with torch.no_grad():
        costs = cost(gate, folds, every_row(n - held, n, repeats, d, streams))
    return costs.view(replicates, FOLDS, repeats, held).mean(2).flatten(1)


def _choose(costs: dict[str, Tensor]) -> Choice:
    """Apply the one-standard-error rule to the costs of one replicate, (n,) for each candidate."""
    best = min(costs, key=lambda name: _or_infinity(costs[name].mean()))
    for name, own in costs.items():
        excess, stderr = _mean(own - costs[best])
        if excess <= stderr:
            gain = _mean(costs["dsm"] - own)
            return Choice(name, *gain)
    raise AssertionError("the best candidate is within its own standard error")


def _mean(values: Tensor) -> tuple[float, float]:
    values = values.double()
    return float(values.mean()), float(values.std() / len(values) ** 0.5)


def _or_infinity(value: Tensor) -> float:
    return float(torch.nan_to_num(value, nan=torch.inf))
