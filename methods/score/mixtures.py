"""Mixtures of the DSM target with a score target: `mix` uses joint scores and `tsm_mix` marginal scores."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from ...tasks.plugin import require_choice
from .gates.choice import AUTO, GATES, OF_HESSIANS, choose, make_gate
from .gates.gate import Gate
from .posterior import ScorePosterior
from .score_matching import ScoreMatching
from .trainer import DivergedError
from .training_data import TrainingData


class Mix(ScoreMatching):
    """DSM and LTSM mixed by a gate W.

        y = W y_DSM + (I − W) y_LTSM,    y_DSM = −ε/σ,    y_LTSM = ∇_u log p(u_0, z, x)/α

    With gate="auto" each replicate chooses its gate from its own simulations, see `gates.choice.choose`. The
    replicate is then fitted as if its gate had been named.

    The loss weight is d/E‖y‖² for the preconditioned recipe and σ² for the plain recipe. With the scalar
    gate, d/E‖y‖² = σ² + α²/j, where j = E‖g‖²/d is the second moment of the joint scores.

    Args:
        gate: a name in `methods.score.gates.choice.GATES`, or "auto". The gates of `OF_HESSIANS` require
            `joint_hessian` of a task, as well as joint scores.

    The other options are described at `ScoreMatching`.

    Source: Ko and Geffner, arXiv 2602.07189, section 3.2 and equation 5.
    """

    name: ClassVar[str] = "mix"
    version: ClassVar[int] = 5  # since 5, training stops later and its steps are compiled
    summary: ClassVar[str] = "DSM and LTSM mixed over diffusion time by the weight of least variance."
    requires: ClassVar[frozenset[str]] = frozenset({"joint_score"})
    score_field: ClassVar[str | None] = "joint_score"
    gates: ClassVar[tuple[str, ...]] = (*GATES, AUTO)

    gate: str = "scalar"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice(f"method {self.name}", "gate", self.gate, self.gates)
        if self.gate in OF_HESSIANS:
            object.__setattr__(self, "requires", self.requires | {"joint_hessian"})

    def _train(self, data: TrainingData, seeds: Sequence[int]) -> list[ScorePosterior]:
        """Fit all replicates; with gate="auto", replicates with the same choice are fitted as one batch."""
        if self.gate != AUTO:
            return super()._train(data, seeds)
        choices = choose(data, seeds)
        posteriors: dict[int, ScorePosterior] = {}
        for gate in {choice.gate: None for choice in choices}:
            rows = [r for r, choice in enumerate(choices) if choice.gate == gate]
            chosen = replace(self, gate=gate)
            try:
                fitted = chosen._train(data.replicates(rows), [seeds[r] for r in rows])
            except DivergedError as error:
                raise DivergedError(rows[error.replicate]) from error
            for r, posterior in zip(rows, fitted, strict=True):
                posterior.choice = choices[r]
                posteriors[r] = posterior
        return [posteriors[r] for r in range(len(choices))]

    def _gate(self, data: TrainingData, seeds: Sequence[int]) -> Gate:
        return make_gate(self.gate, data, seeds)

    def _plain_weight(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return sigma**2


class TSMMix(Mix):
    """DSM and TSM mixed by a gate W.

        y = W y_DSM + (I − W) y_TSM,    y_DSM = −ε/σ,    y_TSM = ∇_u log p(u_0 | x)/α

    It is an oracle: it needs the exact marginal score. Its advantage over `mix` is the cost of the latents.
    It has no gates of Hessians, because the mean of the joint Hessians is not E[s sᵀ] of marginal scores s.

    Source: De Bortoli et al., Target score matching, arXiv 2402.08667, section 3.2.
    """

    name: ClassVar[str] = "tsm_mix"
    version: ClassVar[int] = 4  # as `Mix` 5
    summary: ClassVar[str] = "DSM and TSM mixed by the weight of least variance, an oracle."
    requires: ClassVar[frozenset[str]] = frozenset({"marginal_score"})
    score_field: ClassVar[str | None] = "marginal_score"
    gates: ClassVar[tuple[str, ...]] = tuple(gate for gate in Mix.gates if gate not in OF_HESSIANS)
