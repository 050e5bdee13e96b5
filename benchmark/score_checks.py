"""Checks of joint and marginal scores.

With g the joint score in u, m the marginal score, S = g + u the likelihood's share of g, h bounded:

    T0           E[S | θ] = 0 at fixed θ
    T1           E[(g − m) h(x)] = 0, and with h(x) tanh(u_i)
    T2           E[g_i h(x)] = 0 and E[g_i u_i h(x)] = −E[h(x)]
    differences  g against central differences of log p(x, z | θ) in u, at fixed x and z
    information  E[g gᵀ] = E[−∇_u g]

T0 is blind to S = 0, T2 is not. If the score is c S instead of S, E[g_i h] is (c − 1) E[u_i h]: the slope c
says what is wrong, below 1 a latent that the score does not know of, above 1 one that it counts twice.
"""

import math

import torch
from torch import Tensor

from benchmark.evidence import Evidence, Features, NotApplicableError, Statistic, of_means
from tasks.seeding import derive_seed, generator
from tasks.task import Outcome, Simulations, Task

FIXED_THETAS = 4
STEPS, LARGEST_DIFFERENCE, DIFFERENCE_ROWS = (1e-3, 1e-4, 1e-5), 1e-3, 200
INFORMATION_SHARE = 4  # the information equality costs 2 d backward passes

