"""How gates are judged: σ² E‖y_W‖²/d with t uniform, on simulations that the gate has not seen.

All mixtures are unbiased for the score, so E‖y_W − s‖² = E‖y_W‖² − E‖s‖² for any gate that depends on u_t,
x and t, and E‖s‖² is the same for all gates: no score is needed. DSM's cost is 1 at every t. The weight σ² is
the one with which score errors are averaged over t.
"""

from torch import Tensor

from . import targets
from .draws import Draws
from .gates import Gate
from .schedule import alpha_sigma
from .training_data import TrainingData


def cost(gate: Gate, data: TrainingData, draws: Draws) -> Tensor:
    """Give σ² ‖y_W‖²/d of every draw, (R, n)."""
    drawn, (alpha, sigma) = data.rows(draws.rows), alpha_sigma(draws.t)
    assert drawn.score is not None
    y_dsm, y_score = targets.dsm(draws.eps, sigma), targets.from_score(drawn.score, alpha)
    y = gate.mix(y_dsm, y_score, alpha * drawn.u + sigma * draws.eps, drawn.x, draws.t)
    return (sigma * y).square().mean(-1)
