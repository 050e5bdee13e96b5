"""Simulators, priors and reference posteriors."""

from typing import Any

from tasks.plugin import Registry
from tasks.task import Task

REGISTRY: Registry[Task] = Registry(
    kind="task",
    base=Task,  # type: ignore[type-abstract]
    table={
        "galton": "tasks.galton:Galton",
        "gaussian_mixture": "tasks.gaussian_mixture:GaussianMixture",
        "linear_gaussian": "tasks.linear_gaussian:LinearGaussian",
    },
    group="graybench.tasks",
)


def get_task(name: str, /, **options: Any) -> Task:
    """Make the task `name`, a registered name or `module:Class`, with its options.

    Raises:
        UserError: there is no such task or option; the message gives the nearest names.
    """
    return REGISTRY.get(name, **options)
