"""Metrics at the parameters behind an observation, which are known where data are simulated.

Likelihoods are estimated with the posterior's own way of drawing bridges, but always with 1,024 bridges at a
point, so that the method's number of bridges makes no difference.
"""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ...methods.bridge.likelihood import Estimate
from ...tasks.seeding import derive_seed
from .metric import DoesNotApplyError, Fitted, Metric, Row, row

PARTICLES = 1024
PATH = frozenset({"sde_path"})


@runtime_checkable
class EstimatesLikelihood(Protocol):
    """A posterior that estimates log p(x_o | u) by bridges."""

    def likelihood_at(self, u: Tensor, x_o: Tensor, particles: int, seed: int) -> Estimate:
        """Estimate it at one point, u (d,) and x_o (D,), with so many bridges."""


@runtime_checkable
class KnowsLikelihood(Protocol):
    """A task with a tractable likelihood."""

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Compute log p(x | θ) for θ (n, d) and x (n, D): (n,)."""


def parameter_rmse(fitted: Fitted) -> Iterator[Row]:
    """Yield (mean over parameters of (E θ − θ*)²)^½, E θ the mean of posterior samples, θ* behind the data.

    The standard error takes the samples for independent.
    """
    truth = fitted.truth.observations.theta
    n = fitted.samples.shape[2]
    for r, replicate in enumerate(fitted.samples):
        for o, sample in enumerate(replicate):
            error = sample.mean(0) - truth[o]
            rmse = error.square().mean().sqrt()
            # the delta method: the change of rmse is error · (change of mean)/(d rmse)
            spread = (sample @ error).std() / (n**0.5 * len(error) * rmse)
            cause = "the posterior's samples are not finite"
            yield row(rmse, spread, cause=cause, replicate=r, observation=o)


def ess_fraction(fitted: Fitted) -> Iterator[Row]:
    """Yield ESS/N of each observation's bridges at its own parameters."""
    for r, o, found in _at_truth(fitted):
        yield row(found.ess_fraction, None, replicate=r, observation=o)


def log_likelihood_error(fitted: Fitted) -> Iterator[Row]:
    """Yield |log p̂(x_o | u*) − log p(x_o | u*)| of each observation at its own parameters, in nats."""
    task, known = fitted.truth.task, fitted.truth.observations
    if not isinstance(task, KnowsLikelihood):
        raise DoesNotApplyError("the likelihood of the task is not known")
    exact = task.log_likelihood(known.theta, known.x)
    for r, o, found in _at_truth(fitted):
        yield row((found.value - exact[o]).abs(), found.stderr, replicate=r, observation=o)


@torch.no_grad()
def _at_truth(fitted: Fitted) -> Iterator[tuple[int, int, Estimate]]:
    known = fitted.truth.observations
    for r, posterior in enumerate(fitted.posteriors):
        if not isinstance(posterior, EstimatesLikelihood):
            raise DoesNotApplyError("the method estimates no likelihood")
        for o, (u, x) in enumerate(zip(known.u, known.x, strict=True)):
            yield r, o, posterior.likelihood_at(u, x, PARTICLES, derive_seed("at truth", r, o))


PARAMETER_RMSE = Metric(
    "parameter_rmse",
    "Parameter error",
    "Root mean square over parameters of the posterior mean less the θ behind the observation.",
    parameter_rmse,
    scale="log",
)
ESS_FRACTION = Metric(
    "ess_fraction",
    "ESS fraction",
    "Effective sample size of importance-weighted bridges over their number; 1 is perfect.",
    ess_fraction,
    needs=PATH,
    perfect=1.0,
    bounds=(0.0, 1.0),
)
LOG_LIKELIHOOD_ERROR = Metric(
    "log_likelihood_error",
    "Error of the log-likelihood",
    "Error of the estimated log-likelihood at the true parameters.",
    log_likelihood_error,
    needs=PATH,
)
