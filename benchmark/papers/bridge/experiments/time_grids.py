"""An experiment with the steps of bridges in time: equal ones, or finer ones near the ends."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from .....methods.bridge.likelihood import BridgeSampler, average
from .....tasks.landmarks.task import Landmarks
from .....tasks.sde.diffusion_task import DiffusionTask
from .....tasks.sde.double_well import DoubleWell
from .....tasks.sde.sde import TimeGrid
from .....tasks.seeding import derive_seed
from .piece import Experiment, Row

ENDS, STEPS, PARTICLES = 20, 50, 256
SIGMA, FINE = 0.7, 1_000  # of the double well, and the steps of its exact density
SHARES: dict[str, Callable[[float], float]] = {
    "equal": lambda s: s,
    "finer at the start": lambda s: s**2,
    "finer at the end": lambda s: 1 - (1 - s) ** 2,
    "finer at both": lambda s: s**2 * (3 - 2 * s),
}


def time_grids() -> Experiment:
    """ESS/N with equal steps, and with steps that are finer near x_0, near y, or near both; t_k = T g(k/K).

    Landmarks with a = 0.2, ℓ = 0.5 and the nugget 1e-3, and a double well from −1. Base midpoint; the grids
    of a model have the same end points and noise. `gain` is the difference of ESS/N to equal steps, `error`
    the mean error of log p of the double well against the exact density.
    """
    for n in (8, 16):
        theta = (math.log(0.2), math.log(0.5))
        yield partial(_on_grids, f"landmarks {n}", Landmarks(n, 2, 0.2), theta, 1.0)
    for duration in (1.0, 4.0):
        task = DoubleWell(duration=duration, steps=FINE)
        yield partial(_on_grids, f"double well {duration:g}", task, (0.0, math.log(SIGMA)), duration)


def _on_grids(model: str, task: DiffusionTask, theta: tuple[float, ...], duration: float) -> list[Row]:
    at = torch.tensor(theta, dtype=torch.float64)
    y = task.simulate_at(at.expand(ENDS, -1), derive_seed("bridges", "time grids", model)).x
    sampler, sde = BridgeSampler(base="midpoint", particles=PARTICLES), task.sde(at)
    noise = sampler.noise(TimeGrid(duration, STEPS), y.shape[:1], y.shape[1], derive_seed("grids", model))
    exact = task.log_likelihood(at.expand(ENDS, -1), y) if isinstance(task, DoubleWell) else None
    rows: list[Row] = []
    equal: Tensor | None = None
    for name, share in SHARES.items():
        grid = TimeGrid.at([duration * share(k / STEPS) for k in range(STEPS + 1)])
        found = average(sampler.bridges(sde, task.start, y, grid, noise))
        ess = found.ess_fraction
        equal = ess if equal is None else equal
        rows.append(
            {
                "model": model,
                "grid": name,
                "steps": STEPS,
                "ess_fraction": float(ess.mean()),
                "ess_stderr": float(ess.std() / ENDS**0.5),
                "gain": float((ess - equal).mean()),
                "gain_stderr": float((ess - equal).std() / ENDS**0.5),
                "mean_log_likelihood": float(found.value.mean()),
                "error": None if exact is None else float((found.value - exact).mean()),
                "stderr": float(found.stderr.mean()),
            }
        )
    return rows


TIME_GRIDS: dict[str, Callable[[], Experiment]] = {"time_grids": time_grids}
