"""Adam on weighted regressions by plain networks, compiled, for R replicates."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from . import compiled
from .averaging import MovingAverage
from .network import ReplicatedMLP

T = TypeVar("T")


class Descent:
    """Trains R plain networks by Adam, each on its own weighted regressions, on a CPU.

        loss of replicate r = mean over rows and outputs of w (F_r(inputs) − goal)²

    The moving average of the parameters follows every step. Replicates are trained side by side by as many
    threads as torch uses. Each is trained by one of them, so the result does not depend on their number.

    Args:
        mlp: the networks in float32; trained in place. Its parameters become views of one tensor.
        decay: δ of the moving average.

    Attributes:
        average: the moving average of the parameters, which form one tensor (R, P).
    """

    def __init__(self, mlp: ReplicatedMLP, decay: float) -> None:
        self.mlp, self.taken = mlp, 0
        self.values = mlp.flatten()
        self.moments = torch.zeros(len(self.values), 2, self.values.shape[1])
        self.average = MovingAverage([self.values], decay, len(self.values))
        self.layers = len(mlp.weights) - 1, mlp.weights[-1].shape[1]

    def advance(self, inputs: Tensor, goals: Tensor, weights: Tensor, rates: Sequence[float]) -> None:
        """Take S steps.

        Args:
            inputs: minibatches (S, R, B, inputs).
            goals: what the outputs should be (S, R, B, outputs).
            weights: the loss weight w (S, R, B, 1).
            rates: the learning rate of each step (S,).
        """
        batches = _array(inputs), _array(goals), _array(weights)
        own = [tensor.numpy() for tensor in (self.values, self.moments, *self.average.average)]
        each, decay = np.array(rates), self.average.decay

        def train(r: int) -> None:
            p, moments, average = (array[r] for array in own)
            compiled.take_steps(p, moments, average, self.taken, each, decay, self.layers, batches, r)

        _of_each(train, len(self.values))
        self.taken += len(each)

    def judge(self, inputs: Tensor, goals: Tensor, weights: Tensor) -> None:
        """Keep the average of each replicate whose loss on held-out rows (R, n, ·) is the least so far."""
        rows = _array(inputs), _array(goals), _array(weights)
        (average,) = (tensor.numpy() for tensor in self.average.average)

        def loss(r: int) -> float:
            return compiled.mean_loss(average[r], self.layers, rows, r)

        self.average.keep_best(torch.tensor(_of_each(loss, len(average))))

    def keep(self, kept: list[int]) -> None:
        """Keep these replicates; the others are dropped."""
        for p in self.mlp.parameters():
            p.data = p.data[kept]
        self.values = self.mlp.flatten()
        self.moments = self.moments[kept]
        self.average.keep(kept)


def _array(tensor: Tensor) -> compiled.Array:
    return tensor.detach().contiguous().numpy()


def _of_each(work: Callable[[int], T], replicates: int) -> list[T]:
    """Return the results of `work` for each replicate, from as many threads as torch uses."""
    threads = min(torch.get_num_threads(), replicates)
    if threads == 1:
        return [work(r) for r in range(replicates)]
    with ThreadPoolExecutor(threads) as pool:
        return [*pool.map(work, range(replicates))]
