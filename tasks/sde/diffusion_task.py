"""Tasks with the path of a diffusion as latent: the SDE depends on θ, and x is the state at time T."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..likelihood import LikelihoodTask
from ..plugin import require_whole
from ..prior import Prior
from ..task import Outcome, Task
from .sde import SDE, TimeGrid, euler_path, log_euler_path

ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class DiffusionModel:
    """The known model of a diffusion task, for methods that require `sde_path`.

    Attributes:
        sde: the SDE at θ, (..., d), for states with batch dimensions (...).
        prior: the prior over θ.
        x_0: the start, (D,).
        grid: duration and steps.
    """

    sde: Callable[[Tensor], SDE]
    prior: Prior
    x_0: Tensor
    grid: TimeGrid

    def at(self, u: Tensor) -> SDE:
        """Return the SDE at unconstrained parameters u, (..., d)."""
        return self.sde(self.prior.to_theta(u))


class DiffusionTask(Task):
    """A diffusion from a known start, observed at time T.

    A subclass defines `sde`, `start` and `grid`. Its model is the Euler scheme with the task's own steps,
    unless it overrides `draw_path` and `log_path`. The joint score is the gradient of the path's log-density,

        ∇_θ Σ_k log N(X_{k+1}; X_k + f dt, Σ dt),

    by autograd at a fixed path. For parameters of the drift it converges as dt → 0. For parameters of the
    diffusion its variance grows like 1/dt, since a path determines the diffusion.
    """

    @property
    @abstractmethod
    def start(self) -> Tensor:
        """The start x_0, (D,)."""

    @property
    @abstractmethod
    def grid(self) -> TimeGrid:
        """Duration and steps of the latent path."""

    @abstractmethod
    def sde(self, theta: Tensor) -> SDE:
        """Return the SDE at θ, (..., d), for states with batch dimensions that broadcast with (...)."""

    @property
    def dim_x(self) -> int:
        return len(self.start)

    def model(self) -> DiffusionModel:
        """Return the part of the task that methods may know."""
        return DiffusionModel(self.sde, self.prior, self.start, self.grid)

    def draw_path(self, theta: Tensor, noise: Tensor) -> Tensor:
        """Return the latent path, (n, K + 1, D), for θ (n, d) and standard normal noise (K, n, D)."""
        return euler_path(self.sde(theta), self.start, self.grid, noise)

    def log_path(self, theta: Tensor, path: Tensor) -> Tensor:
        """Return log p(path | θ), (n,), differentiable in θ, (n, d)."""
        return log_euler_path(self.sde(theta.unsqueeze(1)), path, self.grid)

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Draw a path for each θ, (n, d), and differentiate its log-density."""
        size = (self.grid.steps, len(theta), self.dim_x)
        noise = torch.randn(size, generator=generator, dtype=theta.dtype)
        path = self.draw_path(theta, noise)
        score = torch.cat(
            [
                self._path_score(rows, part)
                for rows, part in zip(theta.split(ROWS_AT_ONCE), path.split(ROWS_AT_ONCE), strict=True)
            ]
        )
        return Outcome(path[:, -1].clone(), score, model=self.model(), latents=path)

    def log_joint(self, theta: Tensor, x: Tensor, latents: Any) -> Tensor:
        """Return log p(path | θ), (n,); x is the path's end."""
        return self.log_path(theta, latents)

    def _path_score(self, theta: Tensor, path: Tensor) -> Tensor:
        with torch.enable_grad():
            point = theta.detach().requires_grad_()
            return torch.autograd.grad(self.log_path(point, path).sum(), point)[0]


class TractableDiffusion(DiffusionTask, LikelihoodTask):
    """A diffusion with D identical components, up to time 1, with a likelihood in closed form.

    Args:
        dim: D.
        steps: number of steps of the latent path.

    Attributes:
        first: the start of each component.
        least_steps: the smallest number of steps.
    """

    capabilities: ClassVar[frozenset[str]] = LikelihoodTask.capabilities | {"sde_path"}
    first: ClassVar[float] = 0.0
    least_steps: ClassVar[int] = 2

    dim: int = 10
    steps: int = 50

    def __post_init__(self) -> None:
        require_whole(f"task {self.name}: dim", self.dim, 1)
        require_whole(f"task {self.name}: steps", self.steps, self.least_steps)

    @property
    def start(self) -> Tensor:
        return torch.full((self.dim,), self.first, dtype=torch.float64)

    @property
    def grid(self) -> TimeGrid:
        return TimeGrid(1.0, self.steps)
