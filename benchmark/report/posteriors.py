"""Draws of a task's reference posterior, for its picture."""

from typing import NamedTuple

from torch import Tensor

from ...tasks.errors import UserError
from ...tasks.task import Task
from .charts import Spec, posterior_1d, posterior_2d

DRAWS, SEED = 250, 1


class Posterior(NamedTuple):
    """Draws of θ, (n, d), given the first observation of a task, and the θ behind it, (d,)."""

    theta: Tensor
    truth: Tensor


def posterior_of(task: Task) -> Posterior | None:
    """Draw from the reference; None for a task that has none, or whose data are not installed."""
    if "reference" not in task.capabilities:
        return None
    try:
        observations = task.observations()
        u = task.reference(observations.x[0]).sample(DRAWS, SEED)
    except UserError:
        return None
    return Posterior(task.prior.to_theta(u), observations.theta[0])


def picture(task: Task, posterior: Posterior) -> Spec:
    """Draw the posterior: a histogram of one parameter, or the first two against each other."""
    theta, truth = posterior.theta.tolist(), posterior.truth.tolist()
    what = f"posterior of {task.label} given its first observation, and the true θ"
    if task.dim_theta == 1:
        return posterior_1d([row[0] for row in theta], truth[0], f"Histogram of draws of the {what}")
    pairs = [(row[0], row[1]) for row in theta]
    return posterior_2d(pairs, (truth[0], truth[1]), f"Draws of the first two parameters of the {what}")
