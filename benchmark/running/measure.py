"""Measure one cell: simulate, fit all replicates, sample at all observations, and compute the metrics."""

import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from ...methods.method import Posterior
from ...methods.progress import report
from ...tasks.errors import NotFiniteError, UserError
from ...tasks.seeding import derive_seed
from ...tasks.simulations import Simulations
from ...tasks.task import Task
from ..metrics.catalogue import METRICS
from ..metrics.fitted import DoesNotApplyError, Fitted, Row
from ..metrics.truth import truth_of
from .cell import Cell
from .kept import kept_of, nothing
from .rows import failure_rows, frame


class Measured(NamedTuple):
    """What a cell gave: its rows, with the columns of `rows.COLUMNS`, and what it keeps, see `kept`."""

    rows: pd.DataFrame
    kept: pd.DataFrame


def run_cell(cell: Cell) -> Measured:
    """Run a cell.

    Nothing is raised: an error of task or method becomes rows with a status and a reason.
    """
    missing = cell.method.requires - cell.task.capabilities
    if missing:
        reason = f"{cell.method.name} requires {' and '.join(sorted(missing))}"
        return without(cell, "skipped", f"{reason}, which {cell.task.label} does not provide")
    if cell.budget_in_items and cell.n_simulations < (least := cell.method.least_simulations):
        reason = f"{cell.budget:,} items are {cell.n_simulations} simulations of {cell.training_task.label}"
        return without(cell, "skipped", f"{reason}, but {cell.method.name} needs {least} or more")
    try:
        simulations = training_simulations(cell)
        fitted, costs = _fit(cell, simulations)
        rows = frame(cell, [{**costs, **row} for row in _measure(cell, fitted)])
        return Measured(rows, kept_of(cell, fitted))
    except NotFiniteError as error:
        return without(cell, "not_finite", _one_line(error))
    except BaseException as error:  # any error of a plug-in is a result
        return without(cell, "failed", _reason(error))


def without(cell: Cell, status: str, reason: str) -> Measured:
    """Return what a cell without a result gave."""
    return Measured(failure_rows(cell, status, reason), nothing())


def training_simulations(cell: Cell) -> list[Simulations]:
    """Draw the training simulations of each replicate, with only the fields that the method requires.

    They depend on the root seed, the training task and the replicate alone, so all methods that learn from
    the same task get the same simulations.
    The simulations of a smaller budget are the first ones of a larger budget.

    Raises:
        NotFiniteError: a number is NaN or infinite.
    """
    drawn = []
    for replicate in range(cell.replicates):
        report("simulate", replicate, cell.replicates)
        seed = train_seed(cell.root_seed, cell.training_task, replicate)
        requires = cell.method.requires
        simulations = cell.training_task.simulate(
            cell.n_simulations,
            seed,
            marginal_score="marginal_score" in requires,
            joint_hessian="joint_hessian" in requires,
        )
        simulations.check_finite()
        drawn.append(simulations.only(requires))
    return drawn


def _fit(cell: Cell, simulations: list[Simulations]) -> tuple[Fitted, dict[str, Any]]:
    """Fit and sample all replicates; return the fits and the columns of their costs.

    Seconds cover all replicates. Numbers of simulations and of score calls are per replicate.
    """
    truth = truth_of(cell.task, cell.observations, cell.posterior_samples)
    x_o = truth.observations.x
    seeds = {stage: [_seed(cell, stage, r) for r in range(cell.replicates)] for stage in ("fit", "sample")}
    start = time.perf_counter()
    posteriors = cell.method.fit_replicates(simulations, seeds["fit"])
    fitted = time.perf_counter()
    if not all(isinstance(posterior, Posterior) for posterior in posteriors):
        raise TypeError(
            f"fit of {cell.method.label} must return a Posterior, not {type(posteriors[0]).__name__}"
        )
    samples = cell.method.sample_replicates(posteriors, cell.posterior_samples, x_o, seeds["sample"])
    sampled = time.perf_counter()
    _check_shape(cell, samples, len(x_o))
    costs = {
        "n_simulations": cell.n_simulations,
        "n_score_calls": cell.n_simulations
        if cell.method.requires & {"joint_score", "marginal_score"}
        else 0,
        "n_network_evaluations": posteriors[0].evaluations(x_o),
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
        except BaseException as error:  # the other metrics are still computed
            rows = [{"status": "failed", "reason": _reason(error)}]
        yield from ({"metric": name, **row} for row in rows)


def _one_line(error: BaseException) -> str:
    """Return the first line of an error's message that is not empty."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")


def _reason(error: BaseException) -> str:
    """Return one line that says what went wrong.

    A `UserError` is its own sentence. Any other error gets its type and its place: the innermost line outside
    installed libraries.
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
        raise ValueError(f"{cell.method.label} returned samples {tuple(samples.shape)}, not {expected}")


def train_seed(root_seed: int, task: Task, replicate: int) -> int:
    """Return the seed of a replicate's training simulations, the same for every method and budget."""
    return derive_seed(root_seed, "train", task.label, replicate)


def _seed(cell: Cell, stage: str, replicate: int) -> int:
    return derive_seed(cell.root_seed, stage, cell.training_task.label, replicate)
