"""Measure one cell: simulate, fit all replicates, sample all observations, and evaluate the metrics.

The training simulations of a replicate come from (root seed, task, replicate) alone: methods are compared on
the same simulations, and a budget of 100 is the first 100 of the budget of 1,000. A method gets the fields
that it requires and no others. What goes wrong becomes rows with a status and a reason.
"""

import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ...methods.method import Posterior
from ...methods.progress import report
from ...tasks.errors import NotFiniteError, UserError
from ...tasks.seeding import derive_seed
from ...tasks.task import Simulations, Task
from ..metrics.catalogue import METRICS
from ..metrics.metric import DoesNotApplyError, Fitted, Row
from ..metrics.truth import truth_of
from .cell import Cell
from .rows import failure_rows, frame


def run_cell(cell: Cell) -> pd.DataFrame:
    """Run a cell and return its rows in the long tidy form; nothing is raised for what task or method do."""
    missing = cell.method.requires - cell.task.capabilities
    if missing:
        reason = f"{cell.method.name} requires {' and '.join(sorted(missing))}"
        return failure_rows(cell, "skipped", f"{reason}, which {cell.task.label} does not provide")
    try:
        simulations = training_simulations(cell)
        fitted, costs = _fit(cell, simulations)
        return frame(cell, [{**costs, **row} for row in _measure(cell, fitted)])
    except NotFiniteError as error:
        return failure_rows(cell, "not_finite", _one_line(error))
    except BaseException as error:  # whatever a plug-in raises is a result about the plug-in
        return failure_rows(cell, "failed", _reason(error))


def training_simulations(cell: Cell) -> list[Simulations]:
    """Draw the training simulations of every replicate, with the fields that the method requires."""
    drawn = []
    for replicate in range(cell.replicates):
        report("simulate", replicate, cell.replicates)
        seed = train_seed(cell.root_seed, cell.task, replicate)
        exact = "marginal_score" in cell.method.requires
        simulations = cell.task.simulate(cell.budget, seed, marginal_score=exact)
        simulations.check_finite()
        drawn.append(simulations.only(cell.method.requires))
    return drawn


def _fit(cell: Cell, simulations: list[Simulations]) -> tuple[Fitted, dict[str, Any]]:
    """Fit and sample; the costs are those of all replicates together, and simulations are counted for one."""
    truth = truth_of(cell.task, cell.observations, cell.posterior_samples)
    x_o = truth.observations.x
    seeds = {stage: [_seed(cell, stage, r) for r in range(cell.replicates)] for stage in ("fit", "sample")}
    start = time.perf_counter()
    posteriors = cell.method.fit_replicates(simulations, seeds["fit"])
    fitted = time.perf_counter()
    if not all(isinstance(posterior, Posterior) for posterior in posteriors):
        raise TypeError(
            f"fit of {cell.method.label} must give a Posterior, not {type(posteriors[0]).__name__}"
        )
    samples = cell.method.sample_replicates(posteriors, cell.posterior_samples, x_o, seeds["sample"])
    sampled = time.perf_counter()
    _check_shape(cell, samples, len(x_o))
    costs = {
        "n_simulations": cell.budget,
        "n_score_calls": cell.budget if cell.method.requires & {"joint_score", "marginal_score"} else 0,
        "n_network_evaluations": posteriors[0].network_evaluations,
        "fit_seconds": fitted - start,
        "sample_seconds": sampled - fitted,
        "device": posteriors[0].device,
    }
    theta = cell.task.prior.to_theta(samples.to("cpu", torch.float64))
    return Fitted(truth, simulations, posteriors, theta), costs


def _measure(cell: Cell, fitted: Fitted) -> Iterator[Row]:
    for done, name in enumerate(cell.metrics):
        report("measure", done, len(cell.metrics))
        metric = METRICS[name]
        missing = metric.needs - cell.task.capabilities
        if missing:
            reason = f"{cell.task.label} has no {' and no '.join(sorted(missing))}"
            yield {"metric": name, "status": "skipped", "reason": reason}
            continue
        try:
            rows = list(metric.compute(fitted))
        except DoesNotApplyError as error:
            rows = [{"status": "skipped", "reason": str(error)}]
        except NotFiniteError as error:
            rows = [{"status": "not_finite", "reason": _one_line(error)}]
        except BaseException as error:  # one that fails must not take the others with it
            rows = [{"status": "failed", "reason": _reason(error)}]
        yield from ({"metric": name, **row} for row in rows)


def _one_line(error: BaseException) -> str:
    """Return the first line of an error's message that is not empty."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")


def _reason(error: BaseException) -> str:
    """Say in one line what went wrong: a sentence for users as it is, another error with its name and place.

    The place is the innermost line that is in no installed library.
    """
    if isinstance(error, UserError):
        return _one_line(error)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
    said = f": {line}" if (line := _one_line(error)) else ""
    return f"{type(error).__name__}{said}{place}"


def _check_shape(cell: Cell, samples: Tensor, n_observations: int) -> None:
    expected = (cell.replicates, n_observations, cell.posterior_samples, cell.task.dim_theta)
    if tuple(samples.shape) != expected:
        raise ValueError(f"{cell.method.label} gave samples of shape {tuple(samples.shape)}, not {expected}")


def train_seed(root_seed: int, task: Task, replicate: int) -> int:
    """Return the seed of a replicate's training simulations, the same for every method and budget."""
    return derive_seed(root_seed, "train", task.label, replicate)


def _seed(cell: Cell, stage: str, replicate: int) -> int:
    return derive_seed(cell.root_seed, stage, cell.task.label, replicate)