AT_FIXED_THETA = (
    "At fixed θ the joint score does not average to 0: a latent's support moves with θ (as U(0, θ)'s does), "
    "runs are repeated until they succeed, a factor of the density lacks its normaliser, or a draw is not "
    "detached."
)
NOT_THE_MEAN = (
    "The joint score does not average to the marginal score given (θ, x): one of the two is wrong; "
    "if T2 passes, it is the marginal score."
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
    """T0: E[S | θ] = 0, at a few θ from the prior."""
    _require_joint_score(task)
    fixed = task.simulate(FIXED_THETAS, derive_seed(seed, "theta"))
    statistics = []
    for k, theta in enumerate(fixed.theta):
        repeated = theta.expand(n // FIXED_THETAS, -1)
        simulations = task.simulate_at(repeated, derive_seed(seed, k))
        names = [f"S_{i} at θ {k}" for i in range(task.dim_theta)]
        statistics += of_means(names, _joint_score(simulations) + simulations.u)
    return Evidence(statistics, AT_FIXED_THETA)


def against_marginal(task: Task, n: int, seed: int) -> Evidence:
    """T1: the joint score averages to the marginal score given (θ, x)."""
    _require_joint_score(task)
    _require_marginal_score(task)
    simulations = task.simulate(n, seed, marginal_score=True)
    g, m = _joint_score(simulations), simulations.marginal_score
    assert m is not None
    h = Features(simulations.x)(simulations.x)
    statistics = []
    for i in range(task.dim_theta):
        difference = (g - m)[:, i : i + 1]
        scale = float(g[:, i].square().mean().sqrt())
        odd = torch.tanh(simulations.u[:, i : i + 1])
        for factor, label in ((torch.ones_like(odd), ""), (odd, f" tanh(u_{i})")):
            names = [f"(g−m)_{i} h{label}, h = {name}" for name in Features.names]
            statistics += of_means(names, difference * factor * h, scale)
    return Evidence(statistics, NOT_THE_MEAN)


def against_prior(task: Task, n: int, seed: int) -> Evidence:
    """T2: Stein's identities of the joint score under the prior predictive."""
    _require_joint_score(task)
    simulations = task.simulate(n, seed)
    g, u = _joint_score(simulations), simulations.u
    h = Features(simulations.x)(simulations.x)
    statistics = []
    for i in range(task.dim_theta):
        g_i, u_i = g[:, i : i + 1], u[:, i : i + 1]
        statistics += of_means([f"g_{i} h, h = {name}" for name in Features.names], g_i * h)
        statistics += of_means(
            [f"g_{i} u_{i} h + h, h = {name}" for name in Features.names], (g_i * u_i + 1) * h
        )
    return Evidence(statistics, _of_slope(g, u, h))


def _of_slope(g: Tensor, u: Tensor, h: Tensor) -> str:
    """Estimate c, where the score is c S instead of S, from the pair (i, h) in which u_i and h agree most."""
    own = u.T @ h / len(u)
    z = own / ((u.square().T @ h.square()) / len(u)).sqrt()
    i, k = divmod(int(z.abs().argmax()), h.shape[1])
    slope = 1 + float((g.T @ h)[i, k] / (u.T @ h)[i, k])
    carries = f"The joint score carries about {slope:.2f} of what x tells of θ"
    if abs(slope) < 0.05:
        return f"{carries}: it is zero, or cut off from θ."
    if slope < 0.98:
        return f"{carries}: a latent or a term that depends on θ is hidden from it."
    if slope > 1.02:
        return f"{carries}: a latent or a term is counted more than once."
    return (
        "E[g | x] is not 0 under the prior predictive: the joint score, or the prior's share in it, is wrong."
    )


def differences(task: Task, n: int, seed: int) -> Evidence:
    """The joint score against central differences of the joint log-density, latents fixed.

    Of several steps the best counts, row by row: large ones blur what is sharp, small ones drown in rounding.
    """
    simulations, outcome = _with_latents(task, DIFFERENCE_ROWS, seed)
    score = _joint_score(simulations) + simulations.u
    statistics = []
    for i in range(task.dim_theta):
        errors = []
        for step in STEPS:
            ends = [_log_joint(task, outcome, u) for u in _both_sides(simulations.u, i, step)]
            wanted = (ends[0] - ends[1]) / (2 * step)
            errors.append((score[:, i] - wanted).abs() / (1 + wanted.abs()))
        worst = float(torch.stack(errors).amin(0).max())
        z = 0.0 if worst < LARGEST_DIFFERENCE else math.inf
        statistics.append(Statistic(f"S_{i}: off by {worst:.1g}", z))
    return Evidence(statistics, NOT_THE_DERIVATIVE)


def information(task: Task, n: int, seed: int) -> Evidence:
    """The information equality E[g gᵀ + ∇_u g] = 0, with ∇_u g from `log_joint`.

    The first derivative is autograd's, the second a central difference, as some densities allow but one.
    """
    simulations, outcome = _with_latents(task, n // INFORMATION_SHARE, seed)
    g = _joint_score(simulations)
    statistics = []
    for i in range(task.dim_theta):
        ends = [_gradient(task, outcome, u) for u in _both_sides(simulations.u, i, STEPS[0])]
        curvature = (ends[0] - ends[1]) / (2 * STEPS[0])
        curvature[:, i] -= 1  # the prior's share
        names = [f"g_{i} g_{j} + ∂_{i} g_{j}" for j in range(i, task.dim_theta)]
        statistics += of_means(names, (g[:, i : i + 1] * g + curvature)[:, i:])
    return Evidence(statistics, NOT_THE_CURVATURE)


def _both_sides(u: Tensor, i: int, step: float) -> list[Tensor]:
    """Give u with its component i one step up, and one down."""
    offset = step * torch.eye(u.shape[1], dtype=u.dtype)[i]
    return [u + offset, u - offset]


def _log_joint(task: Task, outcome: Outcome, u: Tensor) -> Tensor:
    return task.log_joint(task.prior.to_theta(u), outcome.x, outcome.latents)


def _gradient(task: Task, outcome: Outcome, u: Tensor) -> Tensor:
    with torch.enable_grad():
        point = u.detach().requires_grad_()
        return torch.autograd.grad(_log_joint(task, outcome, point).sum(), point)[0]


def _with_latents(task: Task, n: int, seed: int) -> tuple[Simulations, Outcome]:
    """Simulate, and keep the latents, which `Simulations` leave out."""
    _require_joint_score(task)
    if type(task).log_joint is Task.log_joint:
        raise NotApplicableError("the task does not expose its joint density, `log_joint`")
    u = torch.randn(n, task.dim_theta, generator=generator(derive_seed(seed, "u")), dtype=torch.float64)
    theta = task.prior.to_theta(u)
    outcome = task.simulator(theta, generator(derive_seed(seed, "run")))
    assert outcome.joint_score is not None
    g = task.prior.score_in_u(u, outcome.joint_score.double())
    return Simulations(u, theta, outcome.x, g), outcome


def _joint_score(simulations: Simulations) -> Tensor:
    assert simulations.joint_score is not None
    return simulations.joint_score.double()


def _require_joint_score(task: Task) -> None:
    if "joint_score" not in task.capabilities:
        raise NotApplicableError("the task has no joint score")


def _require_marginal_score(task: Task) -> None:
    if "marginal_score" not in task.capabilities:
        raise NotApplicableError("the task has no marginal score")
