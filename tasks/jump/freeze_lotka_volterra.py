"""Make the frozen references of `lotka_volterra`, in about 30 minutes.

    python -m graybench.tasks.jump.freeze_lotka_volterra

The method is importance sampling squared (Tran et al., arXiv 1309.3339). With an unbiased estimate L̂(u) of
the likelihood, draws from a proposal q get the weights L̂(u) p(u)/q(u). The weighted draws follow the
posterior whatever the variance of log L̂; this variance only reduces the effective sample size, by a factor
of about exp(−variance). `particle_filter` computes L̂ and an estimate of the score.

A proposal is half a Student-t with the weighted moments of the last round's draws, and half a mixture of
narrow ones around these draws, shrunk towards their mean (West, J. R. Stat. Soc. B 55, 1993). The first round
draws from the prior, and weights are taken to a power that keeps enough of them. After ROUNDS rounds the
number of particles is doubled until the standard deviation of log L̂ at the mean is below MOST_SPREAD. One
more round with so many particles precedes the final draws.
"""

import math
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from ..frozen import save
from ..importance import (
    FREEDOM,
    draw_student_t,
    require_ess_fraction,
    resample_halves,
    tempered,
    weighted_moments,
)
from ..seeding import derive_seed, generator
from ..task import Task
from .jump_process import row_seeds, start, uniform
from .lotka_volterra import MOST_EVENTS, NOISE, START, LotkaVolterra, advance

FEWEST_PARTICLES, MOST_PARTICLES = 100, 800
MOST_SPREAD, REPEATS = 0.55, 40
PRIOR_DRAWS, ROUND_DRAWS, DRAWS = 1_000, 500, 4_000
ROUNDS, LEAST_ESS = 4, 60.0
WIDTH, WIDE = 0.5, 0.5


