"""Gates: the weight W of the DSM target in a mixture y_W = W y_DSM + (I − W) y_score.

The gates of this file depend on t alone; `state_gates.py` has gates that also depend on x and u_t. `cost`
compares gates without a score network.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from ..nn.network import ReplicatedMLP, time_features
from . import targets
from .moments import second_moment, shrunk_second_moment
from .schedule import alpha_sigma
from .training_data import Draws, TrainingData

LEARNED_WIDTH = 32
LEAST_EIGENVALUE = 1e-12


class Choice(NamedTuple):
    """The gate that a replicate chose.

    Attributes:
        gate: a name in `gate_choice.GATES`.
        gain: DSM's cost minus the gate's cost, in units of E‖y_DSM‖²: the reduction of the target variance.
        stderr: standard error of the gain.
    """

    gate: str
    gain: float
    stderr: float


class Gate(nn.Module, ABC):
    """A weight W(u_t, x, t) for each of R replicates.

        y_W = W y_DSM + (I − W) y_score = y_DSM + (I − W)(y_score − y_DSM)

    The second form is computed, with I − W in closed form: near t = 1 the scores can be 10⁷ times y_DSM, and
    1 − w in float32 would leave an error of order one.

    Parameters and buffers lead with R. Inputs have shape (..., R, n, features), t has (..., R, n, 1).

    Attributes:
        trained: True if the gate is trained together with the score network.
        mixes_by_time: True if both targets have a weight that depends on t alone.
    """

    trained = False
    mixes_by_time = False

    def fit(self, data: TrainingData, seeds: Sequence[int]) -> None:
        """Fit the gate before the score network is trained; closed forms have nothing to fit."""

    def mix(self, y_dsm: Tensor, y_score: Tensor, u_t: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Return y_W (..., R, n, d).

        A shift and a scaling of both targets carry over to y_W.

        Args:
            y_dsm, y_score: the targets (..., R, n, d).
            u_t, x, t: where W is evaluated.
        """
        return y_dsm + self.score_part(y_score - y_dsm, u_t, x, t)

    @abstractmethod
    def score_part(self, v: Tensor, u_t: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Return (I − W) v for v (..., R, n, d)."""

    @abstractmethod
    def second_moment(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return E‖y_W‖²/d at each t (..., R, n, 1): the target variance plus E‖s‖²/d."""


class TimeGate(Gate):
    """A gate that depends on t alone: W = V diag(w(t)) Vᵀ.

    Args:
        directions: V (R, d, d); None stands for V = I.
    """

    directions: Tensor | None

    def __init__(self, directions: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("directions", directions)

    @abstractmethod
    def forward(self, t: Tensor) -> Tensor:
        """Return the weights w(t), of shape (..., R, n, 1) or (..., R, n, d)."""

    @abstractmethod
    def remainder(self, t: Tensor) -> Tensor:
        """Return 1 − w(t), computed without cancellation."""

    def score_part(self, v: Tensor, u_t: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return along(self.directions, self.remainder(t), v)


def along(directions: Tensor | None, factors: Tensor, v: Tensor) -> Tensor:
    """Return V diag(factors) Vᵀ v for V = `directions`; None stands for V = I."""
    if directions is None:
        return factors * v
    return (factors * (v @ directions)) @ directions.transpose(-2, -1)


class ConstantWeight(TimeGate):
    """The same scalar weight w at all t: w = 1 is DSM, w = 0 is TSM or LTSM.

        E‖y_W‖²/d = w²/σ² + (1 − w)² j/α²,    j = E‖g‖²/d

    Args:
        value: w.
        j: the second moment of the scores (R,); any value if w = 1.
    """

    j: Tensor

    def __init__(self, value: float, j: Tensor) -> None:
        super().__init__()
        self.value = value
        self.register_buffer("j", j)

    def forward(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.value)

    def remainder(self, t: Tensor) -> Tensor:
        return torch.full_like(t, 1 - self.value)

    def second_moment(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        dsm, score = 1 / sigma**2, self.j.view(-1, 1, 1) / alpha**2
        return self.value**2 * dsm + (1 - self.value) ** 2 * score


class OptimalWeight(TimeGate):
    """The weight of least target variance among weights that depend on t alone, in closed form.

    With E⟨y_DSM, y_score⟩ = 0, E[y_DSM y_DSMᵀ] = I/σ² and J = E[g gᵀ] over the training simulations:

        scalar      w*(t)   = σ² j/(σ² j + α²),    j = tr J/d
        diagonal    w*_i(t) = σ² J_ii/(σ² J_ii + α²)
        matrix      W*(t)   = σ² J (σ² J + α² I)⁻¹

    No network is needed. Diagonal and matrix gates use the shrunk J of `moments.shrunk_second_moment`.

    Args:
        values: eigenvalues of J (R, 1, d), or j (R, 1, 1).
        directions: eigenvectors of J as columns (R, d, d); None for a diagonal or scalar J.

    Source: Ko and Geffner, arXiv 2602.07189, Proposition 3.2, for the scalar weight.
    """

    mixes_by_time = True
    values: Tensor

    def __init__(self, values: Tensor, directions: Tensor | None = None) -> None:
        super().__init__(directions)
        self.register_buffer("values", values)

    @classmethod
    def scalar(cls, score: Tensor) -> Self:
        """Return the gate of j = E‖g‖²/d for scores (R, n, d)."""
        return cls(second_moment(score).view(-1, 1, 1))

    @classmethod
    def diagonal(cls, score: Tensor) -> Self:
        """Return the gate of diag(J), shrunk towards j I, for scores (R, n, d)."""
        moment = shrunk_second_moment(score, diagonal=True)
        return cls(moment.diagonal(dim1=1, dim2=2).unsqueeze(1).to(score.dtype))

    @classmethod
    def matrix(cls, score: Tensor) -> Self:
        """Return the gate of J, shrunk towards diag(J) or j I, for scores (R, n, d)."""
        values, vectors = torch.linalg.eigh(shrunk_second_moment(score, diagonal=False))
        values = values.clamp_min(LEAST_EIGENVALUE * values[:, -1:])
        return cls(values.unsqueeze(1).to(score.dtype), vectors.to(score.dtype))

    def forward(self, t: Tensor) -> Tensor:
        alpha, sigma = alpha_sigma(t)
        return optimal_weight(self.values, alpha, sigma)

    def remainder(self, t: Tensor) -> Tensor:
        alpha, sigma = alpha_sigma(t)
        return alpha**2 / (sigma**2 * self.values + alpha**2)

    def second_moment(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return (self.values / (sigma**2 * self.values + alpha**2)).mean(-1, keepdim=True)


def optimal_weight(j: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return w* = σ² j/(σ² j + α²); tensors broadcast."""
    noise = sigma**2 * j
    return noise / (noise + alpha**2)


class LearnedWeight(TimeGate):
    """A scalar weight learned with the score network, on the same loss.

        w(t) = sigmoid(F(t) + logit w*(t)),    or sigmoid(F(t)) if `from_half`

    F is a small network of t whose output is 0 before training. The loss is least at w = w*.

    Args:
        start: the scalar closed form w*.
        from_half: True starts at w = ½, as the paper does, instead of w*.
        generators: one for each replicate.

    Source: Ko and Geffner, arXiv 2602.07189, section 3.2.
    """

    trained = True
    mixes_by_time = True

    def __init__(
        self, start: OptimalWeight, *, from_half: bool, generators: Sequence[torch.Generator]
    ) -> None:
        super().__init__()
        self.start, self.from_half = start, from_half
        inputs = time_features(torch.zeros(1, 1, 1)).shape[-1]
        self.mlp = ReplicatedMLP(inputs, 1, width=LEARNED_WIDTH, depth=2, generators=generators)

    def forward(self, t: Tensor) -> Tensor:
        return torch.sigmoid(self._logit(t))

    def remainder(self, t: Tensor) -> Tensor:
        return torch.sigmoid(-self._logit(t))

    def second_moment(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return E‖y_W‖²/d for w*, not for w.

        The loss weight is its inverse: if it followed w, training could lower the loss by making the target
        noisier.
        """
        return self.start.second_moment(alpha, sigma)

    def _logit(self, t: Tensor) -> Tensor:
        learned: Tensor = self.mlp(time_features(t))
        return learned if self.from_half else learned + logit(self.start.values, t)


def logit(values: Tensor, t: Tensor) -> Tensor:
    """Return log(w/(1 − w)) = log(σ² λ/α²) for optimal weights with the eigenvalues λ = `values`."""
    alpha, sigma = alpha_sigma(t)
    return torch.log(values) + 2 * torch.log(sigma / alpha)


def cost(gate: Gate, data: TrainingData, draws: Draws) -> Tensor:
    """Return the cost σ² ‖y_W‖²/d of a gate for every draw (R, n).

    Every mixture is unbiased for the score s. For any gate that depends on u_t, x and t,

        E‖y_W − s‖² = E‖y_W‖² − E‖s‖²,

    where E‖s‖² is the same for all gates, so gates can be compared without the score. The expected cost of
    DSM is 1 at every t. Score errors are averaged over t with the same factor σ².
    """
    drawn, (alpha, sigma) = data.rows(draws.rows), alpha_sigma(draws.t)
    assert drawn.score is not None
    y_dsm, y_score = targets.dsm(draws.eps, sigma), targets.from_score(drawn.score, alpha)
    y = gate.mix(y_dsm, y_score, alpha * drawn.u + sigma * draws.eps, drawn.x, draws.t)
    return (sigma * y).square().mean(-1)
