"""Scores of a diffusion learned by a network from simulated paths, as a residual on a base in closed form.

`learn` trains the network by one of three objectives; `LearnedBase` adds it to the base.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...tasks.errors import NotFiniteError, UserError
from ...tasks.plugin import nearest, require_whole
from ...tasks.sde.sde import SDE, Coefficients, TimeGrid, euler_path
from ...tasks.seeding import derive_seed, generator
from ..nn.averaging import MovingAverage, held_out
from ..nn.network import ReplicatedMLP, time_features
from ..nn.optimizer import CosineAdam
from ..progress import report
from .bases import Base

OBJECTIVES = ("corrected", "paper", "explicit")
FEWEST_PATHS = 15  # of which two are held out: one has no standard error


@dataclass(frozen=True)
class ScoreTraining:
    """The settings of `learn`.

    Args:
        objective: "corrected", "paper" or "explicit".
        paths: number of Euler paths, 15 or more; a tenth is held out.
        steps: number of Adam steps.
        batch: number of states in a minibatch.
        rate: initial learning rate of the cosine schedule.
        width: units in each hidden layer.
        depth: number of hidden layers.

    Raises:
        UserError: an option is unknown or out of range.
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
    """Training states.

    Attributes:
        k: step numbers k + 1 (n,).
        x: states X_{k+1} (n, D).
        target: v + w (n, D), less div Σ for the objective "paper".
    """

    k: Tensor
    x: Tensor
    target: Tensor

    def rows(self, index: Tensor) -> "States":
        return States(self.k[index], self.x[index], self.target[index])


class LearnedBase(Base):
    """A base with the pull w + Σ g, where w is the pull of another base and g a network.

    A network trained by the objective "paper" has learned Σ⁻¹ div Σ too, so its pull is w + Σ g − div Σ. The
    network belongs to the x_0 and θ of its base; `bridge_is`, which varies θ, cannot use it.

    Args:
        base: the base in closed form; its density is also the density of this base.
        scale: root mean squares of X_T − x_0 (D,).
        network: F, with g(t, x) = F/(scale √(t/T)).
        objective: the objective of the training.

    Attributes:
        used: whether the network lowered the held-out objective; otherwise the pull is w.
        held_out: mean of the held-out objective and its standard error; the base alone has mean 0.
    """

    name: ClassVar[str] = "learned"

    def __init__(self, base: Base, scale: Tensor, network: ReplicatedMLP, objective: str) -> None:
        super().__init__(base.sde, base.x_0, base.grid)
        self.base, self.scale, self.network, self.objective = base, scale, network, objective
        self.used, self.held_out = True, (math.nan, math.nan)

    def __call__(self, sde: SDE, x_0: Tensor, grid: TimeGrid) -> "LearnedBase":
        """Return this base, if it was learned for this model, start and grid.

        Raises:
            UserError: it was learned for others.
        """
        values = ((vars(of)[name] for of in (sde, self.sde)) for name in vars(self.sde))
        same = type(sde) is type(self.sde) and all(
            torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in values
        )
        if not (same and x_0.equal(self.x_0) and grid == self.grid):
            raise UserError("the learned score is for another model, start or grid: learn one for these.")
        return self

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
        """Return g (..., D) at steps k (...) and states x (..., D), in the dtype of x."""
        t = (k.to(x.dtype) / self.grid.steps).unsqueeze(-1)
        moved = (x - self.x_0) / self.scale
        inputs = torch.cat([moved, moved / t.sqrt(), time_features(t), t.log()], -1)
        dtype = self.network.weights[0].dtype
        output = self.network(inputs.reshape(1, -1, inputs.shape[-1]).to(dtype))
        return output.reshape(x.shape).to(x.dtype) / (self.scale * t.sqrt())


@torch.enable_grad()
def learn(base: Base, training: ScoreTraining, seed: int) -> LearnedBase:
    """Train a network g(t, x) on Euler paths from the base's x_0, to be added to the score of the base.

    With v = (X_{k+1} − X_k − f(X_k) dt)/dt, w the base's pull, and w, Σ and g at (t_{k+1}, X_{k+1}), training
    minimises the mean over paths and steps of t_{k+1} times

        corrected    gᵀ Σ g + 2 gᵀ(v + w)            minimiser: the score minus the base's score
        paper        gᵀ Σ g + 2 gᵀ(v + w − div Σ)    minimiser: the same plus Σ⁻¹ div Σ
        explicit     |g + Σ⁻¹(v + w)|²               as corrected, but unstable if Σ is ill-conditioned

    The minimisers follow from E[v | X_{k+1}] = −(Σ ∇log p + div Σ). The factor t_{k+1} balances early and
    late steps and does not change them. The network is used only if it lowers the corrected objective on
    held-out paths.

    Source: Boserup et al., arXiv 2411.08993, Theorem 3.4, for the objective "paper".

    Args:
        base: the base in closed form; `NoBase` learns the whole score.
        training: the settings.
        seed: names the paths, the minibatches and the initial weights.

    Raises:
        NotFiniteError: the training diverged.
    """
    unseen = held_out(training.paths)
    train = _states(base, training.paths - unseen, training.objective, derive_seed(seed, "train"))
    learned = _network(base, train, training, derive_seed(seed, "network"))
    parameters: list[Tensor] = list(learned.network.parameters())
    average = MovingAverage(parameters)
    optimizer = CosineAdam(parameters, training.rate, training.steps)
    random = generator(derive_seed(seed, "minibatches"))
    for step in range(training.steps):
        index = torch.randint(len(train.k), (training.batch,), generator=random)
        optimizer.step(_loss(learned, train.rows(index), training.objective).mean())
        average.update()
        report("learn", step + 1, training.steps)
    if not average.finish().all():
        raise NotFiniteError(f"learning a score by the {training.objective} objective diverged")
    with torch.no_grad():
        held = _states(base, unseen, "corrected", derive_seed(seed, "held out"))
        losses = _loss(learned, held, "corrected").reshape(unseen, -1).mean(1)
    learned.held_out = float(losses.mean()), float(losses.std() / unseen**0.5)
    learned.used = learned.held_out[0] < 0
    learned.network.requires_grad_(False)
    return learned


def _network(base: Base, train: States, training: ScoreTraining, seed: int) -> LearnedBase:
    """Return the base with an untrained network, whose output is 0."""
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
    """Draw Euler paths and return their states 1 … K, path by path."""
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
    """Compute t times the objective of each state (n,)."""
    here, t = learned.sde.at(states.x), states.k * learned.grid.dt
    g = learned.residual(states.k, states.x)
    if learned.objective == "paper" and objective == "corrected":
        g = g - here.solve(here.divergence)
    if objective == "explicit":
        return t * (g + here.solve(states.target)).square().sum(1)
    return t * (g * (here.times(g) + 2 * states.target)).sum(1)
