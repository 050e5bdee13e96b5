"""A task: a lamp whose photons a detector counts."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from graybench import GridReference, Items, LogNormal, Outcome, Task, UserError

EXPOSURES = 5
# Of the prior 3e-12 lies outside. The step is half of the smallest σ(t) of the diffusion, and a tenth of the
# standard deviation of a posterior whose θ is 4 prior standard deviations above the mean, where p = 1.
GRID = torch.linspace(-7, 7, 2801, dtype=torch.float64)


class PhotonCounts(Task):
    """Thinned Poisson counts: a lamp seen by a detector that misses photons.

        photons N_i ~ Poisson(θ),  counts x_i ~ Binomial(N_i, p),  i = 1 … 5 exposures;  log θ ~ N(log 10, ½²)

    The latents are the photons. Given the photons, the counts do not depend on θ.

        joint score       ∂_θ log p(x, N | θ) = Σ (N_i/θ − 1)
        marginal score    ∂_θ log p(x | θ) = Σ (x_i/θ − p), as the counts are Poisson(p θ)
        posterior         log p(u | x) = −u²/2 + Σ x_i log θ − 5 p θ + constant, at θ = T(u), on a grid

    Args:
        efficiency: the probability p that a photon is counted, above 0 and up to 1.
    """

    name: ClassVar[str] = "photon_counts"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Five counts of photons by a detector that misses some."
    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score", "marginal_score", "reference"})
    prior = LogNormal(math.log(10), 0.5)
    dim_theta = 1
    dim_x = EXPOSURES
    structure = Items(EXPOSURES, independent=True)

    efficiency: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.efficiency <= 1:
            raise UserError(
                f"task photon_counts: efficiency must be above 0 and up to 1, but is {self.efficiency}."
            )

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Draw the photons and the counts for each θ, (n, 1)."""
        photons = torch.poisson(theta.expand(-1, EXPOSURES), generator=generator)
        counts = torch.binomial(photons, torch.full_like(photons, self.efficiency), generator=generator)
        return Outcome(counts, (photons / theta - 1).sum(1, keepdim=True), latents=photons)

    def log_joint(self, theta: Tensor, x: Tensor, latents: Any) -> Tensor:
        """Return Σ log Poisson(N_i; θ), (n,), up to what does not depend on θ, for N (n, 5)."""
        return (latents * theta.log() - theta).sum(1)

    def marginal_score(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return Σ (x_i/θ − p), (n, 1)."""
        return (x / theta - self.efficiency).sum(1, keepdim=True)

    def reference(self, x_o: Tensor) -> GridReference:
        """Return the exact posterior of u, on the grid."""
        theta = self.prior.to_theta(GRID)
        log_likelihood = x_o.double().sum() * theta.log() - EXPOSURES * self.efficiency * theta
        return GridReference(GRID, log_likelihood - GRID**2 / 2)
