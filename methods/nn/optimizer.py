"""The optimizer of all networks: Adam with learning rates that fall to 0 along half a cosine.

The parameters of a group become views of one flat tensor, as do their gradients, so one kernel updates them.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


class CosineAdam:
    """Adam with the learning rate rate · (1 + cos(π k/steps))/2 in step k = 0, 1, …

    Args:
        groups: parameters with the initial rate of each group. The parameters become views of flat tensors,
            and have a `grad`, which is zero after each step.
        steps: number of steps after which the rates are 0.
    """

    def __init__(self, groups: Sequence[tuple[Iterable[Tensor], float]], steps: int) -> None:
        self.rates = [rate for _, rate in groups]
        flat = [_flatten(list(own)) for own, _ in groups]
        self.gradients = [gradient for _, gradient in flat]
        self.adam = torch.optim.Adam([{"params": [own]} for own, _ in flat], fused=True)
        self.taken, self.steps = 0, steps

    def step(self, loss: Tensor) -> None:
        """Update the parameters by the gradient of `loss`, a scalar."""
        loss.backward()
        self.move()

    def move(self) -> None:
        """Update the parameters by the gradients in their `grad`."""
        share = 0.5 * (1 + math.cos(math.pi * self.taken / self.steps))
        for group, rate in zip(self.adam.param_groups, self.rates, strict=True):
            group["lr"] = rate * share
        self.adam.step()
        for gradient in self.gradients:
            gradient.zero_()
        self.taken += 1


def _flatten(parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Make parameters and gradients views of one flat tensor each, and return both."""
    flat = torch.cat([p.detach().flatten() for p in parameters])
    gradient = flat.grad = torch.zeros_like(flat)
    start = 0
    for p in parameters:
        own = slice(start, start + p.numel())
        p.data, p.grad = flat[own].view_as(p), gradient[own].view_as(p)
        start = own.stop
    return flat, gradient
