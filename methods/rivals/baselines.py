"""Baselines that any method should beat: the prior, and rejection ABC at the same budget."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from ...tasks.errors import UserError
from ...tasks.plugin import require_whole
from ...tasks.seeding import generator
from ...tasks.simulations import Simulations
from ..method import Method, Posterior, PosteriorState


class PriorPosterior(Posterior):
    """The prior N(0, I) for every observation; its diffused score is −u_t.

    Args:
        dim: d.
    """

    network_evaluations = 0

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def sample(self, n: int, x_o: Tensor, seed: int) -> Tensor:
        return torch.randn(len(x_o), n, self.dim, generator=generator(seed))

    def score(self, u_t: Tensor, x_o: Tensor, t: float) -> Tensor:
        return -u_t

    def log_prob(self, u: Tensor, x_o: Tensor) -> Tensor:
        return -0.5 * (u.square().sum(-1) + self.dim * math.log(2 * math.pi))

    def state(self) -> PosteriorState:
        return PosteriorState(Prior(), {})


class Prior(Method):
    """The prior N(0, I) of u, whatever the data.

    Its diffused score is −u_t. It shows what a method scores that learns nothing.
    """

    name: ClassVar[str] = "prior"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "The prior, whatever the data: what knowing nothing scores."

    def fit(self, simulations: Simulations, seed: int) -> Posterior:
        return PriorPosterior(simulations.u.shape[1])

    def restore(self, state: PosteriorState, dims: tuple[int, int]) -> Posterior:
        return PriorPosterior(dims[0])


class NearestSimulations(Posterior):
    """Draws, with replacement, of u from the simulations nearest to x_o, see `RejectionABC`.

    Args:
        method: determines how many simulations are accepted.
        u, x: the simulations, (n, d) and (n, dim_x).
    """

    network_evaluations = 0

    def __init__(self, method: "RejectionABC", u: Tensor, x: Tensor) -> None:
        self.method, self.u, self.x = method, u, x
        self.accepted = min(len(u), max(method.least, round(method.share * len(u))))
        self.scale = robust_scale(x)

    def nearest(self, x_o: Tensor) -> Tensor:
        """Return the accepted u (m, accepted, d) of each observation."""
        distance = torch.cdist(x_o.to(self.x) / self.scale, self.x / self.scale)
        return self.u[distance.topk(self.accepted, largest=False).indices]

    def state(self) -> PosteriorState:
        return PosteriorState(self.method, {"u": self.u, "x": self.x})

    def sample(self, n: int, x_o: Tensor, seed: int) -> Tensor:
        random = generator(seed)
        index = torch.randint(self.accepted, (len(x_o), n), generator=random)
        return self.nearest(x_o).gather(1, index.unsqueeze(-1).expand(-1, -1, self.u.shape[1]))


def robust_scale(x: Tensor) -> Tensor:
    """Return the scale (dim_x,) of each component of data x (n, dim_x).

    It is the median absolute deviation. Where that is 0, it is the standard deviation, and 1 where the
    component does not vary.
    """
    deviation = (x - x.median(0).values).abs().median(0).values
    scale = torch.where(deviation > 0, deviation, x.std(0, correction=0))
    return torch.where(scale > 0, scale, torch.ones_like(scale))


class RejectionABC(Method):
    """Rejection ABC: accept the simulations whose data are nearest to the observation.

    The distance of simulation i is Euclidean in scaled components:

        dist_i² = Σ_j (x_ij − x_oj)²/scale_j²

    scale_j is the median absolute deviation of component j over the training simulations, or its standard
    deviation if more than half of the values are equal. Of n simulations, max(least, share · n) are accepted,
    at most n. Samples are the accepted u, drawn with replacement.

    Args:
        share: share of the simulations to accept, above 0 and up to 1.
        least: least number of simulations to accept.

    Raises:
        UserError: an option is out of range.

    Source: Pritchard et al., Population growth of human Y chromosomes, 1999.
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
