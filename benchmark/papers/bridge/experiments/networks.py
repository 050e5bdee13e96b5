"""Experiments with learned scores: one network for all θ and x_0, what to train it for, and diffusion means.

The starts x_0 of training are uniform on [−1.5, 1.5]^D. A simulation is an Euler path or a bridge.
"""

import math
import time
from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

from .....methods.bridge.inference import Likelihood, maximise
from .....methods.bridge.learned.purpose import BridgeTraining, effective_fraction, refine
from .....methods.bridge.learned.scores import LearnedScores
from .....methods.bridge.learned.training import Law, ScoreTraining, learn, one_point
from .....methods.bridge.likelihood import BridgeSampler
from .....tasks import get_task
from .....tasks.likelihood import LikelihoodTask
from .....tasks.sde.diffusion_task import DiffusionTask
from .....tasks.sde.quadrature import log_transition
from .....tasks.sde.sde import SDE, euler_path
from .....tasks.seeding import derive_seed, generator
from ....analysis.statistics import Z
from .piece import Experiment, Row

FARTHEST_START = 1.5
WELLS = ((1.0, 50), (4.0, 100))  # duration and steps
FINE = 2_000  # steps for the likelihood of the process
PARTICLES = 4096
BUDGETS = (1_000, 4_000, 16_000)
BRIDGES = 4
DATA_SETS, ENDS = 20, 30


def law_of(task: DiffusionTask) -> Law:
    """Return the law with θ from the prior and starts uniform on a cube."""

    def law(n: int, seed: int) -> tuple[SDE, Tensor]:
        random = generator(seed)
        starts = torch.rand((n, 1, len(task.start)), generator=random, dtype=torch.float64)
        u = torch.randn((n, 1, task.dim_theta), generator=random, dtype=torch.float64)
        return task.model().at(u), FARTHEST_START * (2 * starts - 1)

    return law


def amortised_scores() -> Experiment:
    """One network for all θ and x_0 of a double well, with defaults, from −1 to ±1, beside the base alone."""
    for duration, steps in WELLS:
        for training in (ScoreTraining(), ScoreTraining(base="midpoint", steps=0)):
            yield partial(_wells, duration, steps, training)


def _wells(duration: float, steps: int, training: ScoreTraining) -> list[Row]:
    task = task_of("double_well", duration=duration, steps=steps)
    fine = task_of("double_well", duration=duration, steps=FINE)
    start = time.perf_counter()
    scores = learn(law_of(task), task.grid, training, derive_seed("bridges", "amortised", steps))
    seconds = time.perf_counter() - start
    y, sampler, rows = (
        torch.tensor([[-1.0], [1.0]], dtype=torch.float64),
        BridgeSampler(particles=PARTICLES),
        [],
    )
    for sigma in (0.5, 0.7):
        theta = torch.tensor([0.0, math.log(sigma)], dtype=torch.float64)
        seed = derive_seed("bridges", "amortised run", steps, str(sigma))
        found = sampler.estimate(task.sde(theta), task.start, y, task.grid, seed, scores)
        for k, end in enumerate(y[:, 0].tolist()):
            scheme, process = (_exact(each, theta, y[k : k + 1]) for each in (task, fine))
            rows.append(
                {
                    "network": training.steps > 0,
                    "base": scores.base.name,
                    "duration": duration,
                    "steps": steps,
                    "sigma": sigma,
                    "end": end,
                    "particles": PARTICLES,
                    "ess_fraction": float(found.ess_fraction[k]),
                    "lost_fraction": float(found.lost_fraction[k]),
                    "log_likelihood": process,
                    "error": float(found.value[k]) - process,
                    "error_of_scheme": scheme - process,
                    "stderr": float(found.stderr[k]),
                    "paths": training.paths,
                    "seconds": seconds,
                }
            )
    return rows


def objectives() -> Experiment:
    """Which objective gives more effective samples, with the same network and number of simulations.

    A double well for all θ and x_0 begins with a good base, one for a single θ and x_0 with a bad one, and an
    Ornstein-Uhlenbeck process with none.
    """
    problems = (
        (task_of("double_well", steps=25), "midpoint", True),
        (task_of("double_well", steps=25), "linearised", False),
        (task_of("ornstein_uhlenbeck", steps=25, dim=5), "none", True),
    )
    for task, base, amortised in problems:
        for budget in BUDGETS:
            for recipe in ("matching", "variance", "divergence", "matching, then variance"):
                yield partial(_objective, task, base, amortised, recipe, budget)


