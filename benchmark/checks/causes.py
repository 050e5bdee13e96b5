"""The likely cause of a wrong score: the first common mistake whose correction makes the score right."""

import torch
from torch import Tensor

from ...tasks.prior import Prior
from ...tasks.seeding import derive_seed, generator
from ...tasks.task import Task
from .evidence import Features, Prediction, limit
from .scores import of_stein

TIED_ROWS, DISTINCT_SHARE = 10, 0.1
PREDICTABLE, SLOPE_ERROR = 0.05, 0.15  # share of a parameter's variance; of the information of x on it


def likely_cause(task: Task, n: int, seed: int) -> str:
    """Return a sentence on what is wrong with the joint or the marginal score; empty if nothing explains it.

    Each correction is judged by Stein's identities under the prior predictive, as in T2.

    Args:
        task: the task.
        n: number of simulations.
        seed: names the random stream.
    """
    pilot = task.simulate(n, derive_seed(seed, "pilot"))
    u = torch.randn(n, task.dim_theta, generator=generator(derive_seed(seed, "u")), dtype=torch.float64)
    theta = task.prior.to_theta(u)
    outcome = task.simulator(theta, generator(derive_seed(seed, "run")))
    features, prediction = Features(pilot.x), Prediction(pilot.x, pilot.u)
    h = (features(outcome.x), prediction(outcome.x))
    scores = {"joint score": outcome.joint_score}
    if "marginal_score" in task.capabilities:
        scores["marginal score"] = task.marginal_score(theta, outcome.x)
    for kind, score in scores.items():
        if score is None or not torch.isfinite(score).all():
            continue
        score = score.double()
        share = task.prior.pull_back(u, score)
        if not _passes(share, u, h):
            return _cause(task.prior, f"the {kind}", u, theta, score, h)
    return ""


def _cause(prior: Prior, kind: str, u: Tensor, theta: Tensor, score: Tensor, h: tuple[Tensor, Tensor]) -> str:
    """Return the sentence for one score, ∇_θ log p(· | θ) as the task reports it, (n, d)."""
    share = prior.pull_back(u, score)
    corrected = {
        f"{kind} has the wrong sign": -share,
        f"{kind} is in u already; return the gradient in θ, which is multiplied by dθ/du later": score,
        f"{kind} is the gradient in log θ; divide it by θ": prior.pull_back(u, score / theta),
        f"{kind} lacks a factor dθ/du": prior.pull_back(u, share),
        f"{kind} is divided by θ once too often": prior.pull_back(u, score * theta),
        f"{kind} includes the prior's share −u, which is added later; leave it out": share + u,
        f"{kind} includes the prior's score, which is added later; leave it out": share
        + u
        + _slope_of_log_det(prior, u),
        f"{kind} takes the prior's share away": share - u,
    }
    for sentence, right in corrected.items():
        if _passes(right, u, h):
            return f"Likely cause: {sentence}."
    if clipped := _clipped(score):
        return f"Likely cause: {kind} is clipped, as {clipped}."
    predicted = h[1]
    factor = float((share * predicted).sum() / (u * predicted).sum())
    if abs(factor) > 1e-3 and _passes(share / factor, u, h):
        return (
            f"Likely cause: {kind} is {factor:.2g} times the right one, by a constant factor or by "
            "latents that are left out or counted twice."
        )
    return ""


def _passes(share: Tensor, u: Tensor, h: tuple[Tensor, Tensor]) -> bool:
    """Return whether a likelihood's share of the score in u, (n, d), satisfies Stein's identities.

    h are features of x, (n, k), and predictions of u, (n, d). A score so noisy that any would pass must also
    carry the information of x, up to 15 %.
    """
    every, predicted = torch.cat(h, 1), h[1]
    agreement = (u * predicted).mean(0)
    slope = (share * predicted).mean(0)[agreement > PREDICTABLE] / agreement[agreement > PREDICTABLE]
    if not bool(((slope - 1).abs() < SLOPE_ERROR).all()):
        return False
    names = [""] * every.shape[1]
    largest = limit(2 * u.shape[1] * every.shape[1])
    return all(
        abs(statistic.z) <= largest
        for i in range(u.shape[1])
        for statistic in of_stein((share - u)[:, i], u[:, i], every, i, names)
    )


def _clipped(score: Tensor) -> str:
    """Return which bound many rows of the score, (n, d), attain; empty if none do."""
    columns = {f"component {i}": column for i, column in enumerate(score.T)}
    if score.shape[1] > 1:
        columns["the norm"] = score.norm(dim=1)
    for name, column in columns.items():
        if len(column.unique()) < DISTINCT_SHARE * len(column):
            continue  # a score with few values attains each of them often
        for bound in (column.max(), column.min()):
            rows = int(torch.isclose(column, bound, rtol=1e-9, atol=0.0).sum())
            if rows >= TIED_ROWS:
                return f"{name} is {float(bound):.4g} in {rows:,} of {len(column):,} rows"
    return ""


def _slope_of_log_det(prior: Prior, u: Tensor) -> Tensor:
    """Return ∇_u log |det ∂θ/∂u|, (n, d), by autograd, or 0 where it does not depend on u."""
    with torch.enable_grad():
        point = u.detach().requires_grad_()
        log_det = prior.log_det(point)
        return torch.autograd.grad(log_det.sum(), point)[0] if log_det.requires_grad else torch.zeros_like(u)
