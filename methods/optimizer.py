"""The one optimizer: Adam, whose rates fall to 0 along half a cosine over the steps it is made for."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


class CosineAdam:
    """Adam at rate · (1 + cos(π k/steps))/2 in step k.

    Args:
        groups: parameters, each group with its first rate.
        steps: after which the rates are 0.
    """

    def __init__(self, groups: Sequence[tuple[Iterable[Tensor], float]], steps: int) -> None:
        self.adam = torch.optim.Adam([{"params": list(own), "lr": rate} for own, rate in groups], fused=True)
        self.rates = [rate for _, rate in groups]
        self.taken, self.steps = 0, steps

    def step(self, loss: Tensor) -> None:
        """Move the parameters down the gradient of `loss`, a scalar."""
        share = 0.5 * (1 + math.cos(math.pi * self.taken / self.steps))
        for group, rate in zip(self.adam.param_groups, self.rates, strict=True):
            group["lr"] = rate * share
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        self.taken += 1
