"""Gates: the weight W of the DSM target in a mixture y_W = W y_DSM + (I − W) y_score, for each replicate.

E⟨y_DSM, y_score⟩ = 0 and E[y_DSM y_DSMᵀ] = I/σ², so that with J = E[g gᵀ] over the training simulations, the
W of least target variance among those that depend on t alone is [Ko & Geffner, Prop 3.2, for the scalar one]

    scalar      w*(t)   = σ² j/(σ² j + α²),  j = tr J/d
    diagonal    w*_i(t) = σ² J_ii/(σ² J_ii + α²)
    matrix      W*(t)   = σ² J (σ² J + α² I)⁻¹

None needs a network. Diagonal and matrix gates use the shrunk J of `score.moments`. `LearnedWeight` is a
scalar w(t) trained on the score network's own loss, whose minimiser is w*. Gates that depend on x and u_t as
well are in `methods.score.state_gates`.

A target is computed as y_DSM + (I − W)(y_score − y_DSM) with I − W in closed form: near t = 1 the scores may
be 10⁷ times y_DSM, and 1 − w taken in float32 would leave an error of order one.
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
    """The gate that a replicate chose, and the cost it takes from DSM's, with a standard error."""

    gate: str
    gain: float
    stderr: float


class Gate(nn.Module, ABC):
    """A weight W. Its tensors lead with replicates; inputs are (..., R, n, features), t is (..., R, n, 1).

    `trained` says whether the trainer fits it together with the score network, `mixes_by_time` whether it
    mixes both targets by a weight that depends on t alone.
    """

    trained = False
    mixes_by_time = False

    def fit(self, data: TrainingData, seeds: Sequence[int]) -> None:
        """Fit, before any score is trained, what closed forms leave open: here nothing."""

    def mix(self, y_dsm: Tensor, y_score: Tensor, u_t: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Give y_W; the targets may be shifted and scaled alike, as the map is affine in them."""
        return y_dsm + self.score_part(y_score - y_dsm, u_t, x, t)

    @abstractmethod
    def score_part(self, v: Tensor, u_t: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Give (I − W) v for v (..., R, n, d)."""

    @abstractmethod
    def second_moment(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Give E‖y_W‖²/d at each t, (..., R, n, 1): the target's variance and the share of the score."""


class TimeGate(Gate):
    """A gate that depends on t alone: W = V diag(w(t)) Vᵀ, with V = I if there are no `directions`."""

    directions: Tensor | None

    def __init__(self, directions: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("directions", directions)

    @abstractmethod
    def forward(self, t: Tensor) -> Tensor:
        """Give the weights w(t), (..., R, n, 1) or (..., R, n, d)."""

    @abstractmethod
    def remainder(self, t: Tensor) -> Tensor:
        """Give 1 − w(t), free of cancellation."""

    def score_part(self, v: Tensor, u_t: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return along(self.directions, self.remainder(t), v)


def along(directions: Tensor | None, factors: Tensor, v: Tensor) -> Tensor:
    """Give V diag(factors) Vᵀ v; `directions` None stands for V = I."""
    if directions is None:
        return factors * v
    return (factors * (v @ directions)) @ directions.transpose(-2, -1)


class ConstantWeight(TimeGate):
    """The same w at all t: 1 is DSM; 0 is TSM or LTSM, whose j is then needed, (R,)."""

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
    """The closed form of least variance, W*(t) = σ² J (σ² J + α² I)⁻¹.

    Args:
        values: eigenvalues of J, (R, 1, d), or j alone, (R, 1, 1).
        directions: its eigenvectors as columns, (R, d, d); None for a diagonal or scalar J.
    """

    mixes_by_time = True
    values: Tensor

    def __init__(self, values: Tensor, directions: Tensor | None = None) -> None:
        super().__init__(directions)
        self.register_buffer("values", values)

    @classmethod
    def scalar(cls, score: Tensor) -> Self:
        """Make the gate of j = E‖g‖²/d from scores (R, n, d)."""
        return cls(second_moment(score).view(-1, 1, 1))

    @classmethod
    def diagonal(cls, score: Tensor) -> Self:
        """Make the gate of diag(J), shrunk towards j I."""
        moment = shrunk_second_moment(score, diagonal=True)
        return cls(moment.diagonal(dim1=1, dim2=2).unsqueeze(1).to(score.dtype))

    @classmethod
    def matrix(cls, score: Tensor) -> Self:
        """Make the gate of J, shrunk towards diag(J) or j I."""
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
    """Give w* = σ² j/(σ² j + α²); tensors broadcast."""
    noise = sigma**2 * j
    return noise / (noise + alpha**2)


class LearnedWeight(TimeGate):
    """w(t) = sigmoid(start(t) + a small network of t), trained with the score [Ko & Geffner, section 3.2].

    Args:
        start: the closed form w*, scalar, which w is at first and which says the target's second moment.
        from_half: start at w = ½ instead, as the paper does.
        generators: one for each replicate.
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
        """Give that of w*: a loss weight that followed w would pay it for making the target noisier."""
        return self.start.second_moment(alpha, sigma)

    def _logit(self, t: Tensor) -> Tensor:
        learned: Tensor = self.mlp(time_features(t))
        return learned if self.from_half else learned + logit(self.start.values, t)


def logit(values: Tensor, t: Tensor) -> Tensor:
    """Give log(w/(1 − w)) = log(σ² λ/α²) of optimal weights."""
    alpha, sigma = alpha_sigma(t)
    return torch.log(values) + 2 * torch.log(sigma / alpha)


def cost(gate: Gate, data: TrainingData, draws: Draws) -> Tensor:
    """Return the cost σ² ‖y_W‖²/d of a gate for every draw, (R, n).

    All mixtures are unbiased for the score, so that E‖y_W − s‖² = E‖y_W‖² − E‖s‖² for any gate that depends
    on u_t, x and t, and E‖s‖² is the same for all gates: they can be compared without the score. DSM's cost
    is 1 at every t. The weight σ² is the one with which score errors are averaged over t.
    """
    drawn, (alpha, sigma) = data.rows(draws.rows), alpha_sigma(draws.t)
    assert drawn.score is not None
    y_dsm, y_score = targets.dsm(draws.eps, sigma), targets.from_score(drawn.score, alpha)
    y = gate.mix(y_dsm, y_score, alpha * drawn.u + sigma * draws.eps, drawn.x, draws.t)
    return (sigma * y).square().mean(-1)
