"""Metrics at the parameters that generated an observation.

Likelihoods are estimated by the posterior's own bridges, always with `PARTICLES` of them, so the method's
number of bridges does not matter.
"""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ...methods.bridge.likelihood import Estimate
from ...tasks.seeding import derive_seed
from .fitted import DoesNotApplyError, Fitted, Row, row

PARTICLES = 1024


@runtime_checkable
class EstimatesLikelihood(Protocol):
    """A posterior that estimates log p(x_o | u) by bridges."""

    def likelihood_at(self, u: Tensor, x_o: Tensor, particles: int, seed: int) -> Estimate:
        """Estimate log p(x_o | u) at one point u, (d,), for x_o, (dim_x,), with `particles` bridges."""


@runtime_checkable
class KnowsLikelihood(Protocol):
    """A task with a tractable likelihood."""

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return log p(x | θ), (n,), for θ, (n, d), and x, (n, dim_x)."""


def parameter_rmse(fitted: Fitted) -> Iterator[Row]:
    """Yield √(mean over parameters of (m − θ*)²) for each replicate and observation.

    m is the mean of the posterior samples and θ* generated the observation. The standard error is the delta
    method's, and treats the samples as independent.
    """
    truth = fitted.truth.observations.theta
    n = fitted.samples.shape[2]
    for r, replicate in enumerate(fitted.samples):
        for o, sample in enumerate(replicate):
            error = sample.mean(0) - truth[o]
            rmse = error.square().mean().sqrt()
            # delta method: d(rmse) = error · d(mean) / (dim · rmse)
            spread = (sample @ error).std() / (n**0.5 * len(error) * rmse)
            cause = "the posterior's samples are not finite"
            yield row(rmse, spread, cause=cause, replicate=r, observation=o)


def ess_fraction(fitted: Fitted) -> Iterator[Row]:
    """Yield ESS/N of the bridges at the true parameters, for each replicate and observation.

    `methods.bridge.likelihood.average` has the formula of the ESS.

    Raises:
        DoesNotApplyError: the method does not estimate a likelihood.
    """
    for r, o, found in _at_truth(fitted):
        yield row(found.ess_fraction, None, replicate=r, observation=o)


def log_likelihood_error(fitted: Fitted) -> Iterator[Row]:
    """Yield |log p̂(x_o | θ*) − log p(x_o | θ*)| in nats for each replicate and observation.

    p̂ is estimated by bridges, and θ* generated the observation.

    Raises:
        DoesNotApplyError: the task's likelihood is not known, or the method does not estimate one.
    """
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
