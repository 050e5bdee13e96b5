"""The optimizer of all networks: Adam, with learning rates that stay or that fall to 0 along half a cosine.

The parameters of a group become views of one flat tensor, as do their gradients, so one kernel updates them.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


class FlatAdam:
    """Adam with a learning rate for each group of parameters.

    Args:
        groups: parameters with the rate of each group. The parameters become views of flat tensors, and have
            a `grad`, which is zero after each step.
    """

    def __init__(self, groups: Sequence[tuple[Iterable[Tensor], float]]) -> None:
        self.groups = [list(own) for own, _ in groups]
        self.rates = [rate for _, rate in groups]
        self.flat = [_flatten(own) for own in self.groups]
        rated = zip(self.flat, self.rates, strict=True)
        self.adam = torch.optim.Adam([{"params": [own], "lr": rate} for own, rate in rated], fused=True)

    def step(self, loss: Tensor) -> None:
        """Update the parameters by the gradient of `loss`, a scalar."""
        loss.backward()
        self.move()

    def move(self) -> None:
        """Update the parameters by the gradients in their `grad`."""
        self.adam.step()
        for flat in self.flat:
            assert flat.grad is not None
            flat.grad.zero_()

    def keep(self, kept: list[int]) -> None:
        """Keep these replicates of parameters that lead with R replicates, after at least one step."""
        for group, own, old in zip(self.adam.param_groups, self.groups, self.flat, strict=True):
            state = self.adam.state.pop(old)
            for name in ("exp_avg", "exp_avg_sq"):
                parts = state[name].split([p.numel() for p in own])
                parts = [part.view_as(p)[kept].flatten() for part, p in zip(parts, own, strict=True)]
                state[name] = torch.cat(parts)
            for p in own:
                p.data = p.data[kept]
            new = _flatten(own)
            group["params"], self.adam.state[new] = [new], state
        self.flat = [group["params"][0] for group in self.adam.param_groups]


class CosineAdam(FlatAdam):
    """Adam with the learning rate rate · (1 + cos(π k/steps))/2 in step k = 0, 1, …

    Args:
        groups: parameters with the initial rate of each group, see `FlatAdam`.
        steps: number of steps after which the rates are 0.
    """

    def __init__(self, groups: Sequence[tuple[Iterable[Tensor], float]], steps: int) -> None:
        super().__init__(groups)
        self.taken, self.steps = 0, steps

    def move(self) -> None:
        """Update the parameters by the gradients in their `grad`, at the rate of this step."""
        share = 0.5 * (1 + math.cos(math.pi * self.taken / self.steps))
        for group, rate in zip(self.adam.param_groups, self.rates, strict=True):
            group["lr"] = rate * share
        super().move()
        self.taken += 1


def _flatten(parameters: Sequence[Tensor]) -> Tensor:
    """Make parameters views of one flat tensor, their gradients views of its `grad`, and return it."""
    flat = torch.cat([p.detach().flatten() for p in parameters])
    gradient = flat.grad = torch.zeros_like(flat)
    start = 0
    for p in parameters:
        own = slice(start, start + p.numel())
        p.data, p.grad = flat[own].view_as(p), gradient[own].view_as(p)
        start = own.stop
    return flat
