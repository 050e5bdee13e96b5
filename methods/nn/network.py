"""Networks with a leading replicate dimension: R independent networks are trained in one batched pass.

Every parameter has shape (R, ...), every input (R, n, features). The gradient of the summed loss with respect
to the parameters of one replicate is the gradient of its own loss, and Adam works element by element. Batched
training therefore equals one-by-one training up to rounding.
"""

import copy
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)

# On a CPU, so many numbers of a hidden layer are computed at once: they stay in a core's cache until the next
# layer. Without blocks, a training step of 30 networks with 128 rows each takes 1.2 times as long, and the
# evaluation of one network at 50,000 rows 2.3 times.
BLOCK = 80_000


def time_features(t: Tensor) -> Tensor:
    """Return t and sines and cosines of πt and 2πt (..., 5) for t (..., 1)."""
    angle = math.pi * t
    return torch.cat([t, angle.sin(), angle.cos(), (2 * angle).sin(), (2 * angle).cos()], -1)


class ReplicatedMLP(nn.Module):
    """R multilayer perceptrons with SiLU activations.

    Initial hidden weights are uniform within ±1/√fan_in. The output layer starts at 0.

    Args:
        inputs, outputs: number of input and output features.
        width, depth: number of units in a hidden layer, and of hidden layers.
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

    def flatten(self) -> Tensor:
        """Make the parameters views of one tensor (R, P), and return it: all weights, then all biases."""
        own = [*self.parameters()]
        flat = torch.cat([p.detach().flatten(1) for p in own], 1)
        for p, part in zip(own, flat.split([p.shape[1:].numel() for p in own], 1), strict=True):
            p.data = part.view(p.shape)
        return flat

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., R, n, inputs) to (..., R, n, outputs)."""
        if inputs.dim() > 3:  # one product over all rows of a replicate is faster than many
            folded = inputs.movedim(-3, 0)
            outputs = self(folded.flatten(1, -2)).unflatten(1, folded.shape[1:-1])
            return torch.movedim(outputs, 0, -3)
        weights, biases = list(self.weights), list(self.biases)
        graph = torch.is_grad_enabled() and (inputs.requires_grad or weights[0].requires_grad)
        if graph or not inputs.is_cpu:
            return _through(inputs, weights, biases)
        outputs = inputs.new_empty(*inputs.shape[:2], weights[-1].shape[2])
        for own in replicate_blocks(len(inputs), inputs.shape[1], weights[-1].shape[1]):
            own_weights, own_biases = [w[own] for w in weights], [b[own] for b in biases]
            rows = max(1, BLOCK // weights[-1].shape[1])
            for part, into in zip(inputs[own].split(rows, 1), outputs[own].split(rows, 1), strict=True):
                into.copy_(_through(part, own_weights, own_biases))
        return outputs


def _through(inputs: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
    hidden = inputs
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        hidden = nn.functional.silu(torch.baddbmm(bias, hidden, weight))
    return torch.baddbmm(biases[-1], hidden, weights[-1])


def replicate_blocks(replicates: int, n: int, width: int) -> list[slice]:
    """Split the replicates into blocks with about `BLOCK` numbers in a hidden layer.

    Args:
        replicates: number of replicates.
        n: number of rows of each replicate.
        width: number of units in a hidden layer.
    """
    size = max(1, BLOCK // max(1, n * width))
    return [slice(first, first + size) for first in range(0, replicates, size)]


def take_replicate(module: M, r: int) -> M:
    """Return a copy of replicate r of a module whose parameters and buffers all lead with replicates."""
    taken = copy.deepcopy(module)
    for tensor in [*taken.parameters(), *taken.buffers()]:
        tensor.data = tensor.data[r : r + 1].clone()
    return taken


def stack_replicates(modules: Sequence[M]) -> M:
    """Return one module with the replicates of all modules, which must have the same form."""
    stacked = copy.deepcopy(modules[0])
    sources = zip(*([*m.parameters(), *m.buffers()] for m in modules), strict=True)
    for tensor, parts in zip([*stacked.parameters(), *stacked.buffers()], sources, strict=True):
        tensor.data = torch.cat([part.data for part in parts])
    return stacked
