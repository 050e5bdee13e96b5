"""Experiments with many landmarks: standard errors of bridges that resample, and learned scores.

Landmarks start on the ellipse, with a = 0.2, ℓ = 0.5 and the nugget 1e-3; end points are from the Euler
scheme at these values. A simulation is an Euler path.
"""

import math
import time
from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

from .....methods.bridge.bases import BaseFactory, MidpointBase
from .....methods.bridge.genealogy import LAG, sum_of_squares
from .....methods.bridge.learned.landmarks import (
    LandmarkLaw,
    LandmarkScores,
    LandmarkTraining,
    learn_landmarks,
)
from .....methods.bridge.learned.paper import PaperTraining, learn_paper
from .....methods.bridge.likelihood import BridgeSampler, average
from .....methods.bridge.proposals import Resampling, reverse_bridges
from .....tasks.landmarks.diffusion import LandmarkDiffusion
from .....tasks.landmarks.task import Landmarks
from .....tasks.sde.sde import TimeGrid
from .....tasks.seeding import derive_seed, generator
from .piece import Experiment, Row

RUNS, ENDS = 20, 5
LAGS = (0.9, 0.7, 0.5, LAG, 0.2, 0.1, 0.0)
TRAINED, SPREAD = 16, 0.3  # landmarks of the training, and the spread of log a and log ℓ
PAPER_LANDMARKS, PAPER_TRAINING = (20, 50), PaperTraining(steps=1_000)
TRAINING = LandmarkTraining()


def lagged_errors() -> Experiment:
    """Standard errors over the lag, beside the spread of 20 runs; the lag 0 follows all ancestors.

    `origins_stderr` counts bridges of one origin as one.
    """
    for run in range(RUNS):
        yield partial(_resampled_run, 16, 256, 50, run, LAGS)


def many_errors() -> Experiment:
    """Estimates of 32 and 64 landmarks, 20 runs each; and one of 32 with 64 times the bridges."""
    for n, particles, steps in ((32, 256, 50), (32, 256, 200), (64, 1024, 50)):
        for run in range(RUNS):
            yield partial(_resampled_run, n, particles, steps, run, (LAG,))
    yield partial(_resampled_run, 32, 64 * 256, 50, 0, (LAG,))


def _resampled_run(n: int, particles: int, steps: int, run: int, lags: tuple[float, ...]) -> list[Row]:
    """Estimate the likelihood of one end point with midpoint and resampling, with the error at some lags."""
    sde, x_0, y = _ends(n, 1)
    grid = TimeGrid(1.0, steps)
    normals, uniforms = BridgeSampler(particles=particles).noise(
        grid, y.shape[:1], y.shape[1], derive_seed("bridges", "resampled", n, run)
    )
    base = MidpointBase(sde, x_0, grid)
    rows: list[Row] = []
    for lag in lags:
        start = time.perf_counter()
        resampling = Resampling(0.5, uniforms, lag)
        drawn = reverse_bridges(base, y, normals, kernel="adjoint", resampling=resampling)
        seconds = time.perf_counter() - start
        found = average(drawn)
        by_origins = sum_of_squares(torch.softmax(drawn.log_weights, -1), drawn.origins) - 1 / particles
        rows.append(
            {
                "landmarks": n,
                "particles": particles,
                "steps": steps,
                "run": run,
                "lag": lag,
                "log_likelihood": float(found.value),
                "stderr": float(found.stderr),
                "origins_stderr": float(by_origins.sqrt()),
                "ess_fraction": float(found.ess_fraction),
                "resamplings": int(drawn.resamplings),
                "seconds": seconds,
            }
        )
    return rows


def landmark_network() -> Experiment:
    """Midpoint with and without a network trained on 16 landmarks, without and with resampling."""
    for n, steps in ((16, 50), (16, 200), (32, 50), (32, 200)):
        for base in ("midpoint", "network"):
            for threshold in (0.0, 0.5):
                yield partial(_with_network, n, steps, base, threshold)


