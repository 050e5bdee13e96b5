"""What the checks of a method share: tasks with known posteriors, fits, draws, and tolerances."""

import math
from functools import cached_property

import torch
from torch import Tensor

from ...methods.method import Method, Posterior
from ...tasks import get_task
from ...tasks.classic.linear_gaussian import LinearGaussian
from ...tasks.seeding import derive_seed
from ...tasks.simulations import Simulations
from ...tasks.task import Task
from .evidence import NotApplicableError, Statistic

TASKS = ("linear_gaussian", "brownian")
# posterior correlations up to 0.75, and standard deviations of 0.15, 0.40 and 0.77 along the principal axes
DEPENDENT = LinearGaussian(3, spread=8.0, rotated=True)
DRAWS, EXACT_DRAWS = 400, 10_000  # samples for each observation, of the method and of the reference
MORE = 4  # times the simulations for a method that is not accurate enough
FEWER, LEAST = 4, 100  # a quarter of the simulations for rules, unless that is below 100


class Bench:
    """A method, a task with everything the method requires, and results that several checks share.

    Args:
        method: the method, with its options.
        n: the number of simulations of most fits.
        seed: names the random streams.
        task: the task; by default the first of `TASKS` that provides what the method requires.

    Raises:
        NotApplicableError: no task provides what the method requires.
    """

    def __init__(self, method: Method, n: int, seed: int, task: Task | None = None) -> None:
        self.method, self.n, self.seed = method, n, seed
        tasks = map(get_task, TASKS) if task is None else [task]
        able = [task for task in tasks if method.requires <= task.capabilities]
        if not able:
            raise NotApplicableError(
                f"none of {' and '.join(TASKS)} has {', '.join(sorted(method.requires))}"
            )
        self.task: Task = able[0]
        self.x_o = self.task.observations().x

    def simulations(self, name: str, n: int | None = None) -> Simulations:
        """Draw the training simulations called `name`, with only the fields that the method requires."""
        requires = self.method.requires
        drawn = self.task.simulate(
            n or self.n,
            self.seed_of(name),
            marginal_score="marginal_score" in requires,
            joint_hessian="joint_hessian" in requires,
        )
        return drawn.only(requires)

    def seed_of(self, *name: int | str) -> int:
        """Return the seed of a named stream."""
        return derive_seed(self.seed, "method check", *name)

    def fit(self, name: str, n: int | None = None) -> Posterior:
        """Fit the method to the simulations called `name`, with the same seed in every call."""
        return self.method.fit(self.simulations(name, n), self.seed_of("fit", name))

    def draw(self, posterior: Posterior, *name: int | str) -> Tensor:
        """Sample the posteriors of the task's m observations, (m, DRAWS, d), in float64."""
        return posterior.sample(DRAWS, self.x_o, self.seed_of("sample", *name)).double()

    @cached_property
    def posterior(self) -> Posterior:
        """The method fitted to the first simulations."""
        return self.fit("first")

    @cached_property
    def draws(self) -> Tensor:
        """Samples of `posterior` at each observation, (m, DRAWS, d), in float64."""
        return self.draw(self.posterior, 1)

    @cached_property
    def exact_draws(self) -> Tensor:
        """Samples of the reference posteriors, (m, EXACT_DRAWS, d)."""
        references = [self.task.reference(x) for x in self.x_o]
        return torch.stack(
            [r.sample(EXACT_DRAWS, self.seed_of("exact", o)) for o, r in enumerate(references)]
        )

    @cached_property
    def roots(self) -> Tensor:
        """The Cholesky factors L of the exact posteriors' covariances, (m, d, d)."""
        return torch.linalg.cholesky(covariances(self.exact_draws))

    @cached_property
    def whitened(self) -> Tensor:
        """The samples `draws` as w = L⁻¹ (u − m), (m, DRAWS, d), with the exact posterior mean m."""
        centred = self.draws - self.exact_draws.mean(1, keepdim=True)
        return torch.linalg.solve_triangular(self.roots, centred.mT, upper=False).mT

    @cached_property
    def smaller(self) -> "Bench":
        """The same method and task with fewer simulations, for rules that hold at any budget."""
        n = max(self.n // FEWER, min(self.n, LEAST), self.method.least_simulations)
        return Bench(self.method, n, self.seed_of("smaller"), self.task)

    @cached_property
    def larger(self) -> "Bench":
        """The same method and task with `MORE` times the simulations."""
        return Bench(self.method, MORE * self.n, self.seed_of("larger"), self.task)

    @cached_property
    def dependent(self) -> "Bench":
        """The method on the task `DEPENDENT`; this bench, if the method requires more than it provides."""
        if not self.method.requires <= DEPENDENT.capabilities:
            return self
        return Bench(self.method, self.n, self.seed_of("dependent"), DEPENDENT)


def covariances(samples: Tensor) -> Tensor:
    """Return the covariance of each of m samples, (m, d, d), for (m, n, d)."""
    centred = samples - samples.mean(1, keepdim=True)
    return centred.mT @ centred / (samples.shape[1] - 1)


def beyond(name: str, error: Tensor | float, tolerance: float, spread: Tensor | float) -> Statistic:
    """Test whether an error is within a tolerance: z = sign(error) max(|error| − tolerance, 0)/spread.

    z is 0 within the tolerance. At its edge, z exceeds 4.5 as rarely as for a standard normal statistic.

    Args:
        name: the name of the statistic.
        error: the estimated error.
        tolerance: the largest true error that is accepted.
        spread: the standard deviation of the estimate.
    """
    error, spread = float(error), float(spread)
    if not math.isfinite(error):
        return Statistic(name, error)
    excess = max(abs(error) - tolerance, 0.0)
    return Statistic(
        name, math.copysign(excess / spread if spread > 0 else math.inf, error) if excess else 0.0
    )


def rule(name: str, kept: bool) -> Statistic:
    """Return 0 for a rule that is kept, and infinity for a broken one."""
    return Statistic(name, 0.0 if kept else math.inf)
