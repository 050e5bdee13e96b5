"""Summaries of data with structure for methods that train one network at a time."""

import torch
from torch import Tensor

from ...tasks.simulations import Simulations
from ..score.summary import Summary, chosen_structure


class Summariser:
    """A map from data to what a network sees in their place, see `methods.score.summary`.

    Args:
        method: the name of the method, for messages.
        option: a name in `methods.score.summary.SUMMARIES`.
        simulations: n training simulations.
        seed: of the fit.

    Attributes:
        trained: what the network sees for the training data, (n, k). Each simulation is summarised by a
            regression that did not see it.

    Raises:
        UserError: the option is for data of another structure.
    """

    def __init__(self, method: str, option: str, simulations: Simulations, seed: int) -> None:
        x, u = simulations.x.float(), simulations.u.float()
        structure = chosen_structure(f"method {method}", option, simulations.structure)
        self.summary: Summary | None = None
        self.trained = x
        if structure is not None:
            self.summary = Summary(structure, x.unsqueeze(0), u.shape[1], [seed])
            self.trained = self.summary.fit(x.unsqueeze(0), u.unsqueeze(0))[0]
            self.summary.requires_grad_(False)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Return what the network sees for x (m, dim_x): (m, k) in float32."""
        x = x.float()
        return x if self.summary is None else self.summary(x.unsqueeze(0))[0]
