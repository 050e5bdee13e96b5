"""Why no bridge from a start to an end point has a weight above 0."""

import torch
from torch import Tensor

from ...tasks.sde.sde import SDE

FARTHEST_END = 1e3  # standard deviations
LEAST = -0.5 * FARTHEST_END**2  # nats


@torch.no_grad()
def unreached(log_likelihoods: Tensor, sde: SDE, x_0: Tensor, y: Tensor) -> str:
    """Return a clause that names the first end point that no bridge reaches, the cause and what to do.

    Its likelihood is 0, or as small as 1,000 standard deviations away. The clause is empty if there is none.

    Args:
        log_likelihoods: the estimates (...).
        sde, x_0, y: as in `BridgeSampler.bridges`.
    """
    missing = (~(log_likelihoods > LEAST)).nonzero()
    if not len(missing):
        return ""
    where = tuple(missing[0].tolist())
    clause = f"no bridge reaches end point {', '.join(map(str, where)) or 0}"

    def fine(values: Tensor) -> bool:
        """Return whether values, which broadcast to (..., 1), are finite at this end point."""
        return bool(values.isfinite().broadcast_to(*log_likelihoods.shape, 1)[where])

    for name, x in {"start": x_0, "end point": y.unsqueeze(-2)}.items():
        here = sde.at(x)
        if not fine(x.sum(-1)):
            return f"{clause}, as the {name} is not finite: leave it out"
        if not fine(here.drift.sum(-1)):
            return f"{clause}, as the drift at the {name} is not finite: correct the model or leave it out"
        if not fine(here.half_log_det):
            return f"{clause}, as Σ at the {name} is singular: correct the model or leave it out"
    if log_likelihoods[where].isfinite():
        return f"{clause}, as it is over {FARTHEST_END:,.0f} standard deviations away: leave it out"
    return f"{clause}, as all overflow: leave it out, or use more steps or other parameters"
