"""Baselines that any method should beat: the prior, and rejection ABC at the same budget.

    prior            p(u) = N(0, I) for every x; its diffused score is −u_t exactly
    rejection_abc    the simulations whose data are nearest to x_o, as they are [Pritchard et al. 1999]

Distances are Euclidean, each component of the data scaled by its median absolute deviation over the training
simulations, or by its standard deviation where more than half of them are alike.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor

from ...tasks.errors import UserError
from ...tasks.plugin import require_whole
from ...tasks.seeding import generator
from ...tasks.task import Simulations
from ..method import Method, Posterior, PosteriorState


class PriorPosterior(Posterior):
    """N(0, I) of dimension `dim` for every observation of `dim_x` components."""

    network_evaluations = 0

    def __init__(self, dim: int, dim_x: int) -> None:
        self.dim, self.dim_x = dim, dim_x

    def sample(self, n: int, x_o: Tensor, seed: int) -> Tensor:
        return torch.randn(len(x_o), n, self.dim, generator=generator(seed))

    def score(self, u_t: Tensor, x_o: Tensor, t: float) -> Tensor:
        return -u_t

    def log_prob(self, u: Tensor, x_o: Tensor) -> Tensor:
        return -0.5 * (u.square().sum(-1) + self.dim * math.log(2 * math.pi))

    def state(self) -> PosteriorState:
        return PosteriorState(Prior(), {})


class Prior(Method):
    """The prior; it looks at no data."""

    name: ClassVar[str] = "prior"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "The prior, whatever the data: what knowing nothing scores."

    def fit(self, simulations: Simulations, seed: int) -> Posterior:
        return PriorPosterior(simulations.u.shape[1], simulations.x.shape[1])

    def restore(self, state: PosteriorState, dims: tuple[int, int]) -> Posterior:
        return PriorPosterior(*dims)


class NearestSimulations(Posterior):
    """Samples are drawn, with replacement, from the u of the simulations nearest to x_o.

    Args:
        method: says how many count as near.
        u, x: the simulations, (n, d) and (n, dim_x).
    """

    network_evaluations = 0

    def __init__(self, method: "RejectionABC", u: Tensor, x: Tensor) -> None:
        self.method, self.u, self.x = method, u, x
        self.accepted = min(len(u), max(method.least, round(method.share * len(u))))
        self.scale = robust_scale(x)

    def nearest(self, x_o: Tensor) -> Tensor:
        """Return the accepted u of each observation: (m, accepted, d)."""
        distance = torch.cdist(x_o.to(self.x) / self.scale, self.x / self.scale)
        return self.u[distance.topk(self.accepted, largest=False).indices]

    def state(self) -> PosteriorState:
        return PosteriorState(self.method, {"u": self.u, "x": self.x})

    def sample(self, n: int, x_o: Tensor, seed: int) -> Tensor:
        random = generator(seed)
        index = torch.randint(self.accepted, (len(x_o), n), generator=random)
        return self.nearest(x_o).gather(1, index.unsqueeze(-1).expand(-1, -1, self.u.shape[1]))


def robust_scale(x: Tensor) -> Tensor:
    """Give the scale of each component of data (n, dim_x): 1 where it does not vary; see the module."""
    deviation = (x - x.median(0).values).abs().median(0).values
    scale = torch.where(deviation > 0, deviation, x.std(0, correction=0))
    return torch.where(scale > 0, scale, torch.ones_like(scale))


class RejectionABC(Method):
    """Rejection ABC: accept a share of the simulations by the distance of their data.

    Args:
        share: of the simulations that is accepted, above 0 and up to 1.
        least: at least so many are accepted, or all if there are fewer.
    """

    name: ClassVar[str] = "rejection_abc"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Rejection ABC: the simulations whose data are nearest to the observation."

    share: float = 0.01
    least: int = 50

    def __post_init__(self) -> None:
        require_whole(f"method {self.name}: least", self.least, 1)
        if not 0 < self.share <= 1:
            raise UserError(f"method {self.name}: share must be above 0 and up to 1, but is {self.share}.")

    def fit(self, simulations: Simulations, seed: int) -> Posterior:
        return NearestSimulations(self, simulations.u.double(), simulations.x.double())

    def restore(self, state: PosteriorState, dims: tuple[int, int]) -> Posterior:
        n = len(state.tensors.get("u", ()))
        u, x = (
            state.tensor(name, n, columns, dtype=torch.float64)
            for name, columns in zip("ux", dims, strict=True)
        )
        return NearestSimulations(self, u, x)
