"""The one optimizer: Adam, whose rates fall to 0 along half a cosine over the steps it is made for.

The parameters of a group become views of one flat tensor, and so do their gradients: one kernel moves them.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


class CosineAdam:
    """Adam at rate · (1 + cos(π k/steps))/2 in step k.

    Args:
        groups: parameters, each group with its first rate; they are moved into flat tensors, and have a
            `grad` of zeros from then on, after each step as well.
        steps: after which the rates are 0.
    """

    def __init__(self, groups: Sequence[tuple[Iterable[Tensor], float]], steps: int) -> None:
        self.rates = [rate for _, rate in groups]
        flat = [_flatten(list(own)) for own, _ in groups]
        self.gradients = [gradient for _, gradient in flat]
        self.adam = torch.optim.Adam([{"params": [own]} for own, _ in flat], fused=True)
        self.taken, self.steps = 0, steps

    def step(self, loss: Tensor) -> None:
        """Move the parameters down the gradient of `loss`, a scalar."""
        loss.backward()
        self.move()

    def move(self) -> None:
        """Move the parameters down the gradients that are in their `grad`."""
        share = 0.5 * (1 + math.cos(math.pi * self.taken / self.steps))
        for group, rate in zip(self.adam.param_groups, self.rates, strict=True):
            group["lr"] = rate * share
        self.adam.step()
        for gradient in self.gradients:
            gradient.zero_()
        self.taken += 1


def _flatten(parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Make parameters views of one tensor, and their gradients of its gradient, and give the two."""
    flat = torch.cat([p.detach().flatten() for p in parameters])
    gradient = flat.grad = torch.zeros_like(flat)
    start = 0
    for p in parameters:
        own = slice(start, start + p.numel())
        p.data, p.grad = flat[own].view_as(p), gradient[own].view_as(p)
        start = own.stop
    return flat, gradient
