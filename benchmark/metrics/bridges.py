"""Metrics at the parameters behind an observation, which are known where data are simulated.

    parameter_rmse         (mean over parameters of (E θ − θ*)²)^½, E θ the mean of posterior samples;
                           its stderr takes the samples for independent
    ess_fraction           ESS/N of the bridges to an observation at its u*
    log_likelihood_error   |log p̂(x_o | u*) − log p(x_o | u*)| in nats, where the likelihood is tractable

The last two are of `bridge_is`, with its own way of drawing bridges but always with 1,024 bridges
at a point, so that their number makes no difference.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch

from ...methods.bridge.bridge_is import BridgePosterior
from ...methods.bridge.likelihood import Estimate
from ...tasks.likelihood import LikelihoodTask
from ...tasks.seeding import derive_seed
from .metric import DoesNotApplyError, Fitted, Row, row

PARTICLES = 1024


def parameter_rmse(fitted: Fitted) -> Iterator[Row]:
    """Yield the distance of each posterior mean from the parameters behind the observation."""
    truth = fitted.truth.observations.theta
    n = fitted.samples.shape[2]
    for r, replicate in enumerate(fitted.samples):
        for o, sample in enumerate(replicate):
            error = sample.mean(0) - truth[o]
            rmse = error.square().mean().sqrt()
            # the delta method: the change of rmse is error · (change of mean)/(d rmse)
            spread = (sample @ error).std() / (n**0.5 * len(error) * rmse)
            yield row(rmse, spread, replicate=r, observation=o)


def ess_fraction(fitted: Fitted) -> Iterator[Row]:
    """Yield ESS/N of each observation's bridges at its own parameters."""
    for r, o, found in _at_truth(fitted):
        yield row(found.ess_fraction, None, replicate=r, observation=o)


def log_likelihood_error(fitted: Fitted) -> Iterator[Row]:
    """Yield the error of each observation's log-likelihood at its own parameters."""
    task, known = fitted.truth.task, fitted.truth.observations
    if not isinstance(task, LikelihoodTask):
        raise DoesNotApplyError("the likelihood of the task is not known")
    exact = task.log_likelihood(known.theta, known.x)
    for r, o, found in _at_truth(fitted):
        yield row((found.value - exact[o]).abs(), found.stderr, replicate=r, observation=o)


@torch.no_grad()
def _at_truth(fitted: Fitted) -> Iterator[tuple[int, int, Estimate]]:
    known = fitted.truth.observations
    for r, posterior in enumerate(fitted.posteriors):
        if not isinstance(posterior, BridgePosterior):
            raise DoesNotApplyError("the method estimates no likelihood")
        sampler, model = replace(posterior.sampler, particles=PARTICLES), posterior.model
        for o, (u, x) in enumerate(zip(known.u, known.x.double(), strict=True)):
            yield r, o, sampler.estimate(model.at(u), model.x_0, x, model.grid, derive_seed("at truth", r, o))
