"""Training of a single network: Adam along a cosine for a fixed number of steps, keeping the best step."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...tasks.errors import NotFiniteError
from ...tasks.seeding import derive_seed, generator
from ..progress import report
from .averaging import VALIDATION_ROWS, MovingAverage, held_out, is_due
from .optimizer import CosineAdam

Loss = Callable[[Tensor, torch.Generator], Tensor]


def train(module: nn.Module, loss: Loss, n: int, *, steps: int, batch: int, rate: float, seed: int) -> None:
    """Train `module` in place, up to the moving average of its best step.

    Adam follows a cosine schedule on minibatches drawn with replacement. The last tenth of the simulations is
    held out, and the moving average with the least loss on it is kept, see `MovingAverage`. A single
    simulation is not held out, and the last average is kept.

    Args:
        module: the network.
        loss: `loss(index, generator)` returns the mean loss, a scalar, of the simulations `index` (rows,).
            Its random numbers come from the generator, which starts anew whenever held-out simulations are
            judged.
        n: number of simulations.
        steps, batch, rate: number of steps, size of a minibatch, initial learning rate.
        seed: the only source of randomness.

    Raises:
        NotFiniteError: no held-out loss is finite, or the final parameters are not.
    """
    n_train = n - held_out(n)
    unseen = torch.arange(n_train, n)[:VALIDATION_ROWS]
    random = generator(derive_seed(seed, "batches"))
    parameters: list[Tensor] = [*module.parameters()]
    average = MovingAverage(parameters)
    optimizer = CosineAdam(parameters, rate, steps)
    for step in range(1, steps + 1):
        optimizer.step(loss(torch.randint(n_train, (batch,), generator=random), random))
        average.update()
        if is_due(step, steps):
            report("fit", step, steps)
            if len(unseen):
                average.judge(lambda: loss(unseen, generator(derive_seed(seed, "validation"))).view(1))
    if not average.finish().all():
        raise NotFiniteError("training diverged: use a smaller rate")
