"""Reference samples, exact scores and noise that metrics compare methods against.

They depend on the task alone and have their own seeds, so all methods and budgets are compared with the same
reference samples and at the same points (u_t, x_o, t). Each replicate has its own reference samples, so the
spread of a metric over replicates includes the spread that comes from these samples.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from ...methods.score.schedule import T_MIN, alpha_sigma_at
from ...tasks.errors import UserError
from ...tasks.reference import Reference
from ...tasks.seeding import derive_seed, generator
from ...tasks.simulations import Observations, Simulations
from ...tasks.task import Task

T = TypeVar("T")
TIMES = (
    *(T_MIN, 0.003, 0.006, 0.01, 0.02, 0.035, 0.05, 0.075),
    *(round(0.1 + 0.05 * k, 2) for k in range(19)),
)
SCORE_POINTS, ERROR_POINTS = 500, 100
SCORE_TOLERANCE = 1e-3  # largest σ² E‖s − s_true‖²/d of a reference; trained networks have larger errors
TARGET_SIMULATIONS = 1000
MOMENT_SAMPLES = 50_000
FLOOR_PAIRS = 5


class Once:
    """Results by key. Each is computed when it is first asked for."""

    def __init__(self) -> None:
        self._found: dict[Hashable, Any] = {}

    def __call__(self, key: Hashable, compute: Callable[..., T], *arguments: Any) -> T:
        """Return `compute(*arguments)`, or the result that this key already has."""
        if key not in self._found:
            self._found[key] = compute(*arguments)
        found: T = self._found[key]
        return found


class ScorePoints(NamedTuple):
    """Points of the diffused posteriors of m observations at one t, and the reference's score there.

    Attributes:
        u_t: α u_0 + σ ε with u_0 from the reference, (m, n, d), in float64.
        score: ∇ log p_t(u_t | x_o), (m, n, d).
        error: the estimated σ² E‖s − s_true‖²/d of that score, (m,); 0 if the reference is exact.
    """

    u_t: Tensor
    score: Tensor
    error: Tensor


class TargetPoints(NamedTuple):
    """Noise ε for the test simulations at one t, and the exact score at u_t = α u_0 + σ ε, both (n, d)."""

    eps: Tensor
    score: Tensor


@dataclass(frozen=True)
class ReferenceSample:
    """The reference of one observation as samples of θ, drawn for one replicate.

    Attributes:
        theta: the reference sample, (n, d).
        second: a second sample of the same size, (n, d), for the floors of metrics.
        mean: the mean, (d,), of a separate sample of size `MOMENT_SAMPLES`.
        std: the standard deviation of that sample, (d,); exactly 0 without spread.
    """

    theta: Tensor
    second: Tensor
    mean: Tensor
    std: Tensor


class Truth:
    """References and observations of a task, each computed when it is first asked for and then kept.

    Args:
        task: without the capability `reference`, only observations and test simulations are available.
        n_observations: number m of observations to use, the first ones; None for all.
        n: size of the reference samples.
    """

    def __init__(self, task: Task, n_observations: int | None, n: int) -> None:
        self.task, self.n = task, n
        every = task.observations()
        self.observations = Observations(*(field[:n_observations] for field in every))
        self.reference = cache(self._reference)
        self.reference_sample = cache(self._reference_sample)
        self.score_points = cache(self._score_points)
        self.score_times = cache(self._score_times)
        self.test_simulations = cache(self._test_simulations)
        self.test_groups = cache(self._test_groups)
        self.target_points = cache(self._target_points)
        self.once = Once()  # results of metrics that depend on the task alone, such as floors

    def _reference(self, o: int) -> Reference:
        return self.task.reference(self.observations.x[o])

    def _reference_sample(self, o: int, replicate: int) -> ReferenceSample:
        drawn = [
            self.task.prior.to_theta(self.reference(o).sample(size, self._seed("reference", o, replicate, k)))
            for k, size in enumerate([self.n, self.n, MOMENT_SAMPLES])
        ]
        if not all(bool(torch.isfinite(sample).all()) for sample in drawn):
            raise UserError(f"the reference of {self.task.label}, observation {o}, is not finite.")
        theta, second, large = drawn
        std = torch.where(large.amax(0) > large.amin(0), large.std(0), 0.0)  # exactly 0 without spread
        return ReferenceSample(theta, second, large.mean(0), std)

    def _score_points(self, t: float) -> ScorePoints:
        alpha, sigma = alpha_sigma_at(t)
        points, scores, errors = [], [], []
        for o in range(len(self.observations.x)):
            reference = self.reference(o)
            u_0 = reference.sample(SCORE_POINTS, self._seed("score", o, str(t)))
            u_t = alpha * u_0 + sigma * self._noise(u_0, "score noise", o, str(t))
            points.append(u_t)
            scores.append(reference.diffused_score(u_t, alpha, sigma))
            errors.append(reference.diffused_score_error(u_t[:ERROR_POINTS], alpha, sigma))
        score = torch.stack(scores)
        if not torch.isfinite(score).all():
            raise UserError(f"the reference's score of {self.task.label} is not finite at t = {t:g}.")
        return ScorePoints(torch.stack(points), score, torch.tensor(errors, dtype=torch.float64))

    def _score_times(self) -> tuple[float, ...]:
        known = [float(self.score_points(t).error.max()) <= SCORE_TOLERANCE for t in TIMES]
        first_known = max((k + 1 for k, good in enumerate(known) if not good), default=0)
        return TIMES[first_known:]

    def _test_simulations(self, replicate: int) -> Simulations:
        exact = "marginal_score" in self.task.capabilities
        seed = self._seed("test", replicate)
        return self.task.simulate(TARGET_SIMULATIONS, seed, marginal_score=exact)

    def _test_groups(self, replicate: int) -> list[tuple[Tensor, Reference]]:
        """Return, for each distinct x of the test simulations, its rows as a mask and its exact reference."""
        distinct, group = torch.unique(self.test_simulations(replicate).x, dim=0, return_inverse=True)
        return [(group == g, self.task.reference(x)) for g, x in enumerate(distinct)]

    def _target_points(self, replicate: int, t: float) -> TargetPoints:
        alpha, sigma = alpha_sigma_at(t)
        test = self.test_simulations(replicate)
        eps = self.target_noise(replicate, t)
        u_t = alpha * test.u + sigma * eps
        score = torch.empty_like(u_t)
        for rows, reference in self.test_groups(replicate):
            score[rows] = reference.diffused_score(u_t[rows], alpha, sigma)
        return TargetPoints(eps, score)

    def target_noise(self, replicate: int, t: float) -> Tensor:
        """Draw the noise ε, (n, d), that is added to the test simulations at one t."""
        return self._noise(self.test_simulations(replicate).u, "target noise", replicate, str(t))

    def _noise(self, like: Tensor, *purpose: int | str) -> Tensor:
        return torch.randn(like.shape, generator=generator(self._seed(*purpose)), dtype=like.dtype)

    def _seed(self, *purpose: int | str) -> int:
        return derive_seed("truth", self.task.label, *purpose)


@lru_cache(maxsize=8)
def truth_of(task: Task, n_observations: int | None, n: int) -> Truth:
    """Return the `Truth` of a task. All cells that a process measures share it."""
    return Truth(task, n_observations, n)
