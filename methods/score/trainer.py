"""The trainer of all score-matching methods, which differ only in their target and its loss weight."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...tasks.errors import NotFiniteError
from ...tasks.seeding import derive_seed, generator
from ..nn.averaging import held_out
from ..nn.network import ReplicatedMLP
from ..nn.stopping import Plateau, batch_size, next_look
from . import targets
from .gates.gate import Gate
from .learners import AutogradLearner, CompiledLearner, Learner, Minibatch, trained_parameters
from .recipes import Plain, Preconditioned
from .schedule import alpha_sigma
from .training_data import Draws, TrainingData, every_row, minibatches

ROWS_AT_ONCE = 4096  # of each replicate, prepared together
VALIDATION_ROWS = 4096  # draws in a held-out loss, and the largest number of simulations in it
MOST_STEPS, STEPS_WITHOUT_LOSS = 30_000, 3000
Weighting = Callable[[Gate, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Training:
    """How long and how fast to train.

    Attributes:
        steps: the largest number of training steps; None stands for 30,000 if simulations are held out, else
            for 3,000.
        batch: number of simulations in the first minibatches.
        rate: learning rate.
        average: decay of the moving average of the parameters.
        early_stopping: True holds simulations out, keeps the best step and stops when training is done.
    """

    steps: int | None
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


class DivergedError(NotFiniteError):
    """The training of one of several replicates diverged.

    Args:
        replicate: its number.
    """

    def __init__(self, replicate: int) -> None:
        super().__init__(replicate)
        self.replicate = replicate

    def __str__(self) -> str:
        return f"training of replicate {self.replicate} diverged: use a smaller rate"


class Trainer:
    """Trains a model, and its gate if the gate is learned, on R replicates at once.

    With s = base + scale · F, see `recipes`, the loss is a weighted regression of the output F:

        λ(t) ‖s − y‖² = λ scale² ‖F − (y − base)/scale‖²

    Only F depends on the network, so minibatches are prepared for many steps at a time.

    Adam takes steps at a constant rate on minibatches that grow, t is stratified, and a moving average of the
    parameters is kept, see `nn.stopping`. With early stopping, a share of the simulations is held out. Each
    replicate keeps the average with the least held-out loss, always on the same draws of t and ε, and stops
    when this loss has stopped falling. Without early stopping, all simulations train, all steps are taken,
    and the last average is kept. The recipe's regression and the gate are fitted beforehand and use all
    simulations in either case. A learned weight is judged on its own target, so its loss also falls if the
    variance of the target falls.

    Each replicate has its own generators, and leaves the batch when it stops, so its result and its steps
    depend only on its own simulations and seed.

    Args:
        model, gate: for R replicates; trained in place.
        data: the simulations, on the device of the model and the gate.
        weighting: the loss weight λ (..., R, B, 1) as a function of the gate, α(t) and σ(t).
        training: steps, batch, rate and stopping rule.
        seeds: one for each replicate.

    Attributes:
        fitted: the given model and gate.
        taken: the steps that each replicate took, after `run`.
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
        self.fitted, self.data = (model, gate), data
        self.model, self.gate = copy.deepcopy(model), copy.deepcopy(gate)
        self.weighting, self.training = weighting, training
        self.generators = [generator(derive_seed(seed, "minibatches")) for seed in seeds]
        self.replicates, self.taken = [*range(len(seeds))], [0] * len(seeds)
        n, d = data.u.shape[1:]
        self.n_train = n - held_out(n) if training.early_stopping else n
        self.validation = None
        if self.n_train < n:
            last = min(n, self.n_train + VALIDATION_ROWS)
            repeats = -(-VALIDATION_ROWS // (last - self.n_train))
            held = [generator(derive_seed(seed, "validation")) for seed in seeds]
            self.validation = self._prepare(every_row(self.n_train, last, repeats, d, held))
        self.steps = training.steps or (STEPS_WITHOUT_LOSS if self.validation is None else MOST_STEPS)
        self.learner: Learner
        if data.u.is_cpu and not gate.trained:
            self.learner = CompiledLearner(self.model.mlp, training.rate, training.average)
            self.results = [model.mlp.flatten()]
        else:
            self.learner = AutogradLearner(self.model.mlp, self.gate, training.rate, training.average)
            self.results = [*model.mlp.parameters(), *trained_parameters(gate)]
        self.plateau = Plateau(len(seeds))

    def run(self, progress: Callable[[int, int], None]) -> None:
        """Train the model; `progress(done, total)` is called about ninety times or less.

        Raises:
            DivergedError: no held-out loss of a replicate is finite, or its final parameters are not.
        """
        step = 0
        while self.replicates:
            until = min(self.steps, next_look(step))
            self._advance(step, until)
            step, done = until, self.look(until)
            if step == self.steps:
                done = [True] * len(done)
            if any(done):
                self._finish(done, step)
            progress(step, self.steps if self.replicates else step)

    def look(self, step: int) -> list[bool]:
        """Judge the average after `step` steps, and return whether the training of each replicate is done."""
        if self.validation is None:
            return [False] * len(self.replicates)
        self.learner.judge(self.validation)
        return self.plateau.look(step, self.learner.average.best.loss)

    def _advance(self, first: int, last: int) -> None:
        """Take the steps from `first` to `last`."""
        size, d = batch_size(self.training.batch, first), self.data.u.shape[2]
        at_once = max(1, ROWS_AT_ONCE // size)
        for start in range(first, last, at_once):
            steps = min(at_once, last - start)
            draws = minibatches(steps, size, 0, self.n_train, d, self.generators)
            self.learner.take(self._prepare(draws))

    def _finish(self, done: Sequence[bool], step: int) -> None:
        """Store the results of the replicates that are done, and drop these replicates."""
        values, finite = self.learner.average.result()
        for k in (k for k, is_done in enumerate(done) if is_done):
            r = self.replicates[k]
            if not finite[k]:
                raise DivergedError(r)
            for result, value in zip(self.results, values, strict=True):
                result.data[r] = value[k]
            self.taken[r] = step
        kept = [k for k, is_done in enumerate(done) if not is_done]
        self.replicates = [self.replicates[k] for k in kept]
        self.generators = [self.generators[k] for k in kept]
        self.data = self.data.replicates(kept)
        if self.validation is not None:
            self.validation = self.validation.part(kept)
        self.learner.keep(kept)
        self.plateau.keep(kept)
        fixed = [*self.model.buffers(), *self.gate.buffers()]
        for tensor in fixed if self.gate.trained else [*fixed, *self.gate.parameters()]:
            tensor.data = tensor.data[kept]

    @torch.no_grad()
    def _prepare(self, draws: Draws) -> Minibatch:
        """Return the minibatch, or the minibatches, (..., R, rows, features) of the draws."""
        index, t, eps = draws.to(self.data.u.device)
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
        weight = self.weighting(self.gate, alpha, sigma) * scale**2
        return Minibatch(inputs, goal_dsm, goal_score, u_t, drawn.x, t, weight)
