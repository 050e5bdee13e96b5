"""graybench: a benchmark suite for simulation-based inference with simulators that report joint scores.

    from graybench import get_method, get_task

    task = get_task("galton")
    posterior = get_method("mix").fit(task.simulate(1000, seed=0), seed=0)
    samples = posterior.sample(500, task.observations().x, seed=0)  # of u, (observations, 500, d)

A name is imported when it is first asked for, so that `import graybench` takes milliseconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .methods import get_method, load_posterior
    from .methods.method import Method, Posterior, PosteriorState
    from .methods.score.schedule import alpha_sigma_at
    from .tasks import get_task
    from .tasks.errors import UserError
    from .tasks.importance import importance_reference
    from .tasks.likelihood import LikelihoodTask
    from .tasks.prior import CorrelatedNormal, LogNormal, Normal, Prior, Uniform
    from .tasks.pyro.model import PyroTask
    from .tasks.reference import GaussianReference, GridReference, MixtureReference, Reference
    from .tasks.sampled_reference import SampledReference
    from .tasks.sde.diffusion_task import DiffusionTask
    from .tasks.sde.sde import SDE, DiagonalCoefficients, TimeGrid
    from .tasks.seeding import derive_seed, generator
    from .tasks.simulations import Simulations
    from .tasks.structure import Field, Items, Series, Structure, Vector
    from .tasks.task import Outcome, Task

__all__ = [
    "SDE",
    "CorrelatedNormal",
    "DiagonalCoefficients",
    "DiffusionTask",
    "Field",
    "GaussianReference",
    "GridReference",
    "Items",
    "LikelihoodTask",
    "LogNormal",
    "Method",
    "MixtureReference",
    "Normal",
    "Outcome",
    "Posterior",
    "PosteriorState",
    "Prior",
    "PyroTask",
    "Reference",
    "SampledReference",
    "Series",
    "Simulations",
    "Structure",
    "Task",
    "TimeGrid",
    "Uniform",
    "UserError",
    "Vector",
    "alpha_sigma_at",
    "derive_seed",
    "generator",
    "get_method",
    "get_task",
    "importance_reference",
    "load_posterior",
]

_MODULES = {
    "methods": ("get_method", "load_posterior"),
    "methods.method": ("Method", "Posterior", "PosteriorState"),
    "methods.score.schedule": ("alpha_sigma_at",),
    "tasks": ("get_task",),
    "tasks.errors": ("UserError",),
    "tasks.importance": ("importance_reference",),
    "tasks.likelihood": ("LikelihoodTask",),
    "tasks.prior": ("CorrelatedNormal", "LogNormal", "Normal", "Prior", "Uniform"),
    "tasks.pyro.model": ("PyroTask",),
    "tasks.reference": ("GaussianReference", "GridReference", "MixtureReference", "Reference"),
    "tasks.sampled_reference": ("SampledReference",),
    "tasks.sde.diffusion_task": ("DiffusionTask",),
    "tasks.sde.sde": ("SDE", "DiagonalCoefficients", "TimeGrid"),
    "tasks.seeding": ("derive_seed", "generator"),
    "tasks.structure": ("Field", "Items", "Series", "Structure", "Vector"),
    "tasks.task": ("Outcome", "Simulations", "Task"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
