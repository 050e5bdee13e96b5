"""Networks with a leading replicate dimension: R independent networks trained in one batched pass.

Every parameter has the shape (R, ...), every input (R, n, features). The replicates share nothing: the
gradient of the summed loss with respect to one replicate's parameters is that replicate's own gradient, and
Adam works element by element, so batched training equals one-by-one training up to rounding.
"""

import copy
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def time_features(t: Tensor) -> Tensor:
    """Give t and sines and cosines of πt and 2πt: (..., 1) to (..., 5)."""
    angle = math.pi * t
    return torch.cat([t, angle.sin(), angle.cos(), (2 * angle).sin(), (2 * angle).cos()], -1)


class Kept(NamedTuple):
    """What a backward pass needs: the inputs of each layer, and the sums that the hidden units saw."""

    inputs: list[Tensor]
    sums: list[Tensor]


class ReplicatedMLP(nn.Module):
    """R multilayer perceptrons side by side: `depth` hidden SiLU layers, and an output layer from 0.

    Hidden weights start uniform within ±1/√fan_in, drawn from one generator per replicate.

    Args:
        inputs, outputs: features in and out.
        width, depth: units in a hidden layer, and hidden layers.
        generators: one for each replicate.
    """

    def __init__(
        self, inputs: int, outputs: int, *, width: int, depth: int, generators: Sequence[torch.Generator]
    ) -> None:
        super().__init__()
        sizes = [inputs, *[width] * depth]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            drawn = torch.stack([torch.rand(fan_in + 1, fan_out, generator=g) for g in generators])
            drawn = (2 * drawn - 1) / math.sqrt(fan_in)
            self.weights.append(drawn[:, :-1].contiguous())
            self.biases.append(drawn[:, -1:].contiguous())
        self.weights.append(torch.zeros(len(generators), width, outputs))
        self.biases.append(torch.zeros(len(generators), 1, outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., R, n, inputs) to (..., R, n, outputs)."""
        if inputs.dim() > 3:  # one product over all rows of a replicate is much faster than many
            folded = inputs.movedim(-3, 0)
            outputs = self(folded.flatten(1, -2)).unflatten(1, folded.shape[1:-1])
            return torch.movedim(outputs, 0, -3)
        *layers, (weight, bias) = zip(self.weights, self.biases, strict=True)
        hidden = inputs
        for own_weight, own_bias in layers:
            hidden = nn.functional.silu(torch.baddbmm(own_bias, hidden, own_weight))
        return torch.baddbmm(bias, hidden, weight)

    @torch.no_grad()
    def forward_kept(self, inputs: Tensor) -> tuple[Tensor, Kept]:
        """Map (R, n, inputs) to (R, n, outputs), and give what `backward` needs of the way there."""
        *layers, (weight, bias) = zip(self.weights, self.biases, strict=True)
        kept = Kept([inputs], [])
        for own_weight, own_bias in layers:
            kept.sums.append(torch.baddbmm(own_bias, kept.inputs[-1], own_weight))
            kept.inputs.append(nn.functional.silu(kept.sums[-1]))
        return torch.baddbmm(bias, kept.inputs[-1], weight), kept

    @torch.no_grad()
    def backward(self, kept: Kept, slope: Tensor) -> None:
        """Write the parameters' gradients into their `grad`, which must be there.

        It does what autograd would, without its overhead, which is most of the time of one small network.

        Args:
            kept: from `forward_kept`.
            slope: the derivative of the loss by the outputs, (R, n, outputs).
        """
        for k in reversed(range(len(self.weights))):
            weight, bias = self.weights[k], self.biases[k]
            torch.bmm(kept.inputs[k].mT, slope, out=weight.grad)
            torch.sum(slope, 1, keepdim=True, out=bias.grad)
            if k > 0:
                slope = torch.bmm(slope, weight.mT)
                slope = torch.ops.aten.silu_backward(slope, kept.sums[k - 1])


def take_replicate(module: M, r: int) -> M:
    """Copy replicate r of a module whose parameters and buffers all lead with replicates."""
    taken = copy.deepcopy(module)
    for tensor in [*taken.parameters(), *taken.buffers()]:
        tensor.data = tensor.data[r : r + 1].clone()
    return taken


def stack_replicates(modules: Sequence[M]) -> M:
    """Join modules of the same form into one that holds the replicates of all: the inverse of taking."""
    stacked = copy.deepcopy(modules[0])
    sources = zip(*([*m.parameters(), *m.buffers()] for m in modules), strict=True)
    for tensor, parts in zip([*stacked.parameters(), *stacked.buffers()], sources, strict=True):
        tensor.data = torch.cat([part.data for part in parts])
    return stacked
