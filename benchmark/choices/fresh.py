"""The loss of trained score models on fresh simulations, by which defaults are chosen.

Training simulations and fresh ones have seeds of their own, so that no default is chosen on the simulations,
or for the observations, of a released result.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ...methods.score import targets
from ...methods.score.gates.gate import Gate
from ...methods.score.schedule import alpha_sigma
from ...methods.score.score_matching import ScoreMatching
from ...methods.score.trainer import ScoreModel
from ...methods.score.training_data import TrainingData, every_row
from ...tasks import get_task
from ...tasks.errors import UserError
from ...tasks.plugin import nearest
from ...tasks.seeding import derive_seed, generator
from ...tasks.simulations import Simulations
from ...tasks.task import Task

FRESH = 4000
BUDGETS, REPLICATES = (1000, 10_000), 3


def chosen_task(label: str, tasks: Sequence[tuple[str, Mapping[str, Any]]]) -> Task:
    """Return the task with this label among names and options.

    Raises:
        UserError: there is no such task.
    """
    made = {task.label: task for task in (get_task(name, **options) for name, options in tasks)}
    if label not in made:
        raise UserError(f"there is no task {label!r} in this measurement: {nearest(label, list(made))}")
    return made[label]


def training_simulations(task: Task, budget: int, replicates: int) -> tuple[list[Simulations], list[int]]:
    """Return the training simulations and the seed of the fit of each replicate."""
    simulations = [task.simulate(budget, derive_seed("choices", "train", r)) for r in range(replicates)]
    return simulations, [derive_seed("choices", "fit", r) for r in range(replicates)]


def fresh_data(task: Task, method: ScoreMatching, replicates: int) -> TrainingData:
    """Return 4,000 fresh simulations, the same for every replicate."""
    return method.training_data([task.simulate(FRESH, derive_seed("choices", "fresh"))] * replicates)


@torch.no_grad()
def fresh_loss(method: ScoreMatching, model: ScoreModel, gate: Gate, data: TrainingData) -> Tensor:
    """Return the mean of the method's own loss λ(t) ‖s − y‖²/d for each replicate (R,).

    Each simulation has one t, stratified, and one ε: the same for every replicate, method and model. The loss
    of DSM estimates the same quantity, up to a constant, whatever summary of x the model sees.

    Args:
        method: whose target y and loss weight λ are used.
        model, gate: of R replicates, on the CPU.
        data: as the model takes them, with summaries in place of x if there are any.
    """
    replicates, n, d = data.u.shape
    random = [generator(derive_seed("choices", "noise")) for _ in range(replicates)]
    _, t, eps = every_row(0, n, 1, d, random)
    alpha, sigma = alpha_sigma(t)
    u_t, y = alpha * data.u + sigma * eps, targets.dsm(eps, sigma)
    if data.score is not None:
        y = gate.mix(y, targets.from_score(data.score, alpha), u_t, data.x, t)
    error = (model(u_t, data.x, t) - y).square()
    return (method.loss_weight(gate, alpha, sigma) * error).mean((1, 2))


def write(rows: Sequence[Mapping[str, Any]], out: Path | None) -> None:
    """Write rows as CSV to a file, or to the standard output."""
    pd.DataFrame(rows).to_csv(sys.stdout if out is None else out, index=False)
