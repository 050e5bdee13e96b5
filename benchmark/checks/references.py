"""Checks of the reference posterior against the likelihood, itself, and the simulator.

Frozen references are checked on all of the task's own observations, and calibrated on these only.
"""

import math

import torch
from torch import Tensor

from ...methods.score.schedule import alpha_sigma_at
from ...tasks.reference import Reference
from ...tasks.sampled_reference import SampledReference
from ...tasks.seeding import derive_seed, generator
from ...tasks.task import Task
from .evidence import Evidence, Features, NotApplicableError, Statistic, of_means, of_variance

OBSERVATIONS = 3  # number of references to check, if there is one for any x
TIMES = (0.1, 0.3, 0.7)
COMPARED, LARGEST_DIFFERENCE = 50, 1e-3
LINE, LARGEST_ERROR = 0.01, 0.05  # in standard deviations; as a share of the largest difference
RANK_DRAWS = 399
SIMULATIONS_PER_CALIBRATION = {"exact": 50, "sampled": 1_000}
ENOUGH_RANKS = 50  # fewest ranks for a mean over x to be nearly normal

NOT_THE_LIKELIHOOD = (
    "Draws of the reference do not satisfy Stein's identity with the marginal score: "
    "the reference, the marginal score or the prior's term in it is wrong."
)
NOT_DIFFUSED = "The diffused score of the reference does not fit its own draws after diffusion."
NOT_THE_DENSITY = "log_prob of the reference is not the integral of the marginal score."
NOT_CALIBRATED = (
    "The true parameters do not follow the reference: it is shifted (mean), too narrow or too wide "
    "(variance above or below 1), or does not follow x (h(x))."
)


