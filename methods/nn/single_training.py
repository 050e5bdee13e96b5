"""Training of one network on its own, by the rules of `methods.score.trainer` for the score-matching family.

Adam with a cosine schedule, minibatches drawn with replacement, and the moving average of `nn.averaging`: the
network does not see the last tenth of the simulations, and keeps the average whose loss there was least.
"""

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
    """Train `module` in place, to the moving average of its best step.

    Args:
        module: its parameters are trained.
        loss: gives the mean loss of the simulations of an index (rows,), a scalar; what it draws comes from
            the generator, which starts the same each time for the simulations held out.
        n: number of simulations; one alone is not held out, and the last moving average is kept.
        steps, batch, rate: of Adam.
        seed: names the random streams.

    Raises:
        NotFiniteError: the held-out loss was never finite, or what is kept is not.
    """
    n_train = n - held_out(n)
    unseen = torch.arange(n_train, n)[:VALIDATION_ROWS]
    random = generator(derive_seed(seed, "batches"))
    parameters: list[Tensor] = [*module.parameters()]
    average = MovingAverage(parameters)
    optimizer = CosineAdam([(parameters, rate)], steps)
    for step in range(1, steps + 1):
        optimizer.step(loss(torch.randint(n_train, (batch,), generator=random), random))
        average.update()
        if is_due(step, steps):
            report("fit", step, steps)
            if len(unseen):
                average.judge(lambda: loss(unseen, generator(derive_seed(seed, "validation"))).view(1))
    if not average.finish().all():
        raise NotFiniteError("training diverged")
