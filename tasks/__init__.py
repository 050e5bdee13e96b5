"""Simulators, priors and reference posteriors."""

from typing import Any

from tasks.plugin import Registry
from tasks.task import Task

REGISTRY: Registry[Task] = Registry(
    kind="task",
    base=Task,  # type: ignore[type-abstract]
    table={
        "ar1_noise": "tasks.ar1_noise:Ar1Noise",
        "brownian": "tasks.sde.brownian:Brownian",
        "galton": "tasks.galton:Galton",
        "gaussian_mixture": "tasks.gaussian_mixture:GaussianMixture",
        "geometric_brownian": "tasks.sde.geometric_brownian:GeometricBrownian",
        "hierarchical_normal": "tasks.hierarchical_normal:HierarchicalNormal",
        "iid_mixture": "tasks.iid_mixture:IidMixture",
        "immigration_death": "tasks.immigration_death:ImmigrationDeath",
        "landmarks": "tasks.sde.landmarks:Landmarks",
        "linear_gaussian": "tasks.linear_gaussian:LinearGaussian",
        "lotka_volterra": "tasks.lotka_volterra:LotkaVolterra",
        "negative_binomial": "tasks.negative_binomial:NegativeBinomial",
        "ornstein_uhlenbeck": "tasks.sde.ornstein_uhlenbeck:OrnsteinUhlenbeck",
        "ornstein_uhlenbeck_path": "tasks.ornstein_uhlenbeck_path:OrnsteinUhlenbeckPath",
        "robust_regression": "tasks.robust_regression:RobustRegression",
        "sbibm_bernoulli_glm": "tasks.sbibm_static:BernoulliGlm",
        "sbibm_bernoulli_glm_raw": "tasks.sbibm_static:BernoulliGlmRaw",
        "sbibm_gaussian_linear": "tasks.sbibm_static:GaussianLinear",
        "sbibm_gaussian_linear_uniform": "tasks.sbibm_static:GaussianLinearUniform",
        "sbibm_gaussian_mixture": "tasks.sbibm_static:GaussianMixture",
        "sbibm_lotka_volterra": "tasks.sbibm_ode:LotkaVolterra",
        "sbibm_sir": "tasks.sbibm_ode:Sir",
        "sbibm_slcp": "tasks.sbibm_slcp:Slcp",
        "sbibm_slcp_distractors": "tasks.sbibm_slcp:SlcpDistractors",
        "sbibm_two_moons": "tasks.sbibm_static:TwoMoons",
        "schloegl": "tasks.schloegl:Schloegl",
    },
    group="graybench.tasks",
)


def get_task(name: str, /, **options: Any) -> Task:
    """Make the task `name`, a registered name or `module:Class`, with its options.

    Raises:
        UserError: there is no such task or option; the message gives the nearest names.
    """
    return REGISTRY.get(name, **options)
