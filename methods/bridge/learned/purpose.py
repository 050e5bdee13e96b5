"""Training of learned scores on the bridges themselves, so that their weights vary little.

`refine` continues the training of `training.learn`.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ....tasks.plugin import require_choice, require_positive, require_whole
from ....tasks.sde.sde import TimeGrid
from ....tasks.seeding import derive_seed, generator
from ..likelihood import BridgeSampler, average
from .scores import LearnedScores, ScoreNetwork
from .training import Law, Paths, fit_network

OBJECTIVES = ("divergence", "variance")
ROUNDS = 4  # in which the variance draws its bridges
WORST = 1e3  # nats below the best weight of an end point
HELD_ENDS, HELD_BRIDGES = 64, 32


@dataclass(frozen=True)
class BridgeTraining:
    """The settings of `refine`.

    Args:
        objective: "divergence" or "variance".
        ends: number of end points, each with its own θ and x_0, 4 or more.
        bridges: number of bridges to each end point, 2 or more.
        steps: number of Adam steps of "variance", which uses bridges again; "divergence" takes ends/batch.
        batch: number of end points in an Adam step.
        rate: initial learning rate of the cosine schedule.

    Raises:
        UserError: an option is unknown or out of range.
    """

    objective: str = "variance"
    ends: int = 4_000
    bridges: int = 4
    steps: int = 2_000
    batch: int = 16
    rate: float = 3e-3

    def __post_init__(self) -> None:
        require_choice("refining scores", "objective", self.objective, OBJECTIVES)
        for option, least in {"ends": ROUNDS, "bridges": 2, "steps": ROUNDS, "batch": 1}.items():
            require_whole(f"refining scores: {option}", getattr(self, option), least)
        require_positive("refining scores: rate", self.rate)

    @property
    def simulations(self) -> int:
        """The number of paths that training simulates: one to each end point, and the bridges back."""
        return self.ends * (1 + self.bridges)


@torch.enable_grad()
def refine(scores: LearnedScores, law: Law, training: BridgeTraining, seed: int) -> LearnedScores:
    """Train learned scores further, on bridges to end points of Euler paths, each with its own θ and x_0.

    With the mean and the variance over the bridges of an end point, training minimises the mean over end
    points of

        divergence    −E log w/(1 + Var log w), by gradients through the bridges, the divisor held fixed
        variance      log(1 + Var log w), at fixed paths

    −E log w is the divergence KL(proposal | bridge) less log p(y | x_0). At a fixed path the proposal's ε_k
    depend on the network and nothing else does, so a path drawn earlier serves again:

        log w = log w' + ½ Σ_k (|ε_k|² − |ε'_k|²),   ε_k = ε'_k − √(dt/t_k) (F − F'),  F at (t_{k+1}, x_{k+1})

    where ' marks what it was drawn with. On paths just drawn, the gradient of Var log w is twice the
    divergence's in expectation, and has no noise at the optimum. The divisor keeps end points with bad
    bridges from outweighing all others. Bridges more than 1,000 nats below the best of their end point are
    left out.

    The reverse bridge is a Markov chain whose best drift does not depend on y: one network serves all y.

    Source: Richter et al., VarGrad: a low-variance gradient estimator for variational inference, 2020.

    Args:
        scores: the scores to begin with; they are not changed.
        law: draws θ and x_0.
        training: the settings.
        seed: names the end points and the bridges.

    Returns:
        The refined scores; or `scores` if these have the larger mean ESS/N at held-out end points.

    Raises:
        NotFiniteError: the training diverged.
    """
    refined = replace(scores, network=copy.deepcopy(scores.network), used=True)
    make = _divergence if training.objective == "divergence" else _variance
    loss, steps = make(refined, law, training, seed)
    fit_network(refined.network, loss, steps, training.rate)
    held = derive_seed(seed, "held out")
    before, after = (
        effective_fraction(each, law, HELD_ENDS, HELD_BRIDGES, held) for each in (scores, refined)
    )
    return refined if after > before else scores


@torch.no_grad()
def effective_fraction(scores: LearnedScores, law: Law, ends: int, bridges: int, seed: int) -> float:
    """Return the mean ESS/N of so many bridges to end points of Euler paths."""
    paths = Paths.draw(law, scores.grid, ends, seed)
    sampler, y = BridgeSampler(particles=bridges), paths.ends
    noise = sampler.noise(scores.grid, y.shape[:1], y.shape[1], seed)
    drawn = sampler.bridges(paths.sde, paths.x_0, y, scores.grid, noise, base=scores)
    return float(average(drawn).ess_fraction.mean())


def _divergence(
    scores: LearnedScores, law: Law, training: BridgeTraining, seed: int
) -> tuple[Callable[[int], Tensor], int]:
    """Return the loss of each step, and the number of steps."""
    sampler = BridgeSampler(particles=training.bridges)

    def loss(step: int) -> Tensor:
        own = derive_seed(seed, "step", step)
        paths = Paths.draw(law, scores.grid, training.batch, own)
        y = paths.ends
        noise = sampler.noise(scores.grid, y.shape[:1], y.shape[1], own)
        drawn = sampler.bridges(paths.sde, paths.x_0, y, scores.grid, noise, base=scores)
        mean, variance = _moments(drawn.log_weights)
        return -(mean / (1 + variance.detach())).mean()

    return loss, max(1, training.ends // training.batch)


def _variance(
    scores: LearnedScores, law: Law, training: BridgeTraining, seed: int
) -> tuple[Callable[[int], Tensor], int]:
    """Return the loss of each step, and the number of steps."""
    ends = training.ends // ROUNDS
    in_round = training.steps // ROUNDS
    random = generator(derive_seed(seed, "minibatches"))
    drawn: list[FixedBridges] = []

    def loss(step: int) -> Tensor:
        if step % in_round == 0:
            drawn[:] = [
                FixedBridges.draw(scores, law, ends, training.bridges, derive_seed(seed, "round", step))
            ]
        index = torch.randint(ends, (training.batch,), generator=random)
        _, variance = _moments(drawn[0].log_weights_with(scores.network, index))
        return variance.log1p().mean()

    return loss, ROUNDS * in_round


@dataclass(frozen=True)
class FixedBridges:
    """N bridges to each of n end points, with what their weights need when the network changes.

    Attributes:
        log_weights: log w' (n, N).
        inputs: inputs of the perceptron at steps 2 … K (n, N (K − 1), inputs).
        moved: √(dt/t_k) F' (n, N, K − 1, D).
        noise: ε'_k (n, N, K − 1, D).
        grid: of the bridges.
    """

    log_weights: Tensor
    inputs: Tensor
    moved: Tensor
    noise: Tensor
    grid: TimeGrid

    @classmethod
    @torch.no_grad()
    def draw(cls, scores: LearnedScores, law: Law, ends: int, bridges: int, seed: int) -> "FixedBridges":
        grid, sampler = scores.grid, BridgeSampler(particles=bridges)
        paths = Paths.draw(law, grid, ends, seed)
        y = paths.ends
        noise = sampler.noise(grid, y.shape[:1], y.shape[1], seed)
        drawn = sampler.bridges(paths.sde, paths.x_0, y, grid, noise, base=scores, keep_paths=True)
        assert drawn.paths is not None
        x, k = drawn.paths[..., 2:, :].flatten(1, 2), torch.arange(2, grid.steps + 1).repeat(bridges)
        base = scores(paths.sde, paths.x_0, grid)
        inputs = scores.network.inputs(base.features(k, x, paths.sde.at(x)))
        eps = noise[0].movedim(0, 2)
        return cls(drawn.log_weights, inputs, _moved(scores.network, inputs, eps, grid), eps, grid)

    def log_weights_with(self, network: ScoreNetwork, index: Tensor) -> Tensor:
        """Compute log w of some end points (batch, N) with the network as it is now."""
        eps = self.noise[index]
        now = eps + self.moved[index] - _moved(network, self.inputs[index], eps, self.grid)
        return self.log_weights[index] + 0.5 * (now.square() - eps.square()).sum((-2, -1))


def _moved(network: ScoreNetwork, inputs: Tensor, noise: Tensor, grid: TimeGrid) -> Tensor:
    """Return √(dt/t_k) F for inputs (n, N (K − 1), ·) in the shape of the noise (n, N, K − 1, D)."""
    clock = torch.tensor(grid.clock, dtype=noise.dtype)[1:].unsqueeze(-1)
    return network.output(inputs).to(noise.dtype).view_as(noise) / (clock[:-1] / clock.diff(dim=0)).sqrt()


def _moments(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance (n,) of log w (n, N), over the bridges whose weights are not too small."""
    best = log_weights.detach().amax(1, keepdim=True)
    kept = log_weights > best - WORST
    number = kept.sum(1).clamp_min(1)
    finite = log_weights.where(kept, 0.0)
    mean = finite.sum(1) / number
    squares = (finite - mean.unsqueeze(1)).square().where(kept, 0.0)
    return mean, squares.sum(1) / (number - 1).clamp_min(1)
