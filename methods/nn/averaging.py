"""The moving average of parameters in training, and the best step by a held-out loss."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

DECAY = 0.995  # δ
VALIDATION_SHARE = 0.1
VALIDATION_ROWS = 1024  # the largest number of held-out simulations in a loss
VALIDATIONS = 50


def held_out(n: int) -> int:
    """Return how many of n simulations are held out: a tenth, at least one, but none if n = 1."""
    return max(1, round(VALIDATION_SHARE * n)) if n > 1 else 0


def is_due(step: int, steps: int) -> bool:
    """Return whether to judge after `step` of 1 … `steps`: about `VALIDATIONS` times, and after the last."""
    return step % max(1, steps // VALIDATIONS) == 0 or step == steps


class BestStep:
    """Keeps the parameters of the step of least loss, for each replicate.

    Args:
        values: parameters to keep until a loss is below `loss`. They lead with R replicates; with R = 1 they
            may have any shape.
        loss: upper limit (R,) for the first loss.
    """

    def __init__(self, values: Iterable[Tensor], loss: Tensor) -> None:
        self.values = [value.detach().clone() for value in values]
        self.loss = loss

    @torch.no_grad()
    def update(self, values: Iterable[Tensor], loss: Tensor) -> None:
        """Keep the values of each replicate whose loss (R,) is the least so far; NaN never is."""
        better = loss < self.loss
        self.loss = torch.where(better, loss, self.loss)
        for kept, value in zip(self.values, values, strict=True):
            rows = (len(better), -1)
            kept.copy_(torch.where(better.unsqueeze(1), value.reshape(rows), kept.view(rows)).view_as(kept))


class MovingAverage:
    """The moving average a of parameters p in training, and the best average if it is judged.

        a ← δ a + (1 − δ) p    after each step

    The last step of Adam is noisy, and the average less so.

    Args:
        parameters: lead with R replicates; with R = 1 they may have any shape.
        decay: δ.
        replicates: R.
    """

    def __init__(self, parameters: Iterable[Tensor], decay: float = DECAY, replicates: int = 1) -> None:
        self.parameters, self.decay = list(parameters), decay
        self.average = [p.detach().clone() for p in self.parameters]
        self.best = BestStep(self.average, self.average[0].new_full((replicates,), torch.inf))
        self.judged = False

    @torch.no_grad()
    def update(self) -> None:
        """Update the average after a step of the parameters."""
        torch._foreach_lerp_(self.average, self.parameters, 1 - self.decay)

    def judge(self, loss: Callable[[], Tensor]) -> None:
        """Keep the average of each replicate for which its held-out loss is the least so far.

        The loss is computed with the average in place of the parameters, which are restored afterwards.

        Args:
            loss: returns the held-out loss of each replicate (R,).
        """
        current = [p.detach().clone() for p in self.parameters]
        self._load(self.average)
        self.keep_best(loss().detach())
        self._load(current)

    def keep_best(self, loss: Tensor) -> None:
        """Keep the average of each replicate whose held-out loss (R,) is the least so far."""
        self.best.update(self.average, loss)
        self.judged = True

    def result(self) -> tuple[list[Tensor], Tensor]:
        """Return the best average, or the last average if none was judged.

        Returns:
            The values of the parameters, and whether those of each replicate, and its least loss if judged,
            are finite (R,).
        """
        values, rows = self.best.values if self.judged else self.average, (len(self.best.loss), -1)
        finite = torch.stack([value.isfinite().reshape(rows).all(1) for value in values]).all(0)
        return values, finite & self.best.loss.isfinite() if self.judged else finite

    def finish(self) -> Tensor:
        """Set the parameters to the values of `result`, and return which replicates are finite (R,)."""
        values, finite = self.result()
        self._load(values)
        return finite

    def keep(self, kept: list[int]) -> None:
        """Keep these replicates, as the optimizer does; the others are dropped."""
        self.average = [value[kept] for value in self.average]
        self.best.values = [value[kept] for value in self.best.values]
        self.best.loss = self.best.loss[kept]

    @torch.no_grad()
    def _load(self, values: list[Tensor]) -> None:
        torch._foreach_copy_(self.parameters, values)
