"""Fits of landmark diffusions: parameters and starts are recovered."""

import math
import time
from functools import partial

import torch
from torch import Tensor

from .....methods.bridge.inference import Likelihood, maximise
from .....methods.bridge.likelihood import BridgeSampler
from .....tasks.landmarks.task import Landmarks
from .....tasks.seeding import derive_seed
from ....analysis.statistics import Z
from .piece import Experiment, Row

# Fits to end points of 8 landmarks that start on an ellipse, at a = 0.1 and ℓ = 0.5.
DATA_SETS, SHAPES, SHAPES_FOR_MEANS = 20, 64, 32
FIT_SAMPLER = BridgeSampler(base="heat_kernel", particles=8)
FITTED = Landmarks(8, 2, 0.1)
TRUTH = torch.tensor([math.log(FITTED.amplitude), math.log(FITTED.length)], dtype=torch.float64)
START = TRUTH + torch.tensor([math.log(2), math.log(0.6)], dtype=torch.float64)


def recovery() -> Experiment:
    """Fits of (log a, log ℓ) to 20 data sets of 64 shapes, from twice the amplitude and 0.6 of the length."""
    for data_set in range(DATA_SETS):
        yield partial(_recovered, data_set)


def _recovered(data_set: int) -> list[Row]:
    start = time.perf_counter()
    fit = maximise(_likelihood(data_set, SHAPES), START, FITTED.start)
    seconds = time.perf_counter() - start
    rows: list[Row] = []
    for k, name in enumerate(("a", "length")):
        error, stderr = float(fit.theta[k] - TRUTH[k]), float(fit.theta_stderr[k])
        rows.append(
            {
                "data_set": data_set,
                "parameter": name,
                "truth": float(TRUTH[k].exp()),
                "estimate": float(fit.theta[k].exp()),
                "relative_error": math.exp(error) - 1,
                "log_stderr": stderr,
                "covered": abs(error) <= Z * stderr,
                "ess_fraction": float(fit.estimate.ess_fraction.mean()),
                "converged": fit.converged,
                "evaluations": fit.evaluations,
                "seconds": seconds,
            }
        )
    return rows


def diffusion_means() -> Experiment:
    """Fits of (log a, log ℓ) and the start together to 20 data sets of 32 shapes.

    The sample mean stands beside the fitted start: it is unbiased, as the state is a martingale.
    """
    for data_set in range(DATA_SETS):
        yield partial(_recovered_start, data_set)


def _recovered_start(data_set: int) -> list[Row]:
    likelihood = _likelihood(data_set, SHAPES_FOR_MEANS)
    mean = likelihood.y.mean(0)
    start = time.perf_counter()
    fit = maximise(likelihood, START, mean, free=("theta", "x_0"))
    covered = (fit.x_0 - FITTED.start).abs() <= Z * fit.x_0_stderr
    return [
        {
            "data_set": data_set,
            "diffusion_mean_error": _rms(fit.x_0 - FITTED.start),
            "sample_mean_error": _rms(mean - FITTED.start),
            "distance": _rms(fit.x_0 - mean),
            "coverage": float(covered.double().mean()),
            "a": float(fit.theta[0].exp()),
            "length": float(fit.theta[1].exp()),
            "ess_fraction": float(fit.estimate.ess_fraction.mean()),
            "converged": fit.converged,
            "evaluations": fit.evaluations,
            "seconds": time.perf_counter() - start,
        }
    ]


def _likelihood(data_set: int, shapes: int) -> Likelihood:
    seed = derive_seed("bridge fits", shapes, data_set)
    y = FITTED.simulate_at(TRUTH.expand(shapes, -1), seed).x
    return Likelihood(FITTED.sde, y, FITTED.grid, FIT_SAMPLER, derive_seed(seed, "bridges"))


def _rms(deviation: Tensor) -> float:
    return float(deviation.square().mean().sqrt())
