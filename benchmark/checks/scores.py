"""Checks of joint and marginal scores.

g is the joint score in u, m the marginal score, S = g + u the likelihood's part of g, and h a bounded
function.
"""

import math

import torch
from torch import Tensor

from ...tasks.curvature import curvature
from ...tasks.errors import UserError
from ...tasks.seeding import derive_seed, generator
from ...tasks.simulations import Simulations
from ...tasks.task import Outcome, Task
from .evidence import Evidence, Features, NotApplicableError, Prediction, Statistic, of_means

FIXED_THETAS = 4
STEPS, LARGEST_DIFFERENCE, DIFFERENCE_ROWS = (1e-3, 1e-4, 1e-5), 1e-3, 200
SURE = 3.0  # standard errors
INFORMATION_SHARE = 4  # the information equality costs 2 d backward passes

AT_FIXED_THETA = (
    "At fixed θ the joint score does not average to 0: a latent's support moves with θ, as in U(0, θ); "
    "runs are repeated until they succeed; a factor of the density lacks its normaliser; or a draw is not "
    "detached."
)
NOT_THE_MEAN = (
    "The joint score does not average to the marginal score given (θ, x): one of the two is wrong; "
    "if all else passes, it is the marginal score."
)
NOT_THE_DERIVATIVE = (
    "The joint score is not the derivative of `log_joint` at fixed x and latents: one of the two is wrong, "
    "or a draw is not detached."
)
NOT_THE_CURVATURE = (
    "E[g gᵀ] is not the mean curvature of `log_joint`: the latents are not drawn from the density "
    "whose score is reported."
)


