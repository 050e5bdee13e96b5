"""Tasks with the path of a diffusion as latent: the SDE depends on θ, and x is the state at some times."""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..errors import NoTimeError, UserError
from ..likelihood import LikelihoodTask
from ..plugin import require_positive, require_whole
from ..prior import Prior
from ..structure import Series, Structure, Vector
from ..task import Outcome, Task
from .automatic import AutomaticSDE
from .sde import SDE, TimeGrid, euler_path, log_euler_path

STATES_AT_ONCE = 16_384


@dataclass(frozen=True)
class DiffusionModel:
    """The known model of a diffusion task, for methods that require `sde_path`.

    Attributes:
        sde: the SDE at θ, (..., d), for states with batch dimensions (...).
        prior: the prior over θ.
        x_0: the start, (D,).
        grids: duration and steps of each interval between observations, m of them; x is (n, m D).

    Raises:
        NoTimeError: a duration is not above 0.
        UserError: an interval has fewer than 2 steps.
    """

    sde: Callable[[Tensor], SDE]
    prior: Prior
    x_0: Tensor
    grids: tuple[TimeGrid, ...]

    def __post_init__(self) -> None:
        for i, grid in enumerate(self.grids, 1):
            require_whole(f"diffusion: the steps of interval {i}", grid.steps, 2)
            if not 0 < grid.duration < math.inf:
                raise NoTimeError(
                    f"diffusion: times must increase from 0, but interval {i} takes {grid.duration!r}."
                )

    def at(self, u: Tensor) -> SDE:
        """Return the SDE at unconstrained parameters u, (..., d)."""
        return self.sde(self.prior.to_theta(u))


class DiffusionTask(Task):
    """A diffusion from a known start, observed at time T, or at m times along its path.

    A subclass defines `start`, `grid`, and either `drift` and `diffusion` as functions, or `sde` with
    coefficients in closed form. For m observations it defines `grids`, with the interval before each; x is
    then (n, m D), one time after another. The model is the Euler scheme with the task's own steps, unless a
    subclass overrides `draw_path` and `log_path`. The joint score is the gradient of the path's log-density,

        ∇_θ Σ_k log N(X_{k+1}; X_k + f dt, Σ dt),

    by autograd at a fixed path. For parameters of the drift it converges as dt → 0. For parameters of the
    diffusion its variance grows like 1/dt, since a path determines the diffusion.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score", "sde_path"})

    @property
    @abstractmethod
    def start(self) -> Tensor:
        """The start x_0, (D,)."""

    @property
    @abstractmethod
    def grid(self) -> TimeGrid:
        """Duration and steps of the latent path up to the first observation."""

    @property
    def grids(self) -> tuple[TimeGrid, ...]:
        """Duration and steps of the path up to the first observation, and between one and the next."""
        return (self.grid,)

    def drift(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return f(x, θ), (..., D), for states x (..., D) and θ (..., d), see `AutomaticSDE`."""
        raise self._undefined()

    def diffusion(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return Q(x, θ), as scales (..., D) or a matrix (..., D, m), see `AutomaticSDE`."""
        raise self._undefined()

    def _undefined(self) -> UserError:
        return UserError(f"task {self.label} must define drift and diffusion, or sde.")

    def sde(self, theta: Tensor) -> SDE:
        """Return the SDE at θ, (..., d), for states with batch dimensions that broadcast with (...)."""
        return AutomaticSDE(self.drift, self.diffusion, theta, len(self.start))

    @property
    def dim_x(self) -> int:
        return len(self.grids) * len(self.start)

    @property
    def structure(self) -> Structure:
        """A series of the observations if there are several at equal distances; otherwise a vector."""
        if len(self.grids) > 1 and len({grid.duration for grid in self.grids}) == 1:
            return Series(len(self.grids), channels=len(self.start))
        return Vector(self.dim_x)

    def model(self) -> DiffusionModel:
        """Return the part of the task that methods may know."""
        return DiffusionModel(self.sde, self.prior, self.start, self.grids)

    def draw_path(self, theta: Tensor, noise: Tensor) -> Tensor:
        """Return the latent path, (n, K + 1, D), for θ (n, d) and standard normal noise (K, n, D)."""
        sde, parts = self.sde(theta), [self.start.expand(noise.shape[1:]).unsqueeze(1)]
        for grid, eps in zip(self.grids, noise.split([grid.steps for grid in self.grids]), strict=True):
            parts.append(euler_path(sde, parts[-1][:, -1], grid, eps)[:, 1:])
        return torch.cat(parts, 1)

    def log_path(self, theta: Tensor, path: Tensor) -> Tensor:
        """Return log p(path | θ), (n,), differentiable in θ, (n, d)."""
        sde, terms, first = self.sde(theta.unsqueeze(1)), [], 0
        for grid, equal in groupby(self.grids):
            m = len(list(equal))
            together = grid.repeated(m)
            terms.append(log_euler_path(sde, path[:, first : first + together.steps + 1], together))
            first += together.steps
        return torch.stack(terms).sum(0)

    @property
    def _observed(self) -> list[int]:
        """The steps of the path after which it is observed."""
        return list(accumulate(grid.steps for grid in self.grids))

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Draw a path for each θ, (n, d), and differentiate its log-density."""
        model, steps = self.model(), self._observed[-1]
        noise = torch.randn((steps, len(theta), len(self.start)), generator=generator, dtype=theta.dtype)
        path = self.draw_path(theta, noise)
        rows = max(1, STATES_AT_ONCE // steps)
        parts = zip(theta.split(rows), path.split(rows), strict=True)
        score = torch.cat([self._path_score(some, drawn) for some, drawn in parts])
        return Outcome(path[:, self._observed].flatten(1), score, model=model, latents=path)

    def log_joint(self, theta: Tensor, x: Tensor, latents: Any) -> Tensor:
        """Return log p(path | θ), (n,); x is a part of the path."""
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


class EquidistantDiffusion(DiffusionTask):
    """A diffusion observed at m equidistant times.

    Args:
        duration: the time up to the first observation, and from one to the next.
        steps: number of steps of the latent path in each of these intervals.
        observed: m.
    """

    duration: float = 1.0
    steps: int = 50
    observed: int = 1

    def __post_init__(self) -> None:
        require_whole(f"task {self.name}: steps", self.steps, 2)
        require_whole(f"task {self.name}: observed", self.observed, 1)
        require_positive(f"task {self.name}: duration", self.duration)

    @property
    def grid(self) -> TimeGrid:
        return TimeGrid(float(self.duration), self.steps)

    @property
    def grids(self) -> tuple[TimeGrid, ...]:
        return (self.grid,) * self.observed
