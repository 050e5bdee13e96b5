"""Diffusion models of posteriors by score matching: DSM, TSM and LTSM; `mixtures.py` has their mixtures.

All methods share one trainer and one network. A method is a choice of the score that its target uses and of a
gate.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, TypeVar, cast

import torch
from torch import Tensor

from ...tasks.errors import UserError
from ...tasks.plugin import require_choice, require_flag, require_positive, require_whole
from ...tasks.seeding import derive_seed, generator
from ...tasks.simulations import Simulations
from .. import device
from ..method import Method, Posterior, PosteriorState, required_field
from ..nn.averaging import DECAY
from ..nn.network import ReplicatedMLP, take_replicate
from ..progress import report
from .composition import COMPOSITIONS, require_independent
from .gates.gate import Gate
from .gates.moments import second_moment
from .gates.of_time import ConstantWeight
from .posterior import ScorePosterior, fill, restored_choice, sample_together
from .recipes import RECIPES
from .samplers import SAMPLERS
from .summary import AUTO, SUMMARIES, Summary, chosen_structure, restored_structure
from .trainer import ScoreModel, Trainer, Training
from .training_data import TrainingData

AnyTrainer = TypeVar("AnyTrainer", bound=Trainer)


class ScoreMatching(Method):
    """The base of all score-matching methods: a network s(u_t, x, t) is trained to predict a target y.

        minimise E λ(t) ‖s(u_t, x, t) − y‖²,    u_t = α(t) u_0 + σ(t) ε

    The recipe determines the loss weight λ, with j = E‖g‖²/d for the scores g that the target uses:

        preconditioned    λ = d/E‖y‖²: σ² for DSM, α²/j for TSM and LTSM, σ² + α²/j for MIX (scalar gate)
        plain             λ = σ² for DSM and MIX, α² σ² for TSM and LTSM, which diverge with σ²

    weighting="sigma_squared" sets λ = σ² for every target.

    Args:
        recipe: "preconditioned" or "plain", see `methods.score.recipes`.
        weighting: "recipe", the loss weight above, or "sigma_squared".
        early_stopping: True keeps the moving average of the best validation step, and stops when the held-out
            loss has stopped falling, see `methods.nn.stopping`. False takes all steps and keeps the last one.
        steps: the largest number of training steps; None selects 30,000 with early stopping, 3,000 without.
        batch: number of simulations in a minibatch, drawn with replacement; it is doubled after 2,000 and
            again after 4,000 steps.
        rate: learning rate.
        average: decay of the moving average of the parameters.
        width: number of units in a hidden layer.
        depth: number of hidden layers.
        summaries: a network that reduces x to a few numbers, fitted first: "auto" follows the structure that
            the task declares and does nothing for a vector, "none" never does anything, "sets", "series" or
            "fields" insist on that structure, see `methods.score.summary`.
        sampler: "exponential" (an exponential integrator), "ode" (the same, but every step is corrected) or
            "sde" (Euler-Maruyama), see `methods.score.samplers`.
        sampling_steps: number of steps of the sampler; None selects the sampler's default.
        composition: "none", or how the scores of several blocks of items are composed: "factorised", "gauss"
            or "jac", see `methods.score.composition`. The method then learns from simulations of one block,
            normally of one item, and its posterior takes x_o (m, k · dim_x) with any number k of blocks.
            Every target composes, because what is learned, the score of one block, is the same for all.

    Raises:
        UserError: an option has an unknown or impossible value.
    """

    version: ClassVar[int] = 4  # since 4, training stops later and its steps are compiled
    in_float32: ClassVar[bool] = True
    score_field: ClassVar[str | None] = None

    recipe: str = "preconditioned"
    weighting: str = "recipe"
    early_stopping: bool = True
    steps: int | None = None
    batch: int = 128
    rate: float = 3e-3
    average: float = DECAY
    width: int = 64
    depth: int = 3
    summaries: str = AUTO
    sampler: str = "exponential"
    sampling_steps: int | None = None
    composition: str = "none"

    def __post_init__(self) -> None:
        choices = {
            "recipe": RECIPES,
            "weighting": ("recipe", "sigma_squared"),
            "sampler": SAMPLERS,
            "summaries": SUMMARIES,
            "composition": COMPOSITIONS,
        }
        for option, known in choices.items():
            require_choice(f"method {self.name}", option, getattr(self, option), known)
        require_flag(f"method {self.name}: early_stopping", self.early_stopping)
        require_positive(f"method {self.name}: rate", self.rate)
        for option in ("steps", "sampling_steps", "batch", "width", "depth"):
            if getattr(self, option) is not None:
                require_whole(f"method {self.name}: {option}", getattr(self, option), 1)
        if not 0 <= self.average < 1:
            raise UserError(
                f"method {self.name}: average must be from 0 up to below 1, but is {self.average}."
            )

    @property
    def composes(self) -> bool:
        return self.composition != "none"

    def fit(self, simulations: Simulations, seed: int) -> Posterior:
        """Fit one replicate, see `train`."""
        return self.fit_replicates([simulations], [seed])[0]

    def fit_replicates(self, simulations: Sequence[Simulations], seeds: Sequence[int]) -> list[Posterior]:
        """Fit all replicates, see `train`."""
        return [*self.train(simulations, seeds)]

    def train(self, simulations: Sequence[Simulations], seeds: Sequence[int]) -> list[ScorePosterior]:
        """Fit all replicates as one batched network; each has its own simulations, seed and result.

        The network is trained, and the posteriors evaluate it later, on the current device of
        `methods.device`.

        Raises:
            UserError: the simulations lack the scores that the target uses, the option `summaries` is for
                another structure, or there is a composition, and x is not made of items that are independent
                given θ.
            NotFiniteError: training diverged.
        """
        data, summary = self.summarised(simulations, seeds)
        posteriors = self._train(data, seeds)
        if summary is not None:
            for r, posterior in enumerate(posteriors):
                posterior.summary = take_replicate(summary, r).requires_grad_(False)
        return posteriors

    def summarised(
        self, simulations: Sequence[Simulations], seeds: Sequence[int]
    ) -> tuple[TrainingData, Summary | None]:
        """Return the training data, in which summaries have replaced x, and what computes them.

        It is None if x needs no summary. For errors see `train`.
        """
        data = self.training_data(simulations)
        who, declared = f"method {self.name}", {s.structure for s in simulations}
        if len(declared) > 1:
            raise UserError(f"{who}: all replicates must have data of the same structure.")
        structure = chosen_structure(who, self.summaries, declared.pop())
        if structure is None:
            return data, None
        summary = Summary(structure, data.x, data.u.shape[2], seeds)
        return replace(data, x=summary.fit(data.x, data.u)), summary

    def trainer(self, data: TrainingData, seeds: Sequence[int], kind: type[AnyTrainer]) -> AnyTrainer:
        """Return a trainer of the given class for a new model and its gate, which is fitted."""
        model, gate = self._build(data, seeds)
        where = device.current()
        data, model, gate = data.to(where), model.to(where), gate.to(where)
        gate.fit(data, seeds)
        training = Training(self.steps, self.batch, self.rate, self.average, self.early_stopping)
        return kind(model, gate, replace(data, hessian=None), self.loss_weight, training, seeds)

    def _train(self, data: TrainingData, seeds: Sequence[int]) -> list[ScorePosterior]:
        """Fit all replicates to data in which summaries have replaced x."""
        where, trainer = device.current(), self.trainer(data, seeds, Trainer)
        trainer.run(lambda done, total: report("fit", done, total))
        model, gate = trainer.fitted[0].cpu(), trainer.fitted[1].cpu()
        posteriors = []
        for r, steps in enumerate(trainer.taken):
            posteriors.append(self._posterior(take_replicate(model, r), take_replicate(gate, r), where))
            posteriors[-1].training_steps = steps
        return posteriors

    def sample_replicates(
        self, posteriors: Sequence[Posterior], n: int, x_o: Tensor, seeds: Sequence[int]
    ) -> Tensor:
        """Sample all replicates and observations as one batch (replicates, m, n, d)."""
        return sample_together(cast(Sequence[ScorePosterior], posteriors), n, x_o, seeds)

    def restore(self, state: PosteriorState, dims: tuple[int, int]) -> ScorePosterior:
        d, dim_x = dims
        x, summary = torch.zeros(1, 2, dim_x), None
        if "structure" in state.facts:
            structure = restored_structure(state.facts["structure"], dim_x)
            summary = Summary(structure, x, d, [0])
            x = summary(x)
        score = None if self.score_field is None else torch.ones(1, 2, d)
        hessian = torch.eye(d).expand(1, 2, d, d)
        model, gate = self._build(TrainingData(torch.zeros(1, 2, d), x, score, hessian), [0])
        fill(model, gate, summary, state)
        posterior = self._posterior(model, gate)
        posterior.summary = summary
        posterior.choice = restored_choice(state)
        return posterior

    def training_data(self, simulations: Sequence[Simulations]) -> TrainingData:
        """Return the simulations of R replicates in float32, with the scores and Hessians that are used.

        Raises:
            UserError: the simulations lack these, or x has not the structure that composition needs.
        """
        if self.composes:
            what = f"method {self.name}: composition={self.composition}"
            for replicate in simulations:
                require_independent(what, replicate.structure)
        return TrainingData(
            torch.stack([s.u for s in simulations]).float(),
            torch.stack([s.x for s in simulations]).float(),
            self._stacked(simulations, self.score_field),
            self._stacked(simulations, "joint_hessian" if "joint_hessian" in self.requires else None),
        )

    def _gate(self, data: TrainingData, seeds: Sequence[int]) -> Gate:
        """Return the gate of the target: w = 1 for DSM, w = 0 for TSM and LTSM."""
        if data.score is None:
            return ConstantWeight(1.0, torch.zeros(len(data.u)))
        return ConstantWeight(0.0, second_moment(data.score))

    def _plain_weight(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return sigma**2 if self.score_field is None else alpha**2 * sigma**2

    def loss_weight(self, gate: Gate, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return λ for the options `recipe` and `weighting`."""
        if self.weighting == "sigma_squared":
            return sigma**2
        if self.recipe == "plain":
            return self._plain_weight(alpha, sigma)
        return 1 / gate.second_moment(alpha, sigma)

    def _build(self, data: TrainingData, seeds: Sequence[int]) -> tuple[ScoreModel, Gate]:
        recipe = RECIPES[self.recipe](data.u, data.x)
        generators = [generator(derive_seed(seed, "network")) for seed in seeds]
        mlp = ReplicatedMLP(
            recipe.n_inputs, data.u.shape[2], width=self.width, depth=self.depth, generators=generators
        )
        return ScoreModel(recipe, mlp), self._gate(data, seeds)

    def _stacked(self, simulations: Sequence[Simulations], field: str | None) -> Tensor | None:
        if field is None:
            return None
        return torch.stack([required_field(self.name, s, field) for s in simulations]).float()

    def _posterior(self, model: ScoreModel, gate: Gate, where: str = device.CPU) -> ScorePosterior:
        steps = self.sampling_steps or SAMPLERS[self.sampler].steps
        return ScorePosterior(
            model, gate, self.score_field, self.sampler, steps, self, where, self.composition
        )


