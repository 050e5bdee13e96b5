"""Adam by automatic differentiation, with a learning rate that falls to 0 along half a cosine."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor


class CosineAdam:
    """Adam with the learning rate rate · (1 + cos(π k/steps))/2 in step k = 0, 1, …

    Args:
        parameters: what to train.
        rate: learning rate of the first step.
        steps: number of steps after which the rate is 0.
    """

    def __init__(self, parameters: Iterable[Tensor], rate: float, steps: int) -> None:
        self.adam = torch.optim.Adam(parameters, rate, fused=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.adam, lambda step: cosine(step, steps))

    def step(self, loss: Tensor) -> None:
        """Update the parameters by the gradient of `loss`, a scalar."""
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        self.schedule.step()


def cosine(step: int, steps: int) -> float:
    """Return the share (1 + cos(π step/steps))/2 of a learning rate."""
    return 0.5 * (1 + math.cos(math.pi * step / steps))
