"""How often 95 % intervals of a double well's parameters hold them, from 50 observations.

    ends    50 independent end points, all from −1
    path    one path observed 50 times; the likelihood is a product over intervals

Each data set is fitted by `maximise` with one of two bases: "auto", in closed form, and "learned", one
network for all θ and x_0. An interval is θ̂ ± 1.96 standard errors in (log k, log σ). A fit whose standard
errors are unknown holds nothing. Over the long time "auto" has none, so only "learned" is run, on end points.
"""

import time
from collections.abc import Iterator
from functools import cache, partial

import torch
from torch import Tensor

from ....methods.bridge.inference import Likelihood, maximise
from ....methods.bridge.learned import LearnedScores
from ....methods.bridge.learning import ScoreTraining, learn
from ....methods.bridge.likelihood import BridgeSampler
from ....tasks.sde.sde import TimeGrid, euler_path
from ....tasks.seeding import derive_seed, generator
from ...analysis.statistics import Z
from .networks import law_of, task_of

Row = dict[str, object]
Experiment = Iterator[partial[list[Row]]]

DATA_SETS, OBSERVATIONS, PARTICLES = 20, 50, 64
THETA = (0.0, -0.4)  # the medians of the prior
DURATIONS = {1.0: 25, 4.0: 100}  # and their steps


def coverage() -> Experiment:
    """Fits of 20 data sets for each duration, base and kind of data."""
    short, long = DURATIONS
    cases = [(short, kind, base) for base in ("auto", "learned") for kind in ("ends", "path")]
    for case in (*cases, (long, "ends", "learned")):
        for data_set in range(DATA_SETS):
            yield partial(_fit, *case, data_set)


def _fit(duration: float, kind: str, base: str, data_set: int) -> list[Row]:
    task = task_of("double_well", duration=duration, steps=DURATIONS[duration])
    theta, grid = torch.tensor(THETA, dtype=torch.float64), task.grid
    starts, y = _observations(kind, duration, data_set)
    made = _scores(duration) if base == "learned" else None
    seed = derive_seed("bridges", "coverage", data_set)
    likelihood = Likelihood(task.sde, y, grid, BridgeSampler(particles=PARTICLES), seed, base=made)
    start = time.perf_counter()
    fit = maximise(likelihood, theta, starts)
    seconds = time.perf_counter() - start
    inside = (fit.theta - theta).abs() <= Z * fit.theta_stderr
    row: Row = {"duration": duration, "kind": kind, "base": base, "data_set": data_set}
    for k, name in enumerate(("log_k", "log_sigma")):
        row |= {name: float(fit.theta[k]), f"{name}_stderr": float(fit.theta_stderr[k])}
        row[f"{name}_covered"] = bool(inside[k])
    ess, lost = fit.estimate.ess_fraction, fit.estimate.lost_fraction
    row |= {
        "converged": fit.converged,
        "ess_fraction": float(ess.mean()),
        "lost_fraction": float(lost.mean()),
    }
    return [row | {"evaluations": fit.evaluations, "seconds": seconds}]


def _observations(kind: str, duration: float, data_set: int) -> tuple[Tensor, Tensor]:
    """Draw starts, (1,) or one for each (50, 1, 1), and ends (50, 1)."""
    task = task_of("double_well", duration=duration, steps=DURATIONS[duration])
    random = generator(derive_seed("bridges", "coverage", kind, str(duration), data_set))
    sde = task.sde(torch.tensor(THETA, dtype=torch.float64))
    paths, steps = (OBSERVATIONS, 1) if kind == "ends" else (1, OBSERVATIONS)
    noise = torch.randn(steps * task.grid.steps, paths, 1, generator=random, dtype=torch.float64)
    whole = TimeGrid(steps * duration, steps * task.grid.steps)
    seen = euler_path(sde, task.start, whole, noise)[:, :: task.grid.steps]
    if kind == "ends":
        return task.start, seen[:, -1]
    return seen[0, :-1].unsqueeze(1), seen[0, 1:]


@cache
def _scores(duration: float) -> LearnedScores:
    task = task_of("double_well", duration=duration, steps=DURATIONS[duration])
    return learn(law_of(task), task.grid, ScoreTraining(), derive_seed("bridges", "coverage", str(duration)))