def _with_network(n: int, steps: int, base: str, threshold: float) -> list[Row]:
    sde, x_0, y = _ends(n, ENDS)
    grid, sampler = TimeGrid(1.0, steps), BridgeSampler(base="midpoint", particles=256, threshold=threshold)
    scores, training = _trained()
    start = time.perf_counter()
    seed = derive_seed("bridges", "network", n, steps)
    noise = sampler.noise(grid, y.shape[:1], y.shape[1], seed)
    made = scores if base == "network" else MidpointBase
    found = average(sampler.bridges(sde, x_0, y, grid, noise, base=made))
    held_out, error = scores.held_out
    return [
        {
            "landmarks": n,
            "steps": steps,
            "base": base,
            "threshold": threshold,
            "ess_fraction": float(found.ess_fraction.mean()),
            "ess_stderr": float(found.ess_fraction.std() / ENDS**0.5),
            "final_ess_fraction": float(found.final_ess_fraction.mean()),
            "stderr": float(found.stderr.mean()),
            "mean_log_likelihood": float(found.value.mean()),
            "held_out": held_out if base == "network" else 0.0,
            "held_out_stderr": error if base == "network" else 0.0,
            "simulations": TRAINING.paths if base == "network" else 0,
            "training_seconds": training if base == "network" else 0.0,
            "seconds": time.perf_counter() - start,
        }
    ]


def paper_network() -> Experiment:
    """The paper's network at 20 and 50 landmarks, beside midpoint, with a learned over its prior."""
    for n in PAPER_LANDMARKS:
        for base in ("midpoint", "paper"):
            yield partial(_with_paper_network, n, base)


def _with_paper_network(n: int, base: str) -> list[Row]:
    task, start = Landmarks(n, 2, 0.2), time.perf_counter()
    scores: BaseFactory = MidpointBase
    if base == "paper":
        law = landmark_law(task, SPREAD)
        scores = learn_paper(law, task.grid, PAPER_TRAINING, derive_seed("bridges", "paper network", n))
    training = time.perf_counter() - start
    sde, x_0, y = _ends(n, ENDS)
    sampler = BridgeSampler(particles=256)
    noise = sampler.noise(task.grid, y.shape[:1], y.shape[1], derive_seed("bridges", "paper run", n))
    drawn = sampler.bridges(sde, x_0, y, task.grid, noise, base=scores)
    found = average(drawn)
    return [
        {
            "landmarks": n,
            "base": base,
            "ess_fraction": float(found.ess_fraction.mean()),
            "spread_of_log_weights": float(drawn.log_weights.std(-1).mean()),
            "mean_log_likelihood": float(found.value.mean()),
            "lost_fraction": float(found.lost_fraction.mean()),
            "simulations": PAPER_TRAINING.steps * PAPER_TRAINING.batch if base == "paper" else 0,
            "training_seconds": training,
        }
    ]


def landmark_law(task: Landmarks, spread: float) -> LandmarkLaw:
    """Return the law with the task's template as start, and log a and log ℓ normal around its medians."""
    centre = torch.tensor([math.log(task.amplitude), math.log(task.length)], dtype=torch.float64)

    def law(n: int, seed: int) -> tuple[LandmarkDiffusion, Tensor]:
        u = torch.randn((n, 1, 2), generator=generator(seed), dtype=torch.float64)
        log_a, log_length = (centre + spread * u).unbind(-1)
        return LandmarkDiffusion(log_a, log_length, task.dimensions, task.nugget), task.start

    return law


@cache
def _trained() -> tuple[LandmarkScores, float]:
    """Return the network and the seconds of its training."""
    task, start = Landmarks(TRAINED, 2, 0.2), time.perf_counter()
    seed = derive_seed("bridges", "landmark network")
    scores = learn_landmarks(landmark_law(task, SPREAD), task.grid, TRAINING, seed)
    return scores, time.perf_counter() - start


def _ends(n: int, ends: int) -> tuple[LandmarkDiffusion, Tensor, Tensor]:
    """Return the diffusion, the ellipse (D,) and end points (ends, D)."""
    task = Landmarks(n, 2, 0.2)
    theta = torch.tensor([math.log(task.amplitude), math.log(task.length)], dtype=torch.float64)
    y = task.simulate_at(theta.expand(ends, -1), derive_seed("bridges", "ends", task.label)).x
    sde = LandmarkDiffusion(theta[0], theta[1], task.dimensions, task.nugget)
    return sde, task.start, y


LANDMARK_NETWORKS: dict[str, Callable[[], Experiment]] = {
    "lagged_errors": lagged_errors,
    "many_errors": many_errors,
    "landmark_network": landmark_network,
    "paper_network": paper_network,
}
