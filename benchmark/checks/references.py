"""Checks of the reference posterior against the likelihood, itself, and the simulator.

Frozen references are checked on all of the task's own observations, and calibrated on these only.
"""

import math

import torch
from torch import Tensor

from ...methods.score.schedule import alpha_sigma_at
from ...tasks.reference import GaussianReference, Reference
from ...tasks.sampled_reference import SampledReference
from ...tasks.seeding import derive_seed, generator
from ...tasks.task import Task
from .evidence import Evidence, Features, NotApplicableError, Statistic, of_means, of_variance

OBSERVATIONS = 3  # number of references to check, if there is one for any x
RADIUS = "|w|²"
TIMES = (0.02, 0.1, 0.3, 0.7, 0.95)
COMPARED, LARGEST_DIFFERENCE = 50, 1e-3
LINE, LARGEST_ERROR = 0.01, 0.05  # in standard deviations; as a share of the largest difference
DENSITY_SHARE, DENSITY_ERROR = 4, 0.003
RANK_DRAWS, RANK_DRAWS_PER_PARAMETER = 99, 5
SIMULATIONS_PER_CALIBRATION = {"exact": 50, "sampled": 1_000}
SIMULATIONS_PER_ONLY_CALIBRATION = 3  # of an exact reference without a marginal score to compare with
REFERENCES_PER_DENSITY_RANK = 5
ENOUGH_RANKS = 50  # fewest ranks for a mean over x to be nearly normal
REFERENCES_AT_ONCE = 256
OUTLYING = 3.0  # whitened draws are clipped here, so that heavy tails leave their products nearly normal

