"""What every training here shares: the moving average of the parameters, and the step that is kept.

Adam's last step is noisy; a moving average of the parameters, a ← δ a + (1 − δ) p after a step, is less so.
Where simulations are held out, the average is judged on them from time to time, and each replicate keeps the
average of least loss. Where none are, it keeps the last.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

DECAY = 0.995  # δ
VALIDATION_SHARE = 0.1
VALIDATION_ROWS = 1024  # the most held-out simulations that a loss is computed on
VALIDATIONS = 50


def held_out(n: int) -> int:
    """Return how many of n simulations are held out: a tenth of them, but at least one, and none of one."""
    return max(1, round(VALIDATION_SHARE * n)) if n > 1 else 0


def is_due(step: int, steps: int) -> bool:
    """Say whether to judge after `step` of 1 … `steps`: about `VALIDATIONS` times, and after the last."""
    return step % max(1, steps // VALIDATIONS) == 0 or step == steps


class BestStep:
    """Keeps the parameters of the step of least loss, for each replicate.

    Args:
        values: the parameters to keep until a loss is below `loss`. They lead with R replicates; with R = 1
            they may have any shape.
        loss: what the first loss must be below, (R,).
    """

    def __init__(self, values: Iterable[Tensor], loss: Tensor) -> None:
        self.values = [value.detach().clone() for value in values]
        self.loss = loss

    @torch.no_grad()
    def update(self, values: Iterable[Tensor], loss: Tensor) -> None:
        """Keep the values of each replicate whose loss, (R,), is the least so far; NaN never is."""
        better = loss < self.loss
        self.loss = torch.where(better, loss, self.loss)
        for kept, value in zip(self.values, values, strict=True):
            rows = (len(better), -1)
            kept.copy_(torch.where(better.unsqueeze(1), value.reshape(rows), kept.view(rows)).view_as(kept))


class MovingAverage:
    """The moving average of parameters in training, and the best of it where it is judged.

    Args:
        parameters: leading with R replicates; with R = 1 they may have any shape.
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
        """Move the average after a step of the parameters."""
        torch._foreach_lerp_(self.average, self.parameters, 1 - self.decay)

    def judge(self, loss: Callable[[], Tensor]) -> None:
        """Keep the average where it is best by the held-out `loss`, (R,), computed with it as the parameters.

        The parameters are put back afterwards.
        """
        current = [p.detach().clone() for p in self.parameters]
        self._load(self.average)
        self.best.update(self.average, loss().detach())
        self._load(current)
        self.judged = True

    def finish(self) -> Tensor:
        """Set the parameters to the best average, or to the last one where none was judged.

        Returns:
            whether each replicate's parameters are finite, and one of its losses was, (R,).
        """
        self._load(self.best.values if self.judged else self.average)
        rows = (len(self.best.loss), -1)
        finite = torch.stack([p.detach().isfinite().reshape(rows).all(1) for p in self.parameters]).all(0)
        return finite & self.best.loss.isfinite() if self.judged else finite

    @torch.no_grad()
    def _load(self, values: list[Tensor]) -> None:
        torch._foreach_copy_(self.parameters, values)
