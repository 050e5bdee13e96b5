"""Checks of the reference posterior: against the likelihood, and against the simulator.

    Stein         E[m_i h(u) + ∂_i h(u)] = 0 for draws u of p(u | x_o), with m the marginal score at x_o
    calibration   the rank of the true u_i among draws of p(u_i | x) is uniform over simulations (u, x)
                  [Talts et al. 2018]

References that only exist for the task's own observations are calibrated on those.
"""

import math

import torch
from torch import Tensor

from benchmark.evidence import Evidence, NotApplicableError, Statistic, of_means, of_variance
from tasks.seeding import derive_seed
from tasks.task import Task

STEIN_OBSERVATIONS = 3
RANK_DRAWS = 399
SIMULATIONS_PER_CALIBRATION = {"exact": 50, "sampled": 1_000}

NOT_THE_LIKELIHOOD = (
    "Draws of the reference do not satisfy Stein's identity with the marginal score: "
    "the reference, the marginal score or the prior's share in it is wrong."
)
NOT_CALIBRATED = (
    "The true parameters are not where the reference says: it is shifted (mean), or too narrow or too "
    "wide (variance above or below 1)."
)


def against_likelihood(task: Task, n: int, seed: int) -> Evidence:
    """Stein's identity of the reference and the marginal score, at a few observations."""
    _require_reference(task)
    if "marginal_score" not in task.capabilities:
        raise NotApplicableError("the task has no marginal score")
    x = task.observations().x[:STEIN_OBSERVATIONS]
    statistics = []
    for o, x_o in enumerate(x):
        reference = task.reference(x_o)
        u = reference.sample(n // 4, derive_seed(seed, o))
        score = task.marginal_score(task.prior.to_theta(u), x_o.expand(len(u), -1))
        m = task.prior.score_in_u(u, score.to(u.dtype))
        for name, h, slope in _functions(u):
            names = [f"m_{i} h + ∂_{i} h at x_{o}, h = {name}" for i in range(u.shape[1])]
            statistics += of_means(names, m * h + slope, effective_size=reference.effective_size)
    return Evidence(statistics, NOT_THE_LIKELIHOOD)


def _functions(u: Tensor) -> list[tuple[str, Tensor, Tensor]]:
    """Give name, h(u), (n, 1), and its gradient, (n, d), for 1 and the tanh of each standardised u_j."""
    functions = [("1", torch.ones_like(u[:, :1]), torch.zeros_like(u))]
    for j in range(u.shape[1]):
        spread = u[:, j].std()
        h = torch.tanh((u[:, j] - u[:, j].mean()) / spread)
        slope = torch.zeros_like(u)
        slope[:, j] = (1 - h**2) / spread
        functions.append((f"tanh(u_{j})", h.unsqueeze(1), slope))
    return functions


def calibration(task: Task, n: int, seed: int) -> Evidence:
    """Simulation-based calibration: ranks, made normal, have mean 0 and variance 1."""
    _require_reference(task)
    if task.reference_kind == "frozen":
        own = task.observations()
        x, u = own.x, own.u
    else:
        drawn = task.simulate(max(n // SIMULATIONS_PER_CALIBRATION[task.reference_kind], 2), seed)
        x, u = drawn.x, drawn.u
    ranks = []
    for k, (x_o, truth) in enumerate(zip(x, u, strict=True)):
        draws = task.reference(x_o).sample(RANK_DRAWS, derive_seed(seed, "rank", k))
        ranks.append((draws < truth).double().mean(0) * RANK_DRAWS)
    normal = torch.special.ndtri((torch.stack(ranks) + 0.5) / (RANK_DRAWS + 1))
    statistics = []
    for i, column in enumerate(normal.T):
        count = len(column)
        statistics.append(Statistic(f"u_{i}: mean", float(column.mean()) * math.sqrt(count)))
        statistics.append(of_variance(f"u_{i}: variance", float(column.square().mean()), count))
    return Evidence(statistics, NOT_CALIBRATED)


def _require_reference(task: Task) -> None:
    if "reference" not in task.capabilities:
        raise NotApplicableError("the task has no reference posterior")
