"""The network of the paper, which learns the whole score of a landmark diffusion from one start.

`learn_paper` trains it. It is here to compare with: `landmarks` and `training` learn residuals.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from ....tasks.errors import UserError
from ....tasks.landmarks.diffusion import LandmarkDiffusion
from ....tasks.plugin import require_positive, require_whole
from ....tasks.sde.sde import SDE, Coefficients, TimeGrid, euler_path
from ....tasks.seeding import derive_seed, generator
from ..bases import NoBase
from .landmarks import LandmarkLaw
from .training import descend

WAVES = 8  # frequencies of an embedding


@dataclass(frozen=True)
class PaperTraining:
    """The settings of `learn_paper`.

    Args:
        steps: number of Adam steps.
        batch: number of Euler paths of an Adam step, drawn anew for each.
        rate: initial learning rate of the cosine schedule.
        width: numbers in the outer hidden layers; the middle one has four times as many.

    Raises:
        UserError: an option is out of range.
    """

    steps: int = 2_000
    batch: int = 32
    rate: float = 1e-3
    width: int = 128

    def __post_init__(self) -> None:
        for option in ("steps", "batch", "width"):
            require_whole(f"paper scores: {option}", getattr(self, option), 1)
        require_positive("paper scores: rate", self.rate)


class PaperNetwork(nn.Module):
    """A perceptron that widens and narrows, with skips between layers of one width; its output is over t.

    It reads x and sinusoidal embeddings of t and log σ², which enter each layer.

    Args:
        dim: D.
        width: numbers in the outer hidden layers.
        seed: names the initial weights.
    """

    def __init__(self, dim: int, width: int, seed: int) -> None:
        super().__init__()
        random, told = generator(seed), 4 * WAVES
        sizes = (dim, width, 2 * width, 4 * width, 2 * width, width)
        self.layers = nn.ModuleList(nn.Linear(a + told, b) for a, b in pairwise(sizes))
        self.last = nn.Linear(width, dim)
        for layer in (*self.layers, self.last):
            bound = 1 / math.sqrt(layer.in_features)
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=random)

    def forward(self, t: Tensor, log_variance: Tensor, x: Tensor) -> Tensor:
        """Return p (rows, D) for t and log σ² (rows, 1) and x (rows, D)."""
        told = torch.cat([embedding(t), embedding(log_variance)], -1)
        outer, inner, middle, narrower, last = self.layers
        first = silu(outer(torch.cat([x, told], -1)))
        second = silu(inner(torch.cat([first, told], -1)))
        third = silu(middle(torch.cat([second, told], -1)))
        fourth = silu(narrower(torch.cat([third, told], -1))) + second
        fifth = silu(last(torch.cat([fourth, told], -1))) + first
        found: Tensor = self.last(fifth) / t
        return found


def embedding(value: Tensor) -> Tensor:
    """Return sin and cos of 2^j value, j = 0 … WAVES − 1, (..., 2 WAVES) for values (..., 1)."""
    angle = value * 2 ** torch.arange(WAVES, dtype=value.dtype)
    return torch.cat([angle.sin(), angle.cos()], -1)


@dataclass
class PaperScores:
    """A factory of bases with the pull Σ p, where p is the network; its log-density is 0.

    Attributes:
        start: x_0 (D,).
        grid: duration and number of steps.
        network: p.
    """

    start: Tensor
    grid: TimeGrid
    network: PaperNetwork

    def __call__(self, sde: SDE, x_0: Tensor, grid: TimeGrid) -> "PaperBase":
        """Return the learned base.

        Raises:
            UserError: the SDE is no diffusion of landmarks, or the start or the grid differ from training.
        """
        if not isinstance(sde, LandmarkDiffusion):
            raise UserError(f"paper scores: they are for landmarks, not for a {type(sde).__name__}.")
        if grid != self.grid or not x_0.equal(self.start):
            raise UserError("paper scores: they belong to another start or grid: learn scores for these.")
        return PaperBase(self, sde, x_0, grid)


class PaperBase(NoBase):
    """The base that `PaperScores` makes."""

    name: ClassVar[str] = "paper_scores"

    def __init__(self, scores: PaperScores, sde: LandmarkDiffusion, x_0: Tensor, grid: TimeGrid) -> None:
        super().__init__(sde, x_0, grid)
        self.scores, self.log_variance = scores, 2 * sde.log_a

    def pull(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        told = self.log_variance.unsqueeze(-1).expand(*x.shape[:-1], 1)
        t = torch.full_like(told, self.grid.time(k))
        rows = (part.reshape(-1, part.shape[-1]).float() for part in (t, told, x))
        return here.times(self.scores.network(*rows).to(x.dtype).view(x.shape))


@torch.enable_grad()
def learn_paper(law: LandmarkLaw, grid: TimeGrid, training: PaperTraining, seed: int) -> PaperScores:
    """Train p(t, x) on Euler paths from one start, each with its own σ = a.

    With Δ = X_{k+1} − X_k, and Σ and f at X_k, training minimises the mean over paths and steps of

        pᵀ (Σ dt) p + 2 pᵀ (Δ − f dt),    p at (t_{k+1}, X_{k+1}),

    whose minimiser is ∇log p + Σ⁻¹ div Σ up to O(dt): the pull is Σ p.

    The authors' public code simulates with the kernel matrix k as diffusion coefficient, so Σ = k², and has k
    in place of Σ in this objective. Its minimiser is −k⁻¹ E[v | x] = k ∇log p + k⁻¹ div k² in place of
    ∇log p + …: each direction of the score is multiplied by its eigenvalue of k.

    Source: Boserup et al., arXiv 2411.08993, Theorem 3.4.

    Args:
        law: draws θ for each path; all starts are the same.
        grid: duration and number of steps.
        training: the settings.
        seed: names the paths and the initial weights.

    Raises:
        NotFiniteError: the training diverged.
    """
    start = law(1, seed)[1].reshape(-1)
    network = PaperNetwork(len(start), training.width, derive_seed(seed, "network"))

    def loss(step: int) -> Tensor:
        return _loss(network, law, grid, training.batch, derive_seed(seed, "step", step))

    descend(network, loss, training.steps, training.rate)
    return PaperScores(start, grid, network)


def _loss(network: PaperNetwork, law: LandmarkLaw, grid: TimeGrid, paths: int, seed: int) -> Tensor:
    with torch.no_grad():
        sde, x_0 = law(paths, derive_seed(seed, "law"))
        size = (grid.steps, paths, 1, x_0.shape[-1])
        noise = torch.randn(size, generator=generator(derive_seed(seed, "paths")), dtype=torch.float64)
        path = euler_path(sde, x_0, grid, noise).squeeze(1)
        before, after = path[:, :-1], path[:, 1:]
        here = sde.at(before)
        dt = grid.lengths.unsqueeze(-1)
        moved = (after - before - here.drift * dt).flatten(0, 1).float()
        factor = (here.factor * dt.sqrt().unsqueeze(-1)).flatten(0, 1).float()
        t = grid.times[1:].repeat(paths).unsqueeze(-1)
        told = (2 * sde.log_a).expand(paths, grid.steps).reshape(-1, 1)
    p = network(t.float(), told.float(), after.flatten(0, 1).float())
    whitened = factor.mT @ p.unflatten(-1, (factor.shape[-1], -1))
    return (whitened.square().sum((-2, -1)) + 2 * (p * moved).sum(-1)).mean()