NOT_THE_LIKELIHOOD = (
    "Draws of the reference do not satisfy Stein's identity with the marginal score: "
    "the reference, the marginal score or the prior's term in it is wrong."
)
NOT_DIFFUSED = "The diffused score of the reference does not fit its own draws after diffusion."
NOT_THE_DENSITY = (
    "log_prob of the reference is not the density of its draws (shape or normaliser), or not the integral of "
    "the marginal score (off by)."
)
NOT_CALIBRATED = (
    "The true parameters do not follow the reference: it is shifted (mean), too narrow or too wide "
    "(variance above or below 1, or |w|²), misses how parameters depend on each other (combination, "
    "w_i w_j), has another shape (log p), or does not follow x (h(x))."
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
    """Check log_prob against draws of the reference, and against the marginal score if there is one.

    Let q be a normal density with the moments of some draws. If draws v have the density p = exp(log_prob),
    then E[h(v) q/(p + q)] = E[h(w) p/(p + q)] with w ~ q, for any h: both are ∫ h p q/(p + q). A normaliser
    that is missing, or a wrong shape, breaks this.

    Differences of log_prob along short lines are integrals of the marginal score, up to 5 %; the integrals
    use Simpson's rule.
    """
    statistics, used, references = [], 0, _references(task)
    for o, x_o, reference in references:
        if not _has_density(reference):
            raise NotApplicableError("the reference has no log_prob")
        draws = n * OBSERVATIONS // (DENSITY_SHARE * len(references))
        statistics += _of_bridge(reference, draws, derive_seed(seed, o), f"at x_{o}")
        used += draws
        if "marginal_score" not in task.capabilities:
            continue
        u = reference.sample(COMPARED, derive_seed(seed, o))
        noise = torch.randn(u.shape, generator=generator(derive_seed(seed, o, "line")), dtype=u.dtype)
        step = LINE * u.std(0) * noise
        rate = [(_marginal(task, u + part * step, x_o) * step).sum(1) for part in (0, 0.5, 1)]
        wanted = (rate[0] + 4 * rate[1] + rate[2]) / 6
        error = reference.log_prob(u + step) - reference.log_prob(u) - wanted
        off = float(error.abs().max() / wanted.abs().max())
        statistics.append(Statistic(f"at x_{o}: off by {off:.1g}", 0.0 if off < LARGEST_ERROR else math.inf))
    return Evidence(statistics, NOT_THE_DENSITY, used)


def _of_bridge(reference: Reference, n: int, seed: int, where: str) -> list[Statistic]:
    """Test E[h(v) q/(p + q)] = E[h(w) p/(p + q)] for n draws v of the reference and w of a normal q.

    Where q is near p, an error δ of log_prob shifts the difference by δ/2. Allowed is the error of a grid's
    interpolation, or of an evidence by importance sampling that is as good as its effective size.
    """
    draws = reference.sample(2 * n, derive_seed(seed, "draws"))
    pilot, v = draws[:n], draws[n:]
    normal = GaussianReference(pilot.mean(0), torch.atleast_2d(pilot.T.cov()))
    w = normal.sample(n, derive_seed(seed, "normal"))
    columns = []
    for u, sign in ((v, 1), (w, -1)):
        standard = (u - normal.mean) / normal.covariance.diagonal().sqrt()
        squared = torch.linalg.solve_triangular(
            torch.linalg.cholesky(normal.covariance), (u - normal.mean).T, upper=False
        ).square()
        radius = (squared.sum(0) - u.shape[1]) / math.sqrt(2 * u.shape[1])
        h = torch.cat([torch.ones_like(u[:, :1]), torch.tanh(standard), torch.tanh(radius).unsqueeze(1)], 1)
        share = torch.sigmoid(sign * (normal.log_prob(u) - reference.log_prob(u)))
        columns.append(h * share.unsqueeze(1))
    names = ["1", *(f"tanh(u_{i})" for i in range(v.shape[1])), "tanh(|w|²)"]
    return of_means(
        [f"draws and density {where}, h = {name}" for name in names],
        columns[0] - columns[1],
        effective_size=reference.effective_size,
        allowance=max(DENSITY_ERROR, 1 / math.sqrt(reference.effective_size)) / 2,
    )


def calibration(task: Task, n: int, seed: int) -> Evidence:
    """Check simulation-based calibration [Talts et al. 2018].

    Over simulations (u, x), the true u and L draws of p(u | x) are exchangeable, L + 1 rows of a pool. So the
    rank of f(u) in its pool is uniform and independent of x, for any f that treats the rows alike. Here f is
    each u_i; with w the pool whitened by its own moments, random combinations of w and |w|²; and log_prob.
    Normal scores of the ranks have mean 0 and variance 1, and do not correlate with h(x). Likewise w_i w_j of
    the true u has the mean of its pool; this shows any wrong covariance.
    """
    _require_reference(task)
    frozen = task.reference_kind == "frozen"
    if frozen:
        own = task.observations()
        x, u = own.x, own.u
    else:
        each = SIMULATIONS_PER_CALIBRATION[task.reference_kind]
        if task.reference_kind == "exact" and "marginal_score" not in task.capabilities:
            each = SIMULATIONS_PER_ONLY_CALIBRATION
        drawn = task.simulate(max(n // each, 2), seed)
        x, u = drawn.x, drawn.u
    scores, products = _calibrated(task, x, u, seed)
    features, statistics = Features(x) if len(x) >= ENOUGH_RANKS else None, []
    for name, column in scores.items():
        count = len(column)
        statistics.append(Statistic(f"{name}: mean", float(column.mean()) * math.sqrt(count)))
        statistics.append(of_variance(f"{name}: variance", float(column.square().mean()), count))
        if features is not None and (name.startswith("u_") or name == RADIUS):
            names = [f"{name} with h(x) = {h}" for h in features.names[1:]]
            statistics += of_means(names, column.unsqueeze(1) * features(x)[:, 1:])
    if features is not None:
        i, j = torch.triu_indices(u.shape[1], u.shape[1])
        statistics += of_means([f"w_{a} w_{b}" for a, b in zip(i, j, strict=True)], products[:, i, j])
    return Evidence(statistics, NOT_CALIBRATED, len(x), not frozen)


def _calibrated(task: Task, x: Tensor, u: Tensor, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """Return normal scores of ranks by name, (k,) each, and w wᵀ less its mean over the pool, (k, d, d)."""
    k, d = u.shape
    size = max(RANK_DRAWS, RANK_DRAWS_PER_PARAMETER * d)
    random = generator(derive_seed(seed, "ties"))
    turn = torch.linalg.qr(torch.randn(d, d, generator=random, dtype=torch.float64))[0]
    names = [f"u_{i}" for i in range(d)] + [f"combination {i}" for i in range(d) if d > 1] + [RADIUS]
    ranks, products, densities = [], [], []
    for first in range(0, k, REFERENCES_AT_ONCE):
        pools = []
        for row in range(first, min(first + REFERENCES_AT_ONCE, k)):
            reference = task.reference(x[row])
            draws = reference.sample(size, derive_seed(seed, "rank", row))
            pools.append(torch.cat([u[row : row + 1], draws]))
            if row % REFERENCES_PER_DENSITY_RANK == 0 and _has_density(reference):
                densities.append(reference.log_prob(pools[-1]))
        pool = torch.stack(pools)
        w = _whitened(pool)
        radius = w.square().sum(2, keepdim=True)
        ranks.append(_rank(torch.cat([pool, w @ turn, radius] if d > 1 else [pool, radius], 2), random))
        clipped = w.clamp(-OUTLYING, OUTLYING)
        mean = clipped.mT @ clipped / (size + 1)
        products.append(clipped[:, 0].unsqueeze(2) * clipped[:, :1] - mean)
    columns = dict(zip(names, _normal_scores(torch.cat(ranks), size).T, strict=True))
    if densities:
        columns["log p"] = _normal_scores(_rank(torch.stack(densities).unsqueeze(2), random), size)[:, 0]
    return columns, torch.cat(products)


def _whitened(pool: Tensor) -> Tensor:
    """Return each pool, (k, L + 1, d), with its own mean and covariance removed."""
    centred = pool - pool.mean(1, keepdim=True)
    centred = centred / centred.square().mean(1, keepdim=True).sqrt().clamp_min(torch.finfo(pool.dtype).tiny)
    correlation = centred.mT @ centred / pool.shape[1]
    nugget = 1e-9 * torch.eye(pool.shape[2], dtype=pool.dtype)
    factor = torch.linalg.cholesky_ex(correlation + nugget).L
    return (
        centred
        @ torch.linalg.solve_triangular(factor, torch.eye(pool.shape[2], dtype=pool.dtype), upper=False).mT
    )


def _rank(values: Tensor, random: torch.Generator) -> Tensor:
    """Return the rank of the first row among all rows, (k, p), for values (k, L + 1, p).

    Ranks are uniform on 0 … L; ties are broken at random. A value that is not a number makes the rank NaN.
    """
    first = values[:, :1]
    below, equal = (values < first).sum(1), (values == first).sum(1)
    chance = torch.rand(below.shape, generator=random, dtype=torch.float64)
    return torch.where(values.isnan().any(1), torch.nan, below + (chance * equal).floor())


def _normal_scores(ranks: Tensor, size: int) -> Tensor:
    """Return normal scores of ranks 0 … size, scaled to variance 1."""
    every = torch.special.ndtri((torch.arange(size + 1, dtype=torch.float64) + 0.5) / (size + 1))
    return torch.special.ndtri((ranks + 0.5) / (size + 1)) / every.square().mean().sqrt()


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


def _has_density(reference: Reference) -> bool:
    return type(reference).log_prob is not Reference.log_prob
