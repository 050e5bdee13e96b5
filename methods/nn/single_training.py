"""Training of one network on its own, by the rules of `methods.score.trainer` for the score-matching family.

Adam with a cosine schedule, minibatches drawn with replacement, a moving average of the parameters, and early
stopping: the network does not see the last tenth of the simulations, and keeps the moving average of the step
at which its loss there was least.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...tasks.errors import NotFiniteError
from ...tasks.seeding import derive_seed, generator
from ..progress import report
from ..score.trainer import VALIDATION_ROWS, VALIDATION_SHARE, VALIDATIONS
from .optimizer import CosineAdam

AVERAGE = 0.995

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
        NotFiniteError: the held-out loss was never finite, or a parameter ended not finite.
    """
    held_out = max(1, round(VALIDATION_SHARE * n)) if n > 1 else 0
    n_train = n - held_out
    random = generator(derive_seed(seed, "batches"))
    parameters: list[Tensor] = [*module.parameters()]
    average = [p.detach().clone() for p in parameters]
    best, best_loss = average, torch.inf
    optimizer = CosineAdam([(parameters, rate)], steps)
    every = max(1, steps // VALIDATIONS)
    for step in range(1, steps + 1):
        optimizer.step(loss(torch.randint(n_train, (batch,), generator=random), random))
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - AVERAGE)
        if step % every == 0 or step == steps:
            report("fit", step, steps)
            if held_out:
                now = _held_out_loss(parameters, average, loss, n_train, n, derive_seed(seed, "validation"))
                if now < best_loss:
                    best, best_loss = [p.clone() for p in average], now
    finite = all(bool(torch.isfinite(p).all()) for p in parameters)
    if not finite or (held_out and best_loss == torch.inf):
        raise NotFiniteError("training diverged")
    _load(parameters, best)


def _held_out_loss(
    parameters: list[Tensor], average: list[Tensor], loss: Loss, first: int, last: int, seed: int
) -> float:
    """Give the loss of the moving average on the simulations first..last, up to `VALIDATION_ROWS` of them."""
    current = [p.detach().clone() for p in parameters]
    _load(parameters, average)
    rows = torch.arange(first, last)[:VALIDATION_ROWS]
    value = float(loss(rows, generator(seed)).detach())
    _load(parameters, current)
    return value


@torch.no_grad()
def _load(parameters: list[Tensor], values: list[Tensor]) -> None:
    torch._foreach_copy_(parameters, values)
