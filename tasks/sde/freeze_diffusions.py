"""Make the frozen references of `lorenz96` and `lotka_volterra_diffusion`, in about half an hour.

    python -m graybench.tasks.sde.freeze_diffusions

The method is importance sampling squared (Tran et al., arXiv 1309.3339): with an unbiased estimate L̂(u) of
the likelihood, draws from a proposal q get the weights L̂(u) p(u)/q(u), and follow the posterior whatever
the variance of log L̂. `log_likelihoods` computes L̂ by bridges that have nothing in common with those of the
method `bridge_is`. The proposal is a Student-t with the weighted moments of the last round's draws. The first
round draws from the prior, and weights are taken to a power that keeps enough of them.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp

from ..frozen import save
from ..importance import draw_student_t, require_ess_fraction, resample_halves, tempered, weighted_moments
from ..seeding import derive_seed, generator
from ..task import Task
from .lorenz96 import Lorenz96
from .lotka_volterra_diffusion import LotkaVolterraDiffusion
from .sde import SDE, TimeGrid
from .stored_diffusion import StoredDiffusion

PARTICLES, DRAWS, ROUND_DRAWS, ROUNDS, LEAST_ESS = 8, 4_000, 400, 6, 60.0
REPEATS, NUMBERS_AT_ONCE = 40, 500


def log_likelihoods(sde: SDE, x_0: Tensor, y: Tensor, grid: TimeGrid, noise: Tensor) -> Tensor:
    """Estimate log p(y | x_0) of the Euler scheme by bridges guided by a linear flow.

    η is the path of the scheme without noise from x_0, A_k = ∂f/∂x and S_k = Σ dt at η_k. In the scheme that
    is linear around η, with the noise S_k, the end given x_k is N(η_K + Φ_k (x_k − η_k), V_k):

        Φ_k = Φ_{k+1} (I + A_k dt),   V_k = V_{k+1} + Φ_{k+1} S_k Φ_{k+1}ᵀ,   Φ_K = I,   V_K = 0

    A bridge draws x_{k+1} from N(x_k + f dt, Σ dt) times that density of y given x_{k+1}, normalised. Its
    weight is its density under the scheme divided by that of the draws.

    Source: Whitaker et al., Improved bridge constructs for stochastic differential equations, 2017.

    Args:
        sde: the model, with parameters that broadcast to (J, 1, 1).
        x_0: starts, (m, D).
        y: ends, (m, D).
        grid: duration and number K of steps.
        noise: standard normal, (K − 1, J, m, N, D).

    Returns:
        The estimates, (J, m), differentiable in the parameters of the SDE.
    """
    steps, dim = grid.steps, y.shape[-1]
    flow, turns, scatters = _linear_flow(sde, x_0.unsqueeze(1), noise.shape[1], grid)
    ends, x = y.unsqueeze(1), x_0.unsqueeze(1).expand(noise.shape[1:])
    log_weights = torch.zeros(noise.shape[1:-1], dtype=torch.float64)
    for k in range(steps - 1):
        here = sde.at(x)
        mean = x + here.drift * grid.dt
        turn, scatter = turns[k + 1], scatters[k + 1]
        missing = ends - flow[steps] - _apply(turn, mean - flow[k + 1])
        guide = torch.linalg.solve(scatter, turn).mT  # Φᵀ V⁻¹
        precision = torch.linalg.inv(_dense(sde, x) * grid.dt) + guide @ turn
        root = torch.linalg.cholesky(precision)
        pulled = torch.cholesky_solve(_apply(guide, missing).unsqueeze(-1), root)
        spread = torch.linalg.solve_triangular(root.mT, noise[k].unsqueeze(-1), upper=True)
        x = mean + (pulled + spread).squeeze(-1)
        log_q = root.diagonal(dim1=-2, dim2=-1).log().sum(-1) - 0.5 * noise[k].square().sum(-1)
        log_q = log_q - dim / 2 * math.log(2 * math.pi)
        log_weights = log_weights + here.log_normal(x - mean, grid.dt) - log_q
    here = sde.at(x)
    log_weights = log_weights + here.log_normal(ends - x - here.drift * grid.dt, grid.dt)
    return torch.logsumexp(log_weights, -1) - math.log(noise.shape[-2])


def _linear_flow(
    sde: SDE, x_0: Tensor, rows: int, grid: TimeGrid
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Return η, (rows, m, 1, D), Φ and V, (rows, m, 1, D, D), at the steps 0 to K, for x_0 (m, 1, D)."""
    dim = x_0.shape[-1]
    flow, slopes, covariances = [x_0.expand(rows, *x_0.shape)], [], []
    units = torch.eye(dim, dtype=x_0.dtype).expand(rows, len(x_0), dim, dim).contiguous()
    for _ in range(grid.steps):
        copies = flow[-1].expand_as(units).contiguous()
        found = jvp(lambda x: sde.at(x).drift, (copies,), (units,))
        slopes.append(found[1].mT.unsqueeze(2))
        covariances.append(sde.at(copies).times(units).unsqueeze(2))
        flow.append(flow[-1] + found[0][:, :, :1] * grid.dt)
    turns, scatters = [units.unsqueeze(2)], [torch.zeros_like(units).unsqueeze(2)]
    for slope, covariance in zip(reversed(slopes), reversed(covariances), strict=True):
        turn = turns[0]
        scatters.insert(0, scatters[0] + turn @ covariance @ turn.mT * grid.dt)
        turns.insert(0, turn + turn @ slope * grid.dt)
    return flow, turns, scatters


