"""Bridges between shapes, few and many landmarks, whose likelihoods are not known."""

import math
import time
from functools import partial

import torch

from .....methods.bridge.likelihood import BridgeSampler
from .....tasks.landmarks.task import Landmarks
from .....tasks.seeding import derive_seed
from .piece import Experiment, Row

LANDMARKS = (
    Landmarks(8, 2, 0.1),
    Landmarks(8, 2, 0.2),
    Landmarks(8, 3, 0.2),
    Landmarks(16, 2, 0.1, nugget=1e-2),
)
MANY_LANDMARKS = (Landmarks(32, 2, 0.2), Landmarks(64, 2, 0.2))


def landmarks() -> Experiment:
    """Plain importance sampling on landmarks: both bases, and the classical guided proposal."""
    samplers = {
        "heat_kernel": BridgeSampler(base="heat_kernel", particles=256),
        "midpoint": BridgeSampler(base="midpoint", particles=256),
        "guided": BridgeSampler(proposal="guided", particles=256),
    }
    for task in LANDMARKS:
        for label, sampler in samplers.items():
            yield partial(_two_runs, task, label, sampler, 20)


def many_landmarks() -> Experiment:
    """32 and 64 landmarks: plain importance sampling, and resampling along the bridge."""
    samplers = {
        "heat_kernel": BridgeSampler(base="heat_kernel", particles=256),
        "midpoint": BridgeSampler(base="midpoint", particles=256),
        "heat_kernel, resampled": BridgeSampler(base="heat_kernel", particles=256, threshold=0.5),
        "midpoint, resampled": BridgeSampler(base="midpoint", particles=256, threshold=0.5),
    }
    for task in MANY_LANDMARKS:
        for label, sampler in samplers.items():
            yield partial(_two_runs, task, label, sampler, 128 // task.landmarks)


def many_particles() -> Experiment:
    """64 landmarks with resampling and four times as many bridges."""
    sampler = BridgeSampler(base="midpoint", particles=1024, threshold=0.5)
    yield partial(_two_runs, MANY_LANDMARKS[1], "midpoint, resampled", sampler, 2)


def _two_runs(task: Landmarks, label: str, sampler: BridgeSampler, pairs: int) -> list[Row]:
    """Estimate the likelihoods of some end points twice, with independent bridges."""
    theta = torch.tensor([math.log(task.amplitude), math.log(task.length)], dtype=torch.float64)
    y = task.simulate_at(theta.expand(pairs, -1), derive_seed("bridges", "ends", task.label)).x
    start = time.perf_counter()
    runs = [
        sampler.estimate(task.sde(theta), task.start, y, task.grid, derive_seed("bridges", task.label, run))
        for run in range(2)
    ]
    seconds = (time.perf_counter() - start) / (2 * pairs)
    values, stderr, ess, final, *_ = (torch.stack(field) for field in zip(*runs, strict=True))
    difference = (values[0] - values[1]).abs()
    settings = ("landmarks", "dimensions", "amplitude", "nugget", "steps")
    return [
        {
            **{setting: getattr(task, setting) for setting in settings},
            "proposal": label,
            "particles": sampler.particles,
            "ess_fraction": float(ess.mean()),
            "ess_stderr": float(ess.mean(0).std() / pairs**0.5),
            "final_ess_fraction": float(final.mean()),
            "least_ess_fraction": float(ess.min()),
            "stderr": float(stderr.mean()),
            "mean_difference": float(difference.mean()),
            "largest_difference": float(difference.max()),
            "mean_log_likelihood": float(values.mean()),
            "pairs": pairs,
            "seconds": seconds,
        }
    ]
