"""When training looks at its held-out loss and when it stops, and how minibatches grow until then.

The learning rate stays. A moving average of the parameters and larger minibatches remove the noise of the
steps in its place, so nothing depends on the number of steps to come.
"""

import torch
from torch import Tensor

LEAST_STEPS = 2000
WINDOW = 3  # the last third of the steps decides
LEAST_FALL = 2.5e-3  # measured by `benchmark.choices.stopping`
LOOK_AFTER, LOOK_SHARE = 32, 16
DOUBLE_AFTER, LARGEST = 2000, 4


def next_look(step: int) -> int:
    """Return the step of the look after `step`: 32 steps later, or a sixteenth of the steps taken."""
    return step + max(LOOK_AFTER, step // LOOK_SHARE)


def batch_size(batch: int, step: int) -> int:
    """Return the size of the minibatches after `step` steps: twice `batch` from 2,000, four times from 4,000.

    The noise of a minibatch hinders at the end and regularises at the start, where it is also cheap.
    """
    factor = 1
    while factor < LARGEST and step >= factor * DOUBLE_AFTER:
        factor *= 2
    return factor * batch


class Plateau:
    """Tells when the held-out loss of a replicate has stopped falling.

    Training is done at a look after 2,000 steps or more if the last third of the steps lowered the least loss
    by less than the share `least_fall`. The window grows with the steps, because progress slows down.

    Args:
        replicates: R.
        least_fall: the least share by which the loss must fall.
    """

    def __init__(self, replicates: int, least_fall: float = LEAST_FALL) -> None:
        self.least_fall = least_fall
        self.steps: list[int] = [0]
        self.least = [torch.full((replicates,), torch.inf)]

    def look(self, step: int, loss: Tensor) -> list[bool]:
        """Return whether each replicate is done.

        Args:
            step: number of steps taken, at least as many as at the last look.
            loss: least held-out loss of each replicate so far (R,).
        """
        loss = loss.cpu()
        earlier = sum(taken * WINDOW <= (WINDOW - 1) * step for taken in self.steps) - 1
        done = loss >= (1 - self.least_fall) * self.least[earlier]
        self.steps.append(step)
        self.least.append(loss)
        return [step >= LEAST_STEPS and bool(is_done) for is_done in done]

    def keep(self, kept: list[int]) -> None:
        """Keep these replicates; the others are dropped."""
        self.least = [loss[kept] for loss in self.least]
