"""A cell of a sweep, (task, method, budget) with all its replicates, and the hash that identifies it."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...methods.method import Method
from ...tasks.files import name_without_folder
from ...tasks.plugin import Plugin
from ...tasks.registry import modules_behind
from ...tasks.task import Task
from ..metrics.catalogue import METRICS
from .source import digest_of, source_of

MEASURE = f"{__package__}.measure"  # simulates, fits, samples and asks the metrics
KEPT = f"{__package__}.kept"  # what is kept besides


@dataclass(frozen=True)
class Cell:
    """A cell: the unit of work, of storage and of resuming.

    Attributes:
        task: the simulator.
        method: what is fitted to the simulations.
        budget: number of simulations, or of items, for each replicate.
        replicates: number of independent training sets.
        metrics: names in `METRICS`.
        posterior_samples: number of samples for each replicate and observation.
        observations: number of the task's observations to use, the first ones; None for all.
        root_seed: the seed from which all random streams of the sweep derive.
        timeout: seconds after which the cell is given up; None for never.
        budget_in_items: whether the budget counts items, of which a simulation of the task has several.
        keep_samples: number of posterior draws that are kept, see `kept`.
    """

    task: Task
    method: Method
    budget: int
    replicates: int
    metrics: tuple[str, ...]
    posterior_samples: int
    observations: int | None
    root_seed: int
    timeout: float | None
    budget_in_items: bool = False
    keep_samples: int = 0

    @property
    def training_task(self) -> Task:
        """The task that the method learns from: for a method that composes items, the task with one item."""
        if self.budget_in_items and self.method.composes:
            return self.task.with_items(1)
        return self.task

    @property
    def n_simulations(self) -> int:
        """The number of simulations of `training_task` for each replicate: as many as the budget pays."""
        return self.budget // self.training_task.n_items if self.budget_in_items else self.budget

    @cached_property
    def id(self) -> str:
        """The first 16 hex digits of the SHA-256 of everything that can change the result.

        This includes the source of task, method and metrics, and the task's data, but not the timeout.
        Metrics have no version numbers, because an edit that changes values may forget to raise one; a stored
        value would then be reported under a new definition.

        The id is pickled with the cell once it is known, so a worker reports the client's id.
        """
        parameters = {
            "task": _identity(self.task, self.task.data_digest()),
            "method": _identity(self.method),
            "budget": self.budget,
            "replicates": self.replicates,
            "metrics": {name: source_of(METRICS[name].module) for name in self.metrics},
            "measure": digest_of(MEASURE),
            "posterior_samples": self.posterior_samples,
            "observations": self.observations,
            "root_seed": self.root_seed,
        }
        if self.budget_in_items:
            parameters["budget_in_items"] = True
        if self.keep_samples:
            parameters["kept"] = [self.keep_samples, digest_of(KEPT)]
        canonical = json.dumps(parameters, sort_keys=True, separators=(",", ":"), default=repr)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        """The name of the cell for people: `galton · mix(gate=learned) · budget 1,000`."""
        unit = " items" if self.budget_in_items else ""
        return f"{self.task.label} · {self.method.label} · budget {self.budget:,}{unit}"


def _identity(plugin: Plugin, data: str = "") -> dict[str, Any]:
    cls = type(plugin)
    return {
        "class": f"{name_without_folder(cls.__module__)}:{cls.__qualname__}",
        "name": plugin.name,
        "version": plugin.version,
        "options": plugin.options(),
        "source": source_of(*sorted(modules_behind(plugin))) + data,
    }
