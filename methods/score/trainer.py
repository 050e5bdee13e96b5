"""The trainer of all score-matching methods, which differ only in their target and its loss weight."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ...tasks.errors import NotFiniteError
from ...tasks.seeding import derive_seed, generator
from ..nn.averaging import VALIDATION_ROWS, MovingAverage, held_out, is_due
from ..nn.network import BackwardPass, ReplicatedMLP, replicate_blocks
from ..nn.optimizer import CosineAdam
from . import targets
from .gates import Gate
from .recipes import Plain, Preconditioned
from .schedule import alpha_sigma
from .training_data import TrainingData, minibatches

STEPS_AT_ONCE = 32
# Factor on the learning rate of a learned weight, which must settle before the score network can. With it the
# weight comes from ½ within 0.03 of w* in 3,000 steps at every budget on the Galton board (results/galton).
GATE_RATE = 3.0

Weighting = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Training:
    """How long and how fast to train.

    Attributes:
        steps: number of training steps.
        batch: number of simulations in a minibatch.
        rate: initial learning rate.
        average: decay of the moving average of the parameters.
        early_stopping: True holds simulations out and keeps the best step.
    """

    steps: int
    batch: int
    rate: float
    average: float
    early_stopping: bool


class ScoreModel(nn.Module):
    """A recipe with its network, for R replicates: s = base + scale · F."""

    def __init__(self, recipe: Plain | Preconditioned, mlp: ReplicatedMLP) -> None:
        super().__init__()
        self.recipe, self.mlp = recipe, mlp

    def forward(self, u_t: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Return the score (R, n, d) at u_t (R, n, d) for x (R, n, dim_x) and t (R, n, 1)."""
        inputs, base, scale = self.recipe(u_t, x, t)
        return base + scale * self.mlp(inputs)


@dataclass(frozen=True)
class Minibatch:
    """A weighted regression of the network's output.

    Attributes:
        inputs: of the network.
        goal_dsm: the goal, or the DSM part of it if a gate is trained.
        goal_score: the score part of the goal if a gate is trained, else None.
        u_t, x, t: where the gate is evaluated.
        weight: the loss weight.
    """

    inputs: Tensor
    goal_dsm: Tensor
    goal_score: Tensor | None
    u_t: Tensor
    x: Tensor
    t: Tensor
    weight: Tensor

    def step(self, k: int) -> "Minibatch":
        """Return step k of minibatches that were prepared together."""
        score = None if self.goal_score is None else self.goal_score[k]
        place = self.u_t[k], self.x[k], self.t[k]
        return Minibatch(self.inputs[k], self.goal_dsm[k], score, *place, self.weight[k])


