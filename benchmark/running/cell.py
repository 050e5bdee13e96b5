"""A cell of a sweep, (task, method, budget) with all its replicates, and the hash that names it."""

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from ...methods.method import Method
from ...tasks.plugin import Plugin
from ...tasks.task import Task
from ..metrics.catalogue import METRICS


@dataclass(frozen=True)
class Cell:
    """The unit of work, of storage and of resuming.

    Attributes:
        task: where simulations come from.
        method: what is fitted to them.
        budget: number of simulations of each replicate.
        replicates: number of independent training sets.
        metrics: names in `benchmark.metrics.catalogue.METRICS`.
        posterior_samples: number of samples for each replicate and observation.
        observations: use the first that many of the task's observations; None for all.
        root_seed: the seed that all random streams of the sweep derive from.
        timeout: seconds after which the cell is given up; None for never.
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

    @cached_property
    def id(self) -> str:
        """The first 16 hex digits of SHA-256 of all that the result depends on, source and data included.

        The timeout is no part of it. The id is pickled with the cell once it is known, so a worker reports
        the id by which the client asked.
        """
        parameters = {
            "task": _identity(self.task, self.task.data_digest()),
            "method": _identity(self.method),
            "budget": self.budget,
            "replicates": self.replicates,
            "metrics": {name: METRICS[name].version for name in self.metrics},
            "posterior_samples": self.posterior_samples,
            "observations": self.observations,
            "root_seed": self.root_seed,
        }
        canonical = json.dumps(parameters, sort_keys=True, separators=(",", ":"), default=repr)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        """What people call the cell: `galton · mix(gate=learned) · budget 1,000`."""
        return f"{self.task.label} · {self.method.label} · budget {self.budget:,}"


def _identity(plugin: Plugin, data: str = "") -> dict[str, Any]:
    cls = type(plugin)
    return {
        "class": f"{cls.__module__}:{cls.__qualname__}",
        "name": plugin.name,
        "version": plugin.version,
        "options": plugin.options(),
        "source": source_of(cls.__module__) + data,
    }


@cache
def source_of(module: str) -> str:
    """Give the SHA-256 of the source of a plug-in's module and of the project modules behind it.

    Followed are the imports written in the source, anywhere in it, to modules of the plug-in's own top-level
    package and of `tasks` and `methods`, and from there on. The `__init__` of packages are left out: they
    hold registries, and a new entry there changes no result.
    """
    packages = {module.partition(".")[0], "graybench"}
    sources: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in sources and name.partition(".")[0] in packages:
            source = _source(name)
            if source is not None:
                sources[name] = source
                waiting.extend(_imports(name, source))
    return hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()


def _source(module: str) -> str | None:
    """Read the source of a module; None for packages, names inside modules, and compiled modules."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.submodule_search_locations is not None or not str(spec.origin).endswith(".py"):
        return None
    return Path(str(spec.origin)).read_text()


def _imports(module: str, source: str) -> Iterator[str]:
    """Yield every name that could be a module in the import statements of `source`."""
    package = module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
