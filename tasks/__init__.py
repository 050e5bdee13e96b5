"""Simulators, priors and reference posteriors."""

from typing import TYPE_CHECKING, Any

from .registry import Registry

if TYPE_CHECKING:
    from .task import Task

REGISTRY: "Registry[Task]" = Registry(
    kind="task",
    base="graybench.tasks.task:Task",
    table={
        "ar1_noise": "graybench.tasks.classic.ar1_noise:Ar1Noise",
        "brownian": "graybench.tasks.sde.brownian:Brownian",
        "double_well": "graybench.tasks.sde.double_well:DoubleWell",
        "galton": "graybench.tasks.classic.galton:Galton",
        "gaussian_mixture": "graybench.tasks.classic.gaussian_mixture:GaussianMixture",
        "geometric_brownian": "graybench.tasks.sde.geometric_brownian:GeometricBrownian",
        "hierarchical_normal": "graybench.tasks.classic.hierarchical_normal:HierarchicalNormal",
        "iid_mixture": "graybench.tasks.classic.iid_mixture:IidMixture",
        "immigration_death": "graybench.tasks.jump.immigration_death:ImmigrationDeath",
        "landmarks": "graybench.tasks.landmarks.task:Landmarks",
        "lensing_lognormal": "graybench.tasks.fields.lensing_lognormal:LensingLognormal",
        "linear_gaussian": "graybench.tasks.classic.linear_gaussian:LinearGaussian",
        "lorenz96": "graybench.tasks.sde.lorenz96:Lorenz96",
        "lotka_volterra": "graybench.tasks.jump.lotka_volterra:LotkaVolterra",
        "lotka_volterra_diffusion": "graybench.tasks.sde.lotka_volterra_diffusion:LotkaVolterraDiffusion",
        "negative_binomial": "graybench.tasks.classic.negative_binomial:NegativeBinomial",
        "ornstein_uhlenbeck": "graybench.tasks.sde.ornstein_uhlenbeck:OrnsteinUhlenbeck",
        "ornstein_uhlenbeck_path": "graybench.tasks.classic.ornstein_uhlenbeck_path:OrnsteinUhlenbeckPath",
        "robust_regression": "graybench.tasks.pyro.robust_regression:RobustRegression",
        "sbibm_bernoulli_glm": "graybench.tasks.sbibm.static:BernoulliGlm",
        "sbibm_bernoulli_glm_raw": "graybench.tasks.sbibm.static:BernoulliGlmRaw",
        "sbibm_gaussian_linear": "graybench.tasks.sbibm.static:GaussianLinear",
        "sbibm_gaussian_linear_uniform": "graybench.tasks.sbibm.static:GaussianLinearUniform",
        "sbibm_gaussian_mixture": "graybench.tasks.sbibm.static:GaussianMixture",
        "sbibm_lotka_volterra": "graybench.tasks.sbibm.ode_tasks:LotkaVolterra",
        "sbibm_sir": "graybench.tasks.sbibm.ode_tasks:Sir",
        "sbibm_slcp": "graybench.tasks.sbibm.slcp:Slcp",
        "sbibm_slcp_distractors": "graybench.tasks.sbibm.slcp:SlcpDistractors",
        "sbibm_two_moons": "graybench.tasks.sbibm.static:TwoMoons",
        "schloegl": "graybench.tasks.jump.schloegl:Schloegl",
    },
    group="graybench.tasks",
)


def get_task(name: str, /, **options: Any) -> "Task":
    """Return the task `name` with the given options.

    Args:
        name: a registered name, such as "galton", or `module:Class`.
        options: the task's options, such as `balls=10`.

    Raises:
        UserError: there is no such task or option; the message lists the nearest names.
    """
    return REGISTRY.get(name, **options)