class Trainer:
    """Trains a model, and its gate if the gate is learned, on R replicates at once.

    With s = base + scale · F, see `recipes`, the loss is a weighted regression of the output F:

        λ(t) ‖s − y‖² = λ scale² ‖F − (y − base)/scale‖²

    Only F depends on the network, so minibatches are prepared for many steps at a time.

    Adam follows a cosine schedule, t is stratified, and a moving average of the parameters is kept. With
    early stopping, a share of the simulations is held out, and each replicate keeps the average with the
    least held-out loss. Without early stopping, all simulations train, and the last average is kept. The
    recipe's regression and the gate are fitted beforehand and use all simulations in either case. A learned
    weight is judged on its own target, so its loss also falls if the variance of the target falls.

    Each replicate has its own generators, so its result depends only on its own simulations and seed.

    Args:
        model, gate: for R replicates; trained in place.
        data: the simulations, on the device of the model and the gate.
        weighting: the loss weight λ (..., R, B, 1) as a function of α(t) and σ(t).
        training: steps, batch, rate and stopping rule.
        seeds: one for each replicate.
    """

    def __init__(
        self,
        model: ScoreModel,
        gate: Gate,
        data: TrainingData,
        weighting: Weighting,
        training: Training,
        seeds: Sequence[int],
    ) -> None:
        self.model, self.gate, self.data = model, gate, data
        self.weighting, self.training = weighting, training
        self.generators = [generator(derive_seed(seed, "minibatches")) for seed in seeds]
        self.gate_parameters = [*gate.parameters()] if gate.trained else []
        self.parameters: list[Tensor] = [*model.mlp.parameters(), *self.gate_parameters]
        n = data.u.shape[1]
        self.n_train = n - held_out(n) if training.early_stopping else n
        self.validation = None
        if self.n_train < n:
            held = [generator(derive_seed(seed, "validation")) for seed in seeds]
            self.validation = self._prepare(1, VALIDATION_ROWS, self.n_train, n, held).step(0)

    def run(self, progress: Callable[[int, int], None]) -> None:
        """Train the model; `progress(done, total)` is called about fifty times.

        Raises:
            NotFiniteError: no held-out loss of a replicate is finite, or its final parameters are not.
        """
        steps, rate = self.training.steps, self.training.rate
        groups = [([*self.model.mlp.parameters()], rate), (self.gate_parameters, GATE_RATE * rate)]
        optimizer = CosineAdam([(own, first) for own, first in groups if own], steps)
        replicates, width = self.model.mlp.weights[-1].shape[:2]
        blocks = [slice(0, replicates)]
        if self.data.u.is_cpu:
            blocks = replicate_blocks(replicates, self.training.batch, width)
        passes = [BackwardPass(self.model.mlp, own) for own in blocks]
        average = MovingAverage(self.parameters, self.training.average, replicates)
        for step in range(steps):
            if step % STEPS_AT_ONCE == 0:
                prepared = self._prepare(STEPS_AT_ONCE, self.training.batch, 0, self.n_train, self.generators)
            self._differentiate(prepared.step(step % STEPS_AT_ONCE), passes)
            optimizer.move()
            average.update()
            if is_due(step + 1, steps):
                progress(step + 1, steps)
                if self.validation is not None:
                    average.judge(partial(self._loss, self.validation))
        finite = average.finish()
        if not finite.all():
            raise NotFiniteError(f"training of replicate {int((~finite).nonzero()[0])} diverged")

    @torch.no_grad()
    def _loss(self, batch: Minibatch) -> Tensor:
        """Return the mean loss of each replicate (R,)."""
        error = (self.model.mlp(batch.inputs) - self._goal(batch)).square()
        return (batch.weight * error).mean((1, 2))

    def _differentiate(self, batch: Minibatch, passes: Sequence[BackwardPass]) -> None:
        """Write the gradient of the summed `_loss` into the `grad` of the parameters."""
        goal = self._goal(batch)
        slope = batch.weight * (2 / goal[0].numel())
        slopes = []
        for part in passes:
            output = part.forward(batch.inputs[part.own])
            slopes.append(output.sub_(goal.detach()[part.own]).mul_(slope[part.own]))
            part.backward(slopes[-1])
        if goal.requires_grad:
            goal.backward(-torch.cat(slopes))

    def _goal(self, batch: Minibatch) -> Tensor:
        """Return the goal (R, B, d) of the network's output."""
        if batch.goal_score is None:
            return batch.goal_dsm
        return self.gate.mix(batch.goal_dsm, batch.goal_score, batch.u_t, batch.x, batch.t)

    @torch.no_grad()
    def _prepare(
        self, steps: int, rows: int, first: int, last: int, generators: Sequence[torch.Generator]
    ) -> Minibatch:
        """Return `steps` minibatches (steps, R, rows, features) of the simulations first to last − 1."""
        d = self.data.u.shape[2]
        index, t, eps = minibatches(steps, rows, first, last, d, generators).to(self.data.u.device)
        drawn = self.data.rows(index)
        alpha, sigma = alpha_sigma(t)
        u_t = alpha * drawn.u + sigma * eps
        inputs, base, scale = self.model.recipe(u_t, drawn.x, t)
        goal_dsm = (targets.dsm(eps, sigma) - base) / scale
        goal_score = None
        if drawn.score is not None:
            goal_score = (targets.from_score(drawn.score, alpha) - base) / scale
            if not self.gate.trained:
                goal_dsm, goal_score = self.gate.mix(goal_dsm, goal_score, u_t, drawn.x, t), None
        weight = self.weighting(alpha, sigma) * scale**2
        return Minibatch(inputs, goal_dsm, goal_score, u_t, drawn.x, t, weight)