class DSM(ScoreMatching):
    """Denoising score matching, which needs samples only.

        y = −ε/σ

    The default loss weight is σ². The options are described at `ScoreMatching`.

    Source: Vincent, A connection between score matching and denoising autoencoders, 2011.
    """

    name: ClassVar[str] = "dsm"
    summary: ClassVar[str] = "Denoising score matching, the black-box baseline."


class TSM(ScoreMatching):
    """Target score matching on the exact marginal score, an oracle without latents.

        y = ∇_u log p(u_0 | x)/α

    The default loss weight is α²/j with j = E‖∇_u log p(u_0 | x)‖²/d. The options are described at
    `ScoreMatching`.

    Source: De Bortoli et al., Target score matching, arXiv 2402.08667.
    """

    name: ClassVar[str] = "tsm"
    summary: ClassVar[str] = "Target score matching on the exact marginal score, an oracle."
    requires: ClassVar[frozenset[str]] = frozenset({"marginal_score"})
    score_field: ClassVar[str | None] = "marginal_score"


class LTSM(ScoreMatching):
    """Latent target score matching on the joint score alone.

        y = ∇_u log p(u_0, z, x)/α

    The default loss weight is α²/j with j = E‖∇_u log p(u_0, z, x)‖²/d. The options are described at
    `ScoreMatching`. At t = 0 it is Fisher score matching, for the posterior in place of the likelihood, see
    `likelihood_score`.

    Sources: Ko and Geffner, arXiv 2602.07189, Proposition 3.1; Sui et al., Fisher score matching for
    simulation-based forecasting and inference, arXiv 2507.07833, for its antecedent at t = 0.
    """

    name: ClassVar[str] = "ltsm"
    summary: ClassVar[str] = "Latent target score matching on the joint score alone."
    requires: ClassVar[frozenset[str]] = frozenset({"joint_score"})
    score_field: ClassVar[str | None] = "joint_score"