def _objective(task: DiffusionTask, base: str, amortised: bool, recipe: str, budget: int) -> list[Row]:
    at_zero = task.model().at(torch.zeros(task.dim_theta, dtype=torch.float64))
    law = law_of(task) if amortised else one_point(at_zero, task.start)
    seed = derive_seed("bridges", "objectives", task.label, base, budget)
    start = time.process_time()
    scores = _scores_by(recipe, law, task, base, budget, seed)
    return [
        {
            "task": task.name,
            "dim": len(task.start),
            "steps": task.grid.steps,
            "base": base,
            "amortised": amortised,
            "simulations": budget,
            "recipe": recipe,
            "ess_fraction": effective_fraction(scores, law, 200, 64, derive_seed("bridges", "judged")),
            "used": scores.used,
            "seconds": time.process_time() - start,
        }
    ]


def _scores_by(
    recipe: str, law: Law, task: DiffusionTask, base: str, budget: int, seed: int
) -> LearnedScores:
    """Train scores from so many simulations; without matching, a twentieth of them standardises inputs."""
    if recipe == "matching":
        return learn(law, task.grid, ScoreTraining(base=base, paths=budget), seed)
    matched = recipe.startswith("matching")
    first = budget // (2 if matched else 20)
    training = ScoreTraining(base=base, paths=first, steps=ScoreTraining.steps if matched else 0)
    scores = learn(law, task.grid, training, seed)
    ends = (budget - first) // (1 + BRIDGES)
    return refine(scores, law, BridgeTraining(recipe.split()[-1], ends, BRIDGES), seed)


# Diffusion means: θ is known, and each data set has its own start.
MEANS = {"double_well": {"steps": 25}, "ornstein_uhlenbeck": {"steps": 25, "dim": 1}}
AT_MEANS = {"double_well": (0.0, math.log(0.7)), "ornstein_uhlenbeck": (0.0, 0.0, math.log(0.7))}
STARTS = torch.linspace(-3, 3, 601, dtype=torch.float64)


def network_means() -> Experiment:
    """Starts from 20 data sets of 30 end points, by a network conditioned on x_0.

    Beside them stand the sample mean, and the maximum of the exact likelihood to within 0.005.
    """
    for name in MEANS:
        for data_set in range(DATA_SETS):
            yield partial(_mean, name, data_set)


@cache
def _scores_for_means(name: str) -> LearnedScores:
    task = task_of(name, **MEANS[name])
    return learn(law_of(task), task.grid, ScoreTraining(), derive_seed("bridges", "means", name))


def _mean(name: str, data_set: int) -> list[Row]:
    task, theta = task_of(name, **MEANS[name]), torch.tensor(AT_MEANS[name], dtype=torch.float64)
    scores, grid, sde = _scores_for_means(name), task.grid, task.sde(theta)
    random = generator(derive_seed("bridges", "means", name, data_set))
    truth = 2 * torch.rand(1, generator=random, dtype=torch.float64) - 1
    noise = torch.randn(grid.steps, ENDS, 1, generator=random, dtype=torch.float64)
    y = euler_path(sde, truth, grid, noise)[:, -1]
    likelihood = Likelihood(task.sde, y, grid, BridgeSampler(particles=32), data_set, base=scores)
    start = time.perf_counter()
    fit = maximise(likelihood, theta, y.mean(0), free=("x_0",))
    seconds = time.perf_counter() - start
    starts, ends = torch.cartesian_prod(STARTS, y[:, 0]).T.unsqueeze(1)
    reach = torch.tensor([[6.0]], dtype=torch.float64)
    exact = log_transition(task.sde(theta.unsqueeze(0)), starts, ends, grid, reach, 300)
    best = STARTS[exact.view(len(STARTS), ENDS).sum(1).argmax()]
    return [
        {
            "task": name,
            "base": scores.base.name,
            "data_set": data_set,
            "truth": float(truth),
            "diffusion_mean_error": float((fit.x_0 - truth).abs()),
            "sample_mean_error": float((y.mean(0) - truth).abs()),
            "exact_maximum_error": float((best - truth).abs()),
            "distance": float((fit.x_0 - best).abs()),
            "covered": bool((fit.x_0 - truth).abs() <= Z * fit.x_0_stderr),
            "ess_fraction": float(fit.estimate.ess_fraction.mean()),
            "converged": fit.converged,
            "evaluations": fit.evaluations,
            "seconds": seconds,
        }
    ]


def task_of(name: str, **options: float) -> DiffusionTask:
    """Return a diffusion task by its name."""
    task = get_task(name, **options)
    assert isinstance(task, DiffusionTask)
    return task


def _exact(task: DiffusionTask, theta: Tensor, y: Tensor) -> float:
    assert isinstance(task, LikelihoodTask)
    return float(task.log_likelihood(theta.unsqueeze(0), y))


NETWORKS: dict[str, Callable[[], Experiment]] = {
    "amortised_scores": amortised_scores,
    "objectives": objectives,
    "network_means": network_means,
}
