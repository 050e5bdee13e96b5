"""Gates: the weight W of the DSM target in a mixture y_W = W y_DSM + (I − W) y_score.

`of_time` has the gates that depend on t alone, `of_state` those that also depend on x and u_t. `choice` has
their names. `cost` compares gates without a score network.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from .. import targets
from ..schedule import alpha_sigma
from ..training_data import Draws, TrainingData


class Gate(nn.Module, ABC):
    """A weight W(u_t, x, t) for each of R replicates.

        y_W = W y_DSM + (I − W) y_score = y_DSM + (I − W)(y_score − y_DSM)

    The second form is computed, with I − W in closed form: near t = 1 the scores can be 10⁷ times y_DSM, and
    1 − w in float32 would leave an error of order one.

    Parameters and buffers lead with R. Inputs have shape (..., R, n, features), t has (..., R, n, 1).

    Attributes:
        trained: True if the gate is trained together with the score network.
        mixes_by_time: True if both targets have a weight that depends on t alone.
    """

    trained = False
    mixes_by_time = False

    def fit(self, data: TrainingData, seeds: Sequence[int]) -> None:
        """Fit the gate before the score network is trained; closed forms have nothing to fit."""

    def mix(self, y_dsm: Tensor, y_score: Tensor, u_t: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Return y_W (..., R, n, d).

        A shift and a scaling of both targets carry over to y_W.

        Args:
            y_dsm, y_score: the targets (..., R, n, d).
            u_t, x, t: where W is evaluated.
        """
        return y_dsm + self.score_part(y_score - y_dsm, u_t, x, t)

    @abstractmethod
    def score_part(self, v: Tensor, u_t: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Return (I − W) v for v (..., R, n, d)."""

    @abstractmethod
    def second_moment(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return E‖y_W‖²/d at each t (..., R, n, 1): the target variance plus E‖s‖²/d."""


def cost(gate: Gate, data: TrainingData, draws: Draws) -> Tensor:
    """Return the cost σ² ‖y_W‖²/d of a gate for every draw (R, n).

    Every mixture is unbiased for the score s. For any gate that depends on u_t, x and t,

        E‖y_W − s‖² = E‖y_W‖² − E‖s‖²,

    where E‖s‖² is the same for all gates, so gates can be compared without the score. The expected cost of
    DSM is 1 at every t. Score errors are averaged over t with the same factor σ².
    """
    drawn, (alpha, sigma) = data.rows(draws.rows), alpha_sigma(draws.t)
    assert drawn.score is not None
    y_dsm, y_score = targets.dsm(draws.eps, sigma), targets.from_score(drawn.score, alpha)
    y = gate.mix(y_dsm, y_score, alpha * drawn.u + sigma * draws.eps, drawn.x, draws.t)
    return (sigma * y).square().mean(-1)