def against_likelihood(task: Task, n: int, seed: int) -> Evidence:
    """Check Stein's identity E[m_i h(u) + ∂_i h(u)] = 0 for draws u of p(u | x_o).

    m is the marginal score at x_o. Scores that are stored with the draws serve as m, and are compared with
    the task's marginal score.
    """
    statistics, fresh, used = [], True, 0
    for o, x_o, reference in _references(task):
        if isinstance(reference, SampledReference) and reference.scores is not None:
            u, m, fresh = reference.draws, reference.scores, False
            if "marginal_score" in task.capabilities:
                off = float((m[:COMPARED] - _marginal(task, u[:COMPARED], x_o)).abs().max())
                same = off < LARGEST_DIFFERENCE * float(m.abs().max())
                statistics.append(
                    Statistic(f"stored scores at x_{o}: off by {off:.1g}", 0.0 if same else math.inf)
                )
        elif "marginal_score" in task.capabilities:
            u = reference.sample(n // 4, derive_seed(seed, o))
            m = _marginal(task, u, x_o)
        else:
            raise NotApplicableError("the task has no marginal score")
        used += len(u)
        # Stored draws count as no more than their effective size.
        excess = 0.0 if fresh else 1 / reference.effective_size - 1 / len(u)
        size = 1 / excess if excess > 0 else math.inf
        for name, h, slope in _functions(u):
            names = [f"m_{i} h + ∂_{i} h at x_{o}, h = {name}" for i in range(u.shape[1])]
            statistics += of_means(names, m * h + slope, effective_size=size)
    return Evidence(statistics, NOT_THE_LIKELIHOOD, used, fresh)


def diffused(task: Task, n: int, seed: int) -> Evidence:
    """Check Stein's identity for u_t = α u + σ ε and the reference's diffused score, at a few t.

    The allowance is the error that the reference estimates for its score.
    """
    statistics, used = [], 0
    for o, _, reference in _references(task):
        for t in TIMES:
            alpha, sigma = alpha_sigma_at(t)
            u = reference.sample(n // 10, derive_seed(seed, o, str(t)))
            noise = generator(derive_seed(seed, o, str(t), "noise"))
            u_t = alpha * u + sigma * torch.randn(u.shape, generator=noise, dtype=u.dtype)
            score = reference.diffused_score(u_t, alpha, sigma)
            allowance = math.sqrt(reference.diffused_score_error(u_t[:200], alpha, sigma)) / sigma
            for name, h, slope in _functions(u_t):
                names = [f"s_{i} h + ∂_{i} h at x_{o}, t = {t}, h = {name}" for i in range(u.shape[1])]
                statistics += of_means(names, score * h + slope, allowance=allowance)
            used += len(u)
    return Evidence(statistics, NOT_DIFFUSED, used)


def density(task: Task, n: int, seed: int) -> Evidence:
    """Check that differences of log_prob along short lines are integrals of the marginal score, up to 5 %.

    The integrals use Simpson's rule.
    """
    if "marginal_score" not in task.capabilities:
        raise NotApplicableError("the task has no marginal score")
    statistics = []
    for o, x_o, reference in _references(task):
        if type(reference).log_prob is Reference.log_prob:
            raise NotApplicableError("the reference has no log_prob")
        u = reference.sample(COMPARED, derive_seed(seed, o))
        step = (
            LINE
            * u.std(0)
            * torch.randn(u.shape, generator=generator(derive_seed(seed, o, "line")), dtype=u.dtype)
        )
        rate = [(_marginal(task, u + part * step, x_o) * step).sum(1) for part in (0, 0.5, 1)]
        wanted = (rate[0] + 4 * rate[1] + rate[2]) / 6
        error = reference.log_prob(u + step) - reference.log_prob(u) - wanted
        off = float(error.abs().max() / wanted.abs().max())
        statistics.append(Statistic(f"at x_{o}: off by {off:.1g}", 0.0 if off < LARGEST_ERROR else math.inf))
    return Evidence(statistics, NOT_THE_DENSITY, COMPARED)


def calibration(task: Task, n: int, seed: int) -> Evidence:
    """Check simulation-based calibration [Talts et al. 2018].

    The rank of the true u_i among draws of p(u_i | x) is uniform over simulations (u, x) and independent of
    x. Normal scores of the ranks therefore have mean 0 and variance 1, and do not correlate with h(x).
    """
    _require_reference(task)
    frozen = task.reference_kind == "frozen"
    if frozen:
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
        if count >= ENOUGH_RANKS:
            features = Features(x)
            names = [f"u_{i} with h(x) = {name}" for name in features.names[1:]]
            statistics += of_means(names, column.unsqueeze(1) * features(x)[:, 1:])
    return Evidence(statistics, NOT_CALIBRATED, len(x), not frozen)


def _references(task: Task) -> list[tuple[int, Tensor, Reference]]:
    """Return the number, x and reference of each observation to check."""
    _require_reference(task)
    x = task.observations().x
    chosen = x if task.reference_kind == "frozen" else x[:OBSERVATIONS]
    return [(o, x_o, task.reference(x_o)) for o, x_o in enumerate(chosen)]


def _marginal(task: Task, u: Tensor, x_o: Tensor) -> Tensor:
    """Return ∇_u log p(u | x_o), (n, d), for u (n, d)."""
    score = task.marginal_score(task.prior.to_theta(u), x_o.expand(len(u), -1))
    return task.prior.score_in_u(u, score.to(u.dtype))


def _functions(u: Tensor) -> list[tuple[str, Tensor, Tensor]]:
    """Return name, h(u), (n, 1), and gradient, (n, d), for h = 1 and h = tanh of each standardised u_j."""
    functions = [("1", torch.ones_like(u[:, :1]), torch.zeros_like(u))]
    for j in range(u.shape[1]):
        spread = u[:, j].std()
        h = torch.tanh((u[:, j] - u[:, j].mean()) / spread)
        slope = torch.zeros_like(u)
        slope[:, j] = (1 - h**2) / spread
        functions.append((f"tanh(u_{j})", h.unsqueeze(1), slope))
    return functions


def _require_reference(task: Task) -> None:
    if "reference" not in task.capabilities:
        raise NotApplicableError("the task has no reference posterior")
