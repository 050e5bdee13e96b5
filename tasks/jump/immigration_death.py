"""Immigration and death, a jump process with transition probabilities in closed form."""

import math
from typing import ClassVar

import numpy as np
import torch
from numba import njit
from torch import Tensor

from ..likelihood import LikelihoodTask
from ..prior import Normal
from ..structure import Series
from ..task import Outcome
from .jump_process import JumpTask, exponential, path_outcome, row_seeds, start, uniform

START, TIMES = 10, 10


class ImmigrationDeath(JumpTask, LikelihoodTask):
    """Immigrants arrive at the rate λ, and each individual dies at the rate μ.

        channel   change   hazard e^{θ_j} h_j(X)     median of e^{θ_j}
        1         X + 1    λ                         10
        2         X − 1    μ X                       0.7

        prior           θ = (log λ, log μ), normal with standard deviations of 0.4
        data            X at the times 1, 2, …, 10, without noise, (n, 10); X_0 = 10
        joint score     N_j − e^{θ_j} ∫ h_j dt over [0, 10], see `JumpTask`
        likelihood      X_{t+1} = Binomial(X_t, e^{−μ}) + Poisson(m), independent, with m = (1 − e^{−μ}) λ/μ:
                        p(x' | x) = Σ_k Binomial(k; x, e^{−μ}) Poisson(x' − k; m), with k survivors

    Paths need no cap: arrivals are Poisson and nobody dies twice, so the number of events is finite.
    """

    name: ClassVar[str] = "immigration_death"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Immigration and death in continuous time; exact likelihood by convolution."
    prior = Normal((math.log(10), math.log(0.7)), 0.4)
    dim_theta = 2
    dim_x = TIMES
    structure = Series(TIMES)

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Run one path for each θ, (n, 2), by Gillespie's direct method."""
        x, counts, exposures = _paths(theta.exp().numpy(), row_seeds(len(theta), generator))
        return path_outcome(theta, torch.from_numpy(x), counts, exposures)

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the exact log p(x | θ), (n,), in float64, for θ (n, 2) and x (n or 1, 10)."""
        after = x.double().unsqueeze(2)
        before = torch.cat([torch.full_like(after[:, :1], START), after[:, :-1]], 1)
        survivors = torch.arange(float(x.max()) + 1, dtype=torch.float64)
        possible = survivors <= torch.minimum(before, after)
        deaths, immigrants = ((total - survivors).clamp_min(0) for total in (before, after))
        ways = torch.lgamma(before + 1) - sum(
            torch.lgamma(number + 1) for number in (survivors, deaths, immigrants)
        )
        log_rate, log_death_rate = theta.double().reshape(-1, 2, 1, 1).unbind(1)
        death_rate = log_death_rate.exp()
        log_dead = torch.log(-torch.expm1(-death_rate))
        log_mean = log_rate - log_death_rate + log_dead
        terms = ways - death_rate * survivors + log_dead * deaths + log_mean * immigrants - log_mean.exp()
        return torch.logsumexp(terms.where(possible, -math.inf), 2).sum(1)


@njit
def _paths(rates: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run a path for each row of e^θ, (n, 2); return x, N and I."""
    n = len(rates)
    x, counts, exposures = np.empty((n, TIMES)), np.empty((n, 2)), np.empty((n, 2))
    state = np.empty(2, np.uint64)
    for row in range(n):
        start(state, seeds[row])
        births, alive, deaths, lived, now = rates[row, 0], START, 0, 0.0, 0.0
        arrivals = 0
        for time in range(TIMES):
            while True:
                total = births + rates[row, 1] * alive
                then = now + exponential(state) / total
                if not then < time + 1:
                    break
                lived += alive * (then - now)
                now = then
                if uniform(state) * total < births:
                    alive, arrivals = alive + 1, arrivals + 1
                else:
                    alive, deaths = alive - 1, deaths + 1
            # The exponential law has no memory, so the waiting time may start again at the observation.
            lived += alive * (time + 1 - now)
            now = time + 1.0
            x[row, time] = alive
        counts[row, 0], counts[row, 1] = arrivals, deaths
        exposures[row, 0], exposures[row, 1] = TIMES, lived
    return x, counts, exposures