@njit
def particle_filter(
    rates: np.ndarray,
    x: np.ndarray,
    first: tuple[int, int],
    noise: float,
    most_events: int,
    particles: int,
    seed: int,
) -> tuple[float, np.ndarray]:
    """Estimate the likelihood of one θ by a bootstrap particle filter.

    Particles run as in the simulator, including its stop. At each time they get the weights N(x; (X, Y),
    noise² I), the density of the observation, and are resampled. L̂ is the product over times of the mean
    weight. Each particle keeps N and I of its whole path. The weighted mean ĝ of N − e^θ I at the end
    estimates ∇_θ log p(x | θ): E[L̂ ĝ] = ∇_θ p(x | θ), so ĝ is unbiased under the importance weights.

    Args:
        rates: e^θ, (4,).
        x: the observation, X and Y at each time in turn, (2 × times,).
        first: X and Y at time 0.
        noise: the standard deviation of the noise.
        most_events: the number of events at which a path stops.
        particles: number of particles.
        seed: 64 bits.

    Returns:
        log L̂, and ĝ, (4,).
    """
    state = np.empty(2, np.uint64)
    start(state, seed)
    places = np.zeros((particles, 3), np.int64)
    places[:, 0], places[:, 1] = first
    counts, exposures = np.zeros((particles, 4)), np.zeros((particles, 4))
    weights, log_weights = np.full(particles, 1 / particles), np.empty(particles)
    log_likelihood = 0.0
    for time in range(len(x) // 2):
        kept = _resample(weights, state)
        places, counts, exposures = places[kept], counts[kept], exposures[kept]
        for k in range(particles):
            advance(rates, places[k], most_events, counts[k], exposures[k], state)
            off_x, off_y = x[2 * time] - places[k, 0], x[2 * time + 1] - places[k, 1]
            log_weights[k] = -(off_x**2 + off_y**2) / (2 * noise**2)
        largest = log_weights.max()
        weights = np.exp(log_weights - largest)
        log_likelihood += largest + math.log(weights.mean()) - math.log(2 * math.pi * noise**2)
        weights /= weights.sum()
    score = np.zeros(4)
    for k in range(particles):
        score += weights[k] * (counts[k] - rates * exposures[k])
    return log_likelihood, score


@njit
def _resample(weights: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Resample all particles systematically, in proportion to their weights; return indices."""
    n = len(weights)
    kept, shift, chosen, reached = np.empty(n, np.int64), uniform(state), 0, weights[0]
    for k in range(n):
        while reached < (k + shift) / n and chosen < n - 1:
            chosen += 1
            reached += weights[chosen]
        kept[k] = chosen
    return kept


@njit
def _filter_rows(
    rates: np.ndarray, x: np.ndarray, particles: int, seeds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Filter at each row of e^θ, (n, 4); return log L̂, (n,), and scores in θ, (n, 4)."""
    log_likelihoods, scores = np.empty(len(rates)), np.empty((len(rates), 4))
    for row in range(len(rates)):
        log_likelihoods[row], scores[row] = particle_filter(
            rates[row], x, START, NOISE, MOST_EVENTS, particles, seeds[row]
        )
    return log_likelihoods, scores


class _Posterior:
    """The posterior of one observation, (20,), estimated by particle filters."""

    def __init__(self, task: LotkaVolterra, x_o: Tensor, seed: int) -> None:
        self.task, self.x_o, self.seed = task, x_o, seed

    def estimate(self, u: Tensor, particles: int, step: str) -> tuple[Tensor, Tensor]:
        """Return log L̂, (n,), and the estimated ∇_u log p(u | x_o), (n, 4), at u (n, 4)."""
        seeds = row_seeds(len(u), generator(derive_seed(self.seed, step, "filter")))
        rates = self.task.prior.to_theta(u).exp().numpy()
        log_likelihoods, scores = map(
            torch.from_numpy, _filter_rows(rates, self.x_o.numpy(), particles, seeds)
        )
        return log_likelihoods, self.task.prior.score_in_u(u, scores)

    def spread(self, u: Tensor, particles: int) -> float:
        """Return the standard deviation of log L̂ at one u, (4,)."""
        repeated = u.expand(REPEATS, -1)
        return float(self.estimate(repeated, particles, f"spread {particles}")[0].std())

    def draw(
        self, centres: Tensor, weights: Tensor, n: int, particles: int, step: str
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw from the proposal that is made of weighted centres.

        Returns:
            u, (n, 4), log importance weights, (n,), and scores, (n, 4).
        """
        u, log_proposal = _propose(centres, weights, n, derive_seed(self.seed, step))
        log_likelihoods, scores = self.estimate(u, particles, step)
        return u, log_likelihoods - u.square().sum(1) / 2 - log_proposal, scores


def freeze(task: LotkaVolterra, x_o: Tensor, seed: int) -> dict[str, Any]:
    """Sample the posterior of one observation, (20,); return its arrays for `save`, with diagnostics."""
    posterior = _Posterior(task, x_o, seed)
    random = generator(derive_seed(seed, "prior"))
    u = torch.randn(PRIOR_DRAWS, task.dim_theta, generator=random, dtype=torch.float64)
    weights = tempered(posterior.estimate(u, FEWEST_PARTICLES, "prior")[0], LEAST_ESS)
    for k in range(ROUNDS):
        u, log_weights, _ = posterior.draw(u, weights, ROUND_DRAWS, FEWEST_PARTICLES, f"round {k}")
        weights = tempered(log_weights, LEAST_ESS)
    mean, particles = weights @ u, 2 * FEWEST_PARTICLES
    while (spread := posterior.spread(mean, particles)) > MOST_SPREAD and particles < MOST_PARTICLES:
        particles *= 2
    u, log_weights, _ = posterior.draw(u, weights, ROUND_DRAWS, particles, "last round")
    u, log_weights, scores = posterior.draw(u, tempered(log_weights, LEAST_ESS), DRAWS, particles, "draws")
    ess_fraction = require_ess_fraction(log_weights)
    kept = resample_halves(log_weights, DRAWS, derive_seed(seed, "resample"))
    return {
        "draws": u[kept],
        "scores": scores[kept],
        "effective_size": 1 / (1 / DRAWS + 1 / (ess_fraction * DRAWS)),  # of resampled draws
        "ess_fraction": ess_fraction,
        "particles": particles,
        "log_likelihood_std": spread,
    }


def _propose(centres: Tensor, weights: Tensor, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw from the proposal made of weighted draws, (m, d); return u, (n, d), and log q + constant, (n,)."""
    mean, covariance = weighted_moments(centres, weights.log())
    d, random = len(mean), generator(derive_seed(seed, "component"))
    centres = torch.cat([mean + math.sqrt(1 - WIDTH**2) * (centres - mean), mean.unsqueeze(0)])
    weights = torch.cat([(1 - WIDE) * weights, weights.new_tensor([WIDE])])
    widths = torch.full_like(weights, WIDTH)
    widths[-1] = 1.0
    chosen = torch.multinomial(weights, n, replacement=True, generator=random)
    noise = draw_student_t(torch.zeros_like(mean), covariance, n, seed)[0]
    u = centres[chosen] + widths[chosen].unsqueeze(1) * noise
    factor = torch.linalg.cholesky(covariance)
    whitened = (torch.linalg.solve_triangular(factor, v.T, upper=False).T for v in (u, centres))
    squared = (torch.cdist(*whitened) / widths).square()
    log_kernels = -d * widths.log() - (FREEDOM + d) / 2 * torch.log1p(squared / FREEDOM)
    return u, torch.logsumexp(log_kernels + weights.log(), 1)


def main() -> None:
    """Freeze the references of all observations of the task."""
    task = LotkaVolterra()
    torch.set_num_threads(1)
    references = []
    for k, x_o in enumerate(Task.observations(task).x):
        references.append(freeze(task, x_o, derive_seed("frozen", task.name, k)))
        said = {name: references[-1][name] for name in ("ess_fraction", "particles", "log_likelihood_std")}
        print(k, said, flush=True)
    print(save(task, references))


if __name__ == "__main__":
    main()
