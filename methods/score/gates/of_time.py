"""Gates that depend on t alone: constant, in closed form, and learned."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from ...nn.network import ReplicatedMLP, time_features
from ..schedule import alpha_sigma
from .gate import Gate
from .moments import second_moment, shrunk_curvature, shrunk_second_moment

LEARNED_WIDTH = 32
LEAST_EIGENVALUE = 1e-12
PRIOR_CURVATURE = 1.0


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
        hessian     the same, with J = E[−∇_u g]

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

    @classmethod
    def hessian(cls, hessian: Tensor) -> Self:
        """Return the gate of J = E[H], shrunk towards diag(J) or j I, for H = −∇_u g (R, n, d, d).

        E[H] = E[g gᵀ] by the information equality. An average of H may be indefinite. Its eigenvalues below 1
        are set to 1, because J = I + E[s sᵀ] with s = g + u: the prior contributes I.

        Source: Laplace-Fisher gate identities, arXiv 2606.25169.
        """
        values, vectors = torch.linalg.eigh(shrunk_curvature(hessian))
        values = values.clamp_min(PRIOR_CURVATURE)
        return cls(values.unsqueeze(1).to(hessian.dtype), vectors.to(hessian.dtype))

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
