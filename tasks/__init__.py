"""Simulators, priors and reference posteriors."""

from typing import Any

from tasks.plugin import Registry
from tasks.task import Task

REGISTRY: Registry[Task] = Registry(
    kind="task",
    base=Task,  # type: ignore[type-abstract]
    table={
        "ar1_noise": "tasks.ar1_noise:Ar1Noise",
        "galton": "tasks.galton:Galton",
        "gaussian_mixture": "tasks.gaussian_mixture:GaussianMixture",
        "hierarchical_normal": "tasks.hierarchical_normal:HierarchicalNormal",
        "iid_mixture": "tasks.iid_mixture:IidMixture",
        "linear_gaussian": "tasks.linear_gaussian:LinearGaussian",
        "negative_binomial": "tasks.negative_binomial:NegativeBinomial",
        "ornstein_uhlenbeck_path": "tasks.ornstein_uhlenbeck_path:OrnsteinUhlenbeckPath",
        "robust_regression": "tasks.robust_regression:RobustRegression",
    },
    group="graybench.tasks",
)


def get_task(name: str, /, **options: Any) -> Task:
    """Make the task `name`, a registered name or `module:Class`, with its options.

    Raises:
        UserError: there is no such task or option; the message gives the nearest names.
    """
    return REGISTRY.get(name, **options)
