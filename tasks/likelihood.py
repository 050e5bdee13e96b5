"""Tasks whose latents can be integrated out: the exact likelihood gives marginal scores and references."""

import math
from abc import abstractmethod
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from tasks.sampled_reference import ImportanceReference, SampledReference, importance_reference
from tasks.seeding import derive_seed
from tasks.task import Task

ROWS_AT_ONCE = 2_000


class LikelihoodTask(Task):
    """A task with a tractable likelihood.

    A subclass defines `log_likelihood`; its marginal score is the derivative by autograd, and its reference
    is sampled by importance, see `tasks.sampled_reference`.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score", "marginal_score", "reference"})
    reference_kind: ClassVar[str] = "sampled"

    @abstractmethod
    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Give the exact log p(x | θ), differentiable in θ, for θ (n, d) and x (n or 1, dim_x): (n,)."""

    def marginal_score(self, theta: Tensor, x: Tensor) -> Tensor:
        """Give ∇_θ log p(x | θ), (n, d), by autograd in float64."""
        scores = []
        for rows, data in zip(theta.double().split(ROWS_AT_ONCE), x.split(ROWS_AT_ONCE), strict=True):
            with torch.enable_grad():
                point = rows.detach().requires_grad_()
                scores.append(torch.autograd.grad(self.log_likelihood(point, data).sum(), point)[0])
        return torch.cat(scores)

    def reference(self, x_o: Tensor) -> SampledReference:
        """Give importance draws of the posterior of one observation, (dim_x,); the same in every run."""
        return _reference(self, tuple(x_o.tolist()))


@lru_cache(maxsize=32)
def _reference(task: LikelihoodTask, x_o: tuple[float, ...]) -> ImportanceReference:
    x = torch.tensor([x_o], dtype=torch.float64)

    def log_density(u: Tensor) -> Tensor:
        prior = -0.5 * u.square().sum(1) - task.dim_theta / 2 * math.log(2 * math.pi)
        return prior + task.log_likelihood(task.prior.to_theta(u), x)

    return importance_reference(
        log_density, task.dim_theta, derive_seed("reference", task.label, *map(str, x_o))
    )