def at_fixed_theta(task: Task, n: int, seed: int) -> Evidence:
    """T0: check E[S | θ] = 0 at a few θ from the prior.

    The check passes for S = 0; T2 does not.
    """
    _require_joint_score(task)
    fixed = task.simulate(FIXED_THETAS, derive_seed(seed, "theta"))
    statistics, scores = [], []
    for k, theta in enumerate(fixed.theta):
        repeated = theta.expand(n // FIXED_THETAS, -1)
        simulations = task.simulate_at(repeated, derive_seed(seed, k))
        scores.append(_joint_score(simulations) + simulations.u)
        names = [f"S_{i} at θ {k}" for i in range(task.dim_theta)]
        statistics += of_means(names, scores[-1])
    # A score that never varies gives no statistics. It is wrong if it is the same at every θ, and not 0.
    stuck = torch.stack([(score == score[0]).all(0) & (score[0].abs() > 0) for score in scores]).all(0)
    statistics += [Statistic(f"S_{i} is constant", math.inf) for i in stuck.nonzero()[:, 0].tolist()]
    return Evidence(statistics, AT_FIXED_THETA, n)


def against_marginal(task: Task, n: int, seed: int) -> Evidence:
    """T1: check E[(g − m) h(x)] = 0 and E[(g − m) h(x) tanh(u_i)] = 0.

    The joint score averages to the marginal score given (θ, x).
    """
    _require_joint_score(task)
    if "marginal_score" not in task.capabilities:
        raise NotApplicableError("the task has no marginal score")
    simulations = task.simulate(n, seed, marginal_score=True)
    g, m, u = _joint_score(simulations), simulations.marginal_score, simulations.u
    assert m is not None
    features = Features(simulations.x)
    h = features(simulations.x)
    statistics = []
    for i in range(task.dim_theta):
        difference, odd = (g - m)[:, i : i + 1], torch.tanh(u[:, i : i + 1])
        scale = float(g[:, i].square().mean().sqrt())
        for factor, label in ((torch.ones_like(odd), ""), (odd, f" tanh(u_{i})")):
            names = [f"(g−m)_{i} h{label}, h = {name}" for name in features.names]
            statistics += of_means(names, difference * factor * h, scale=scale)
    return Evidence(statistics, NOT_THE_MEAN, n)


def against_prior(task: Task, n: int, seed: int) -> Evidence:
    """T2: check Stein's identities under the prior predictive.

    They are E[g_i h(x)] = 0 and E[g_i u_i h(x)] = −E[h(x)], with h a bounded function, or a prediction of any
    u_j or of g_i itself: a latent that is missing from g_i makes g_i predictable. If the score is c S instead
    of S, then E[g_i h] = (c − 1) E[u_i h]. The diagnosis estimates the slope c: below 1 the score misses a
    latent, above 1 it counts a latent twice.
    """
    _require_joint_score(task)
    pilot, simulations = (task.simulate(n, derive_seed(seed, part)) for part in ("pilot", "test"))
    g, u, x = _joint_score(simulations), simulations.u, simulations.x
    features, prediction = (
        Features(pilot.x),
        Prediction(pilot.x, torch.cat([pilot.u, _joint_score(pilot)], 1)),
    )
    of_u, of_g = prediction(x).split(task.dim_theta, 1)
    h = torch.cat([features(x), of_u], 1)
    names = [*features.names, *(f"prediction of u_{j}" for j in range(task.dim_theta))]
    statistics, worst = [], []
    for i in range(task.dim_theta):
        own = of_stein(
            g[:, i], u[:, i], torch.cat([h, of_g[:, i : i + 1]], 1), i, [*names, f"prediction of g_{i}"]
        )
        worst.append(max((abs(statistic.z) for statistic in own), default=0.0))
        statistics += own
    i = worst.index(max(worst))
    return Evidence(statistics, _of_slope(i, g[:, i], u[:, i], of_u[:, i]), n)


def of_stein(g: Tensor, u: Tensor, h: Tensor, i: int, names: list[str]) -> list[Statistic]:
    """Test E[g_i h(x)] = 0 and E[g_i u_i h(x)] = −E[h(x)] for g_i and u_i, (n,), and k named h(x), (n, k)."""
    g_i, u_i = g.unsqueeze(1), u.unsqueeze(1)
    statistics = of_means([f"g_{i} h, h = {name}" for name in names], g_i * h)
    return statistics + of_means([f"g_{i} u_{i} h + h, h = {name}" for name in names], (g_i * u_i + 1) * h)


def _of_slope(i: int, g: Tensor, u: Tensor, h: Tensor) -> str:
    """Return the diagnosis from the estimate of c, for g_i, u_i and its prediction h(x), (n,) each."""
    agreement = float((u * h).mean())
    slope = 1 + float((g * h).mean()) / agreement
    stderr = float((g * h).std()) / len(h) ** 0.5 / abs(agreement)
    carries = f"The joint score carries about {slope:.2f} of the information of x on θ"
    if not abs(slope - 1) > SURE * stderr:
        return (
            f"E[g_{i} | x] is not 0 under the prior predictive: component {i} of the joint score misses a "
            "latent or another term, or has a wrong one, or the prior's term is wrong."
        )
    if abs(slope) < max(0.05, SURE * stderr):
        return f"{carries}: it is zero, or detached from θ, or averaged over the batch."
    if slope < 1:
        return f"{carries}: it misses a latent or a term that depends on θ."
    return f"{carries}: it counts a latent or a term more than once."


def differences(task: Task, n: int, seed: int) -> Evidence:
    """Check the joint score against central differences of log p(x, z | θ) in u, at fixed x and z.

    For each row the best of several steps counts: large steps blur sharp features, small steps suffer from
    rounding.
    """
    simulations, outcome = _with_latents(task, DIFFERENCE_ROWS, seed)
    score = _joint_score(simulations) + simulations.u
    statistics = []
    for i in range(task.dim_theta):
        errors = []
        for step in STEPS:
            ends = [_log_joint(task, outcome, u) for u in _both_sides(simulations.u, i, step)]
            wanted = (ends[0] - ends[1]) / (2 * step)
            rounding = 4 * torch.finfo(wanted.dtype).eps * ends[0].abs() / step
            errors.append(((score[:, i] - wanted).abs() - rounding).clamp_min(0) / (1 + wanted.abs()))
        worst = float(torch.stack(errors).amin(0).max())
        z = 0.0 if worst < LARGEST_DIFFERENCE else math.inf
        statistics.append(Statistic(f"S_{i}: off by {worst:.1g}", z))
    return Evidence(statistics, NOT_THE_DERIVATIVE, DIFFERENCE_ROWS)


def information(task: Task, n: int, seed: int) -> Evidence:
    """Check the information equality E[g gᵀ + ∇_u g] = 0, with ∇_u g from `log_joint`."""
    simulations, outcome = _with_latents(task, n // INFORMATION_SHARE, seed)
    g = _joint_score(simulations)
    try:
        of_likelihood = curvature(lambda u: _log_joint(task, outcome, u), simulations.u)
    except UserError as error:
        raise NotApplicableError(str(error).rstrip(".")) from error
    hessian = of_likelihood + torch.eye(task.dim_theta, dtype=g.dtype)  # the prior's term
    statistics = []
    for i in range(task.dim_theta):
        names = [f"g_{i} g_{j} + ∂_{i} g_{j}" for j in range(i, task.dim_theta)]
        statistics += of_means(names, (g[:, i : i + 1] * g - hessian[:, i])[:, i:])
    return Evidence(statistics, NOT_THE_CURVATURE, len(g))


def _both_sides(u: Tensor, i: int, step: float) -> list[Tensor]:
    """Return u with component i one step up, and one step down."""
    offset = step * torch.eye(u.shape[1], dtype=u.dtype)[i]
    return [u + offset, u - offset]


def _log_joint(task: Task, outcome: Outcome, u: Tensor) -> Tensor:
    return task.log_joint(task.prior.to_theta(u), outcome.x, outcome.latents)


def _with_latents(task: Task, n: int, seed: int) -> tuple[Simulations, Outcome]:
    """Simulate and keep the `Outcome`, since `Simulations` have no latents."""
    _require_joint_score(task)
    if type(task).log_joint is Task.log_joint:
        raise NotApplicableError("the task does not define its joint density, `log_joint`")
    u = torch.randn(n, task.dim_theta, generator=generator(derive_seed(seed, "u")), dtype=torch.float64)
    theta = task.prior.to_theta(u)
    outcome = task.simulator(theta, generator(derive_seed(seed, "run")))
    assert outcome.joint_score is not None
    if outcome.latents is None:
        raise NotApplicableError("the simulator returns no latents for `log_joint` in its `Outcome`")
    g = task.prior.score_in_u(u, outcome.joint_score.double())
    return Simulations(u, theta, outcome.x, g), outcome


def _joint_score(simulations: Simulations) -> Tensor:
    assert simulations.joint_score is not None
    return simulations.joint_score.double()


def _require_joint_score(task: Task) -> None:
    if "joint_score" not in task.capabilities:
        raise NotApplicableError("the task has no joint score")
