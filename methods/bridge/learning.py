"""Scores of a diffusion learned from its own paths, from scratch or as a residual on a closed-form base.

A network g(t, x) is added to a base's score. With v = (X_{k+1} − X_k − f dt)/dt and w the base's pull, all of
the second two at (t_{k+1}, X_{k+1}), it minimises, over Euler paths from x_0,

    corrected    E[gᵀ Σ g + 2 gᵀ(v + w)]             minimiser: the score's departure from the base
    paper        E[gᵀ Σ g + 2 gᵀ(v + w − div Σ)]     [BRIDGE, Theorem 3.4]: that, plus Σ⁻¹ div Σ
    explicit     E|g + Σ⁻¹(v + w)|²                  as corrected, but unstable where Σ is ill-conditioned

since E[v | X_{k+1}] = −(Σ ∇log p + div Σ). `plain` networks stand on the base `none`, whose pull is div Σ.
Either is used as a pull: base + Σ g, less the div Σ that the paper's objective has counted already.

A network is for one x_0 and one θ, those of its base: likelihoods over θ, as `bridge_is` needs them, take a
base alone. It is kept only if it lowers the corrected objective on held-out paths, where 0 is the base's own.

[BRIDGE] Boserup et al., arXiv 2411.08993.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...tasks.errors import NotFiniteError, UserError
from ...tasks.plugin import nearest, require_whole
from ...tasks.sde.sde import Coefficients, euler_path
from ...tasks.seeding import derive_seed, generator
from ..nn.network import ReplicatedMLP, time_features
from ..nn.optimizer import CosineAdam
from ..progress import report
from .bases import Base

OBJECTIVES = ("corrected", "paper", "explicit")
HELD_OUT_SHARE = 0.1
FEWEST_PATHS = 15  # of which two are held out: one has no standard error
AVERAGE = 0.995


@dataclass(frozen=True)
class ScoreTraining:
    """How a score is learned.

    Args:
        objective: "corrected", "paper" or "explicit".
        paths: Euler paths, 15 or more, a tenth of them held out.
        steps: of Adam, along a cosine from `rate`.
        batch: states in a minibatch.
        rate: the first learning rate.
        width, depth: units in a hidden layer, and hidden layers.
    """

    objective: str = "corrected"
    paths: int = 20_000
    steps: int = 3_000
    batch: int = 1024
    rate: float = 3e-3
    width: int = 64
    depth: int = 3

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            hint = nearest(self.objective, OBJECTIVES)
            raise UserError(f"scores: there is no objective {self.objective!r}: {hint}")
        require_whole("scores: paths", self.paths, FEWEST_PATHS)
        for option in ("steps", "batch", "width", "depth"):
            require_whole(f"scores: {option}", getattr(self, option), 1)
        if not self.rate > 0:
            raise UserError(f"scores: rate must be above 0, but is {self.rate!r}.")


@dataclass(frozen=True)
class States:
    """Training states: step numbers k + 1 (n,), x (n, D), and v + w (n, D) with what the objective counts."""

    k: Tensor
    x: Tensor
    target: Tensor

    def rows(self, index: Tensor) -> "States":
        return States(self.k[index], self.x[index], self.target[index])


class LearnedBase(Base):
    """A base with a network's share.

    Attributes:
        used: the network lowered the held-out objective; if not, this is the base alone.
        held_out: the mean of the held-out objective, and its standard error; 0 is that of the base.
    """

    name: ClassVar[str] = "learned"

    def __init__(self, base: Base, scale: Tensor, network: ReplicatedMLP, objective: str) -> None:
        super().__init__(base.sde, base.x_0, base.grid)
        self.base, self.scale, self.network, self.objective = base, scale, network, objective
        self.used, self.held_out = True, (math.nan, math.nan)

    def pull(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        pull = self.base.pull(k, x, here)
        if not self.used:
            return pull
        counted = here.divergence if self.objective == "paper" else 0.0
        steps = torch.full(x.shape[:-1], k)
        return pull - counted + here.times(self.residual(steps, x))

    def log_density(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        return self.base.log_density(k, x, here)

    def residual(self, k: Tensor, x: Tensor) -> Tensor:
        """Give g at steps k (...) and states x (..., D): F(inputs)/(scale √t), in the dtype of x."""
        t = (k.to(x.dtype) / self.grid.steps).unsqueeze(-1)
        moved = (x - self.x_0) / self.scale
        inputs = torch.cat([moved, moved / t.sqrt(), time_features(t), t.log()], -1)
        dtype = self.network.weights[0].dtype
        output = self.network(inputs.reshape(1, -1, inputs.shape[-1]).to(dtype))
        return output.reshape(x.shape).to(x.dtype) / (self.scale * t.sqrt())


@torch.enable_grad()
def learn(base: Base, training: ScoreTraining, seed: int) -> LearnedBase:
    """Train a network on paths from the base's x_0 at the parameters of its SDE.

    Args:
        base: what the network is added to; `NoBase` for a plain one.
        training: see there.
        seed: names the paths, the minibatches and the first weights.

    Raises:
        NotFiniteError: the training diverged.
    """
    held_out = max(1, round(HELD_OUT_SHARE * training.paths))
    train = _states(base, training.paths - held_out, training.objective, derive_seed(seed, "train"))
    learned = _network(base, train, training, derive_seed(seed, "network"))
    parameters: list[Tensor] = list(learned.network.parameters())
    average = [p.detach().clone() for p in parameters]
    optimizer = CosineAdam([(parameters, training.rate)], training.steps)
    random = generator(derive_seed(seed, "minibatches"))
    for step in range(training.steps):
        index = torch.randint(len(train.k), (training.batch,), generator=random)
        optimizer.step(_loss(learned, train.rows(index), training.objective).mean())
        torch._foreach_lerp_(average, parameters, 1 - AVERAGE)
        report("learn", step + 1, training.steps)
    with torch.no_grad():
        torch._foreach_copy_(parameters, average)
        if not all(bool(torch.isfinite(p).all()) for p in parameters):
            raise NotFiniteError(f"learning a score by the {training.objective} objective diverged")
        held = _states(base, held_out, "corrected", derive_seed(seed, "held out"))
        losses = _loss(learned, held, "corrected").reshape(held_out, -1).mean(1)
    learned.held_out = float(losses.mean()), float(losses.std() / held_out**0.5)
    learned.used = learned.held_out[0] < 0
    learned.network.requires_grad_(False)
    return learned


def _network(base: Base, train: States, training: ScoreTraining, seed: int) -> LearnedBase:
    """Make an untrained network; its output starts at 0, so that it starts as the base."""
    last = train.x[train.k == base.grid.steps]
    scale = (last - base.x_0).square().mean(0).sqrt()
    dim = train.x.shape[1]
    inputs = 2 * dim + time_features(torch.zeros(1, 1)).shape[1] + 1
    network = ReplicatedMLP(
        inputs, dim, width=training.width, depth=training.depth, generators=[generator(seed)]
    )
    return LearnedBase(base, scale, network, training.objective)


@torch.no_grad()
def _states(base: Base, paths: int, objective: str, seed: int) -> States:
    """Draw Euler paths and give their states 1 … K, path by path."""
    sde, grid, dim = base.sde, base.grid, base.x_0.shape[-1]
    noise = torch.randn(grid.steps, paths, dim, generator=generator(seed), dtype=torch.float64)
    path = euler_path(sde, base.x_0, grid, noise)
    targets = []
    for k in range(1, grid.steps + 1):
        before, x = path[:, k - 1], path[:, k]
        here = sde.at(x)
        v = (x - before) / grid.dt - sde.at(before).drift
        counted = here.divergence if objective == "paper" else 0.0
        targets.append(v + base.pull(k, x, here) - counted)
    steps = torch.arange(1, grid.steps + 1).repeat(paths)
    return States(steps, path[:, 1:].reshape(-1, dim), torch.stack(targets, 1).reshape(-1, dim))


def _loss(learned: LearnedBase, states: States, objective: str) -> Tensor:
    """Give the objective of each state times t, (n,): t evens out small times, and moves no minimiser."""
    here, t = learned.sde.at(states.x), states.k * learned.grid.dt
    g = learned.residual(states.k, states.x)
    if learned.objective == "paper" and objective == "corrected":
        g = g - here.solve(here.divergence)
    if objective == "explicit":
        return t * (g + here.solve(states.target)).square().sum(1)
    return t * (g * (here.times(g) + 2 * states.target)).sum(1)