def _dense(sde: SDE, x: Tensor) -> Tensor:
    """Return Σ, (..., N, D, D), at particles, (..., N, D); one for all of them if it is constant."""
    x = x[..., :1, :] if sde.constant_covariance else x
    here, units = sde.at(x), torch.eye(x.shape[-1], dtype=x.dtype)
    return torch.stack([here.times(unit.expand_as(x)) for unit in units], -1)


def _apply(matrix: Tensor, v: Tensor) -> Tensor:
    return (matrix @ v.unsqueeze(-1)).squeeze(-1)


class _Posterior:
    """The posterior of one observation, (m D,), estimated by guided bridges."""

    def __init__(self, task: StoredDiffusion, x_o: Tensor, seed: int) -> None:
        self.task, self.seed = task, seed
        self.ends = x_o.view(task.observed, -1)
        self.starts = torch.cat([task.start.unsqueeze(0), self.ends[:-1]])

    def log_likelihood(self, u: Tensor, step: str) -> Tensor:
        """Return log L̂, (n,), at u (n, d)."""
        random = generator(derive_seed(self.seed, step, "bridges"))
        size = (self.task.steps - 1, len(u), self.task.observed, PARTICLES, self.ends.shape[1])
        noise = torch.randn(size, generator=random, dtype=torch.float64)
        sde = self.task.sde(self.task.prior.to_theta(u[:, None, None]))
        return log_likelihoods(sde, self.starts, self.ends, self.task.grid, noise).sum(1)

    def estimate(self, u: Tensor, step: str) -> Tensor:
        """Return log L̂, (n,), at u (n, d), in parts."""
        parts = enumerate(u.split(NUMBERS_AT_ONCE // self.ends.shape[1]))
        with torch.no_grad():
            return torch.cat([self.log_likelihood(rows, f"{step} {k}") for k, rows in parts])

    def estimate_with_scores(self, u: Tensor, step: str) -> tuple[Tensor, Tensor]:
        """Return log L̂, (n,), and ĝ = ∇_u log (L̂ p(u)), (n, d): E[L̂ ĝ] is the gradient of the density."""
        values, scores = [], []
        for k, rows in enumerate(u.split(NUMBERS_AT_ONCE // self.ends.shape[1])):
            point = rows.clone().requires_grad_()
            value = self.log_likelihood(point, f"{step} {k}")
            (slope,) = torch.autograd.grad(value.sum(), point)
            values.append(value.detach())
            scores.append(slope - rows)
        return torch.cat(values), torch.cat(scores)


def freeze(task: StoredDiffusion, x_o: Tensor, seed: int) -> dict[str, Any]:
    """Sample the posterior of one observation, (m D,); return its arrays for `save`, with diagnostics."""
    posterior, d = _Posterior(task, x_o, seed), task.dim_theta
    u = torch.randn(ROUND_DRAWS, d, generator=generator(derive_seed(seed, "prior")), dtype=torch.float64)
    log_weights = posterior.estimate(u, "prior")
    for k in range(ROUNDS):
        mean, covariance = weighted_moments(u, tempered(log_weights, LEAST_ESS).log())
        u, log_proposal = draw_student_t(mean, covariance, ROUND_DRAWS, derive_seed(seed, "round", k))
        log_weights = posterior.estimate(u, f"round {k}") - u.square().sum(1) / 2 - log_proposal
    mean, covariance = weighted_moments(u, log_weights)
    spread = float(posterior.estimate(mean.expand(REPEATS, -1), "spread").std())
    u, log_proposal = draw_student_t(mean, covariance, DRAWS, derive_seed(seed, "draws"))
    log_likelihood, scores = posterior.estimate_with_scores(u, "draws")
    log_weights = log_likelihood - u.square().sum(1) / 2 - log_proposal
    ess_fraction = require_ess_fraction(log_weights)
    kept = resample_halves(log_weights, DRAWS, derive_seed(seed, "resample"))
    return {
        "draws": u[kept],
        "scores": scores[kept],
        "effective_size": 1 / (1 / DRAWS + 1 / (ess_fraction * DRAWS)),  # of resampled draws
        "ess_fraction": ess_fraction,
        "log_likelihood_std": spread,
    }


def main() -> None:
    """Freeze the references of all observations of both tasks."""
    torch.set_num_threads(1)
    for task in (Lorenz96(), LotkaVolterraDiffusion()):
        references = []
        for k, x_o in enumerate(Task.observations(task).x):
            references.append(freeze(task, x_o, derive_seed("frozen", task.name, k)))
            said = {name: references[-1][name] for name in ("ess_fraction", "log_likelihood_std")}
            print(task.name, k, said, flush=True)
        print(save(task, references))


if __name__ == "__main__":
    main()
