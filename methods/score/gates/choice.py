"""The names of the gates, and `choose`, which selects a gate from the simulations for `gate=auto`.

Gates are listed from the simplest to the richest: `CLOSED` are closed forms, `FITTED` are fitted before the
score network is trained, and `TRAINED` are trained together with it. `OF_HESSIANS` need the Hessians of the
simulations as well as their scores.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ....tasks.seeding import derive_seed, generator
from ..training_data import TrainingData, every_row
from .gate import Gate, cost
from .moments import FOLDS
from .of_state import ConditionalHessianWeight, ConditionalWeight, StateHessianWeight, StateWeight
from .of_time import ConstantWeight, LearnedWeight, OptimalWeight

AUTO = "auto"
HELD_OUT_DRAWS = 32_000
ROUNDING = 1e-5  # float32 rounding of costs; DSM's cost is 1

Streams = Sequence[torch.Generator]
Builder = Callable[[TrainingData, Tensor, Streams], Gate]


class Choice(NamedTuple):
    """The gate that a replicate chose.

    Attributes:
        gate: a name in `GATES`.
        gain: DSM's cost minus the gate's cost, in units of E‖y_DSM‖²: the reduction of the target variance.
        stderr: standard error of the gain.
    """

    gate: str
    gain: float
    stderr: float


def _conditional(start: Callable[[Tensor], OptimalWeight]) -> Builder:
    return lambda data, score, streams: ConditionalWeight(start(score), data.x, streams)


def _hessian(data: TrainingData) -> OptimalWeight:
    assert data.hessian is not None
    return OptimalWeight.hessian(data.hessian)


def _learned(from_half: bool) -> Builder:
    return lambda data, score, streams: LearnedWeight(
        OptimalWeight.scalar(score), from_half=from_half, generators=streams
    )


CLOSED: dict[str, Builder] = {
    "dsm": lambda data, score, streams: ConstantWeight(1.0, torch.zeros(len(score))),
    "scalar": lambda data, score, streams: OptimalWeight.scalar(score),
    "diagonal": lambda data, score, streams: OptimalWeight.diagonal(score),
    "matrix": lambda data, score, streams: OptimalWeight.matrix(score),
}
FITTED: dict[str, Builder] = {
    "conditional_scalar": _conditional(OptimalWeight.scalar),
    "conditional_diagonal": _conditional(OptimalWeight.diagonal),
    "conditional_matrix": _conditional(OptimalWeight.matrix),
    "state": lambda data, score, streams: StateWeight(OptimalWeight.matrix(score), data.u, data.x, streams),
}
TRAINED: dict[str, Builder] = {
    "learned": _learned(from_half=True),
    "learned_from_optimal": _learned(from_half=False),
}
OF_HESSIANS: dict[str, Builder] = {
    "hessian": lambda data, score, streams: _hessian(data),
    "conditional_hessian": lambda data, score, streams: ConditionalHessianWeight(
        _hessian(data), data.x, streams
    ),
    "state_hessian": lambda data, score, streams: StateHessianWeight(_hessian(data), data.u, data.x, streams),
}
GATES = CLOSED | FITTED | TRAINED | OF_HESSIANS


def make_gate(name: str, data: TrainingData, seeds: Sequence[int]) -> Gate:
    """Return the gate `name` for R replicates, at its closed form.

    `Gate.fit` then fits what the closed form leaves open.

    Args:
        name: a name in `GATES`.
        data: the simulations of R replicates, with scores.
        seeds: one for each replicate.
    """
    assert data.score is not None
    return GATES[name](data, data.score, [generator(derive_seed(seed, "gate")) for seed in seeds])


def choose(data: TrainingData, seeds: Sequence[int]) -> list[Choice]:
    """Choose the gate of each replicate by its cost σ² E‖y_W‖²/d on held-out simulations, see `gate.cost`.

    All gates are judged at the same t and ε and compared in pairs: standard errors are of differences in cost
    over simulations.

    1. Each gate of `CLOSED`, which includes DSM, is fitted on four fifths of the simulations and judged on
       the rest, five times over. The candidate is the simplest gate within one standard error of the least
       cost.
    2. Each gate of `FITTED` is fitted on the first four fifths and judged on the last fifth. Gates that cost
       less than the candidate by more than one standard error remain. If any remain, the simplest of them
       within one standard error of the best is chosen, otherwise the candidate.

    Gates of `TRAINED` take no part: they are trained with the score, and w* has the least cost they can
    reach. Gates of `OF_HESSIANS` take no part either, because not every task has Hessians. With fewer than
    two simulations in a fifth, DSM is chosen.

    The least of several costs is biased low, so a gain near its standard error is too high on average.

    Args:
        data: the simulations of R replicates, with scores.
        seeds: one for each replicate.

    Returns:
        The choice of each replicate.
    """
    if data.u.shape[1] < 2 * FOLDS:
        return [Choice("dsm", 0.0, float("nan"))] * len(seeds)
    every, last = HeldOut(data, seeds, range(FOLDS)), HeldOut(data, seeds, [FOLDS - 1])
    closed = {name: every.costs(name) for name in CLOSED}
    fitted = {name: last.costs(name) for name in FITTED}
    return [
        _choose(
            {name: own[r] for name, own in closed.items()}, {name: own[r] for name, own in fitted.items()}
        )
        for r in range(len(seeds))
    ]


class HeldOut:
    """Folds of the simulations, each held out from the fit of a gate, with the t and ε to judge the gate at.

    The folds are fitted side by side, as replicates of one batch.

    Args:
        data: the simulations of R replicates, with scores.
        seeds: one for each replicate.
        folds: the numbers of the folds to hold out, below `FOLDS`.
    """

    def __init__(self, data: TrainingData, seeds: Sequence[int], folds: Sequence[int]) -> None:
        replicates, n, d = data.u.shape
        held, k = n // FOLDS, len(folds)
        order = torch.stack([torch.arange(n).roll(-held * (fold + 1)) for fold in folds])
        assert data.score is not None
        each = (tensor.repeat_interleave(k, 0) for tensor in (data.u, data.x, data.score))
        self.data = TrainingData(*each).rows(order.repeat(replicates, 1))
        assert self.data.score is not None
        fields = self.data.u, self.data.x, self.data.score
        self.seen = TrainingData(*(tensor[:, :-held] for tensor in fields))
        self.seeds = [derive_seed(seed, "fold", fold) for seed in seeds for fold in folds]
        repeats = max(1, HELD_OUT_DRAWS // n)
        streams = [generator(derive_seed(seed, "fold held out")) for seed in self.seeds]
        self.draws = every_row(n - held, n, repeats, d, streams)
        self.shape = replicates, k, repeats, held

    def costs(self, name: str) -> Tensor:
        """Return the cost of each simulation under the gate fitted without its fold (R, folds * (n // 5))."""
        gate = make_gate(name, self.seen, self.seeds)
        gate.fit(self.seen, self.seeds)
        with torch.no_grad():
            return cost(gate, self.data, self.draws).view(self.shape).mean(2).flatten(1)


def _choose(closed: dict[str, Tensor], fitted: dict[str, Tensor]) -> Choice:
    """Return the choice of one replicate, see `choose`.

    Args:
        closed: costs (n,) of the gates of `CLOSED`.
        fitted: costs of the gates of `FITTED` on the last of these simulations.
    """
    chosen = _simplest(closed)
    costs = closed[chosen]
    better = {
        name: own
        for name, own in fitted.items()
        if own.isfinite().all() and not _within(costs[-len(own) :], own)
    }
    if better:
        chosen = _simplest(better)
        costs = better[chosen]
    return Choice(chosen, *_mean(closed["dsm"][-len(costs) :] - costs))


def _simplest(costs: dict[str, Tensor]) -> str:
    """Return the first candidate within one standard error of the least mean cost."""
    best = min(costs, key=lambda name: float(costs[name].mean()))
    return next(name for name, own in costs.items() if _within(own, costs[best]))


def _within(costs: Tensor, best: Tensor) -> bool:
    """Return whether costs exceed `best` by at most one standard error, or by rounding."""
    excess, stderr = _mean(costs - best)
    return excess <= max(stderr, ROUNDING)


def _mean(values: Tensor) -> tuple[float, float]:
    values = values.double()
    return float(values.mean()), float(values.std() / len(values) ** 0.5)
