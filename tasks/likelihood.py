"""Tasks with a tractable likelihood, which provides marginal scores and reference posteriors."""

import math
from abc import abstractmethod
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from .curvature import LogDensity
from .importance import ImportanceReference, importance_reference
from .reference import Reference
from .seeding import derive_seed
from .task import Task


class LikelihoodTask(Task):
    """A task with a tractable likelihood.

    A subclass defines `log_likelihood`. The marginal score is its derivative by autograd. The reference is
    sampled by importance sampling, see `importance_reference`.

    Attributes:
        rows_at_once: number of rows that `marginal_score` differentiates at once.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score", "marginal_score", "reference"})
    reference_kind: ClassVar[str] = "sampled"
    rows_at_once: ClassVar[int] = 2_000

    @abstractmethod
    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the exact log p(x | θ), (n,), differentiable in θ, for θ (n, d) and x (n or 1, dim_x)."""

    def marginal_score(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return ∇_θ log p(x | θ), (n, d), by autograd in float64, for θ (n, d) and x (n or 1, dim_x)."""
        scores = []
        parts = theta.double().split(self.rows_at_once)
        observed = [x] * len(parts) if len(x) == 1 else x.split(self.rows_at_once)
        for rows, data in zip(parts, observed, strict=True):
            with torch.enable_grad():
                point = rows.detach().requires_grad_()
                scores.append(torch.autograd.grad(self.log_likelihood(point, data).sum(), point)[0])
        return torch.cat(scores)

    def log_density(self, x_o: Tensor) -> LogDensity:
        """Return the function u ↦ log p(u, x_o), (n, d) to (n,), for one observation, (dim_x,)."""

        def log_density(u: Tensor) -> Tensor:
            prior = -0.5 * u.square().sum(1) - self.dim_theta / 2 * math.log(2 * math.pi)
            return prior + self.log_likelihood(self.prior.to_theta(u), x_o.double().unsqueeze(0))

        return log_density

    def reference(self, x_o: Tensor) -> Reference:
        """Return importance draws of the posterior of one observation, (dim_x,); the same in every run.

        Raises:
            ArithmeticError: the posterior has several modes, or importance sampling is too inefficient.
        """
        return sampled_posterior(self, tuple(x_o.tolist()))


@lru_cache(maxsize=32)
def sampled_posterior(task: LikelihoodTask, x_o: tuple[float, ...]) -> ImportanceReference:
    """Sample the posterior of one observation by `importance_reference`, and keep the last 32.

    Raises:
        ArithmeticError: the posterior has several modes, or importance sampling is too inefficient.
    """
    density = task.log_density(torch.tensor(x_o, dtype=torch.float64))
    seed = derive_seed("reference", task.label, *map(str, x_o))
    try:
        return importance_reference(density, task.dim_theta, seed)
    except ArithmeticError as error:
        raise ArithmeticError(
            f"task {task.label}: {error}, for the observation {[*x_o]}: define `reference` with draws from "
            "elsewhere, as a SampledReference"
        ) from error
