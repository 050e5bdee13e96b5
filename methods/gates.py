"""Gates: the weight w(t) of the DSM target in a mixture, for each replicate.

With J = E[g gᵀ] over the training simulations and j = trace(J)/d, the weight of least target variance among
those that depend on t alone is [Ko & Geffner, Prop 3.2]

    w*(t) = σ² j / (σ² j + α²),

since E⟨y_DSM, y_LTSM⟩ = 0, E‖y_DSM‖²/d = 1/σ² and E‖y_LTSM‖²/d = j/α². It needs no network. `LearnedWeight`
is trained on the score network's own loss, whose minimiser over w is w*.

A gate maps t of shape (replicates, n, 1) to weights of the same shape.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from methods.network import ReplicatedMLP, time_features
from methods.schedule import alpha_sigma

LEARNED_WIDTH = 32


def second_moment(score: Tensor) -> Tensor:
    """Give j = E‖g‖²/d of each replicate: (replicates, n, d) to (replicates,)."""
    return score.square().mean((1, 2))


def optimal_weight(j: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Give w* = σ² j/(σ² j + α²); tensors broadcast."""
    noise = sigma**2 * j
    return noise / (noise + alpha**2)


class ConstantWeight(nn.Module):
    """The same w at all t: 1 is DSM, 0 is TSM or LTSM."""

    trained = False

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, t: Tensor) -> Tensor:
        """Give w(t)."""
        return torch.full_like(t, self.value)


class OptimalWeight(nn.Module):
    """The closed form w*(t), with j of shape (replicates,)."""

    trained = False
    j: Tensor

    def __init__(self, j: Tensor) -> None:
        super().__init__()
        self.register_buffer("j", j)

    def forward(self, t: Tensor) -> Tensor:
        """Give w*(t)."""
        alpha, sigma = alpha_sigma(t)
        return optimal_weight(self.j.view(-1, 1, 1), alpha, sigma)


class LearnedWeight(nn.Module):
    """A small network in t with a sigmoid output, from w = ½ at the start [Ko & Geffner, section 3.2]."""

    trained = True

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        inputs = time_features(torch.zeros(1, 1, 1)).shape[-1]
        self.mlp = ReplicatedMLP(inputs, 1, width=LEARNED_WIDTH, depth=2, generators=generators)

    def forward(self, t: Tensor) -> Tensor:
        """Give w(t)."""
        return torch.sigmoid(self.mlp(time_features(t)))


Gate = ConstantWeight | OptimalWeight | LearnedWeight
