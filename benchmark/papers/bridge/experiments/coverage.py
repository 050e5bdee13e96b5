"""How often 95 % intervals of a double well's parameters hold them, from 50 observations.

    ends    50 independent end points, all from −1
    path    one path observed 50 times; the likelihood is a product over intervals

Each data set is fitted by `maximise` with one of two bases: "auto", in closed form, and "learned", one
network for all θ and x_0. An interval is θ̂ ± 1.96 standard errors in (log k, log σ). A fit whose standard
errors are unknown holds nothing. `exact_` is the maximum of the exact likelihood, with its standard errors.

Over the long time "auto" has no standard errors, so only "learned" is run, on end points. There a fit without
standard errors is made again with twice the bridges; `bridges` is the number of the fit that is shown.
"""

import time
from functools import cache, partial

import torch
from scipy.optimize import minimize
from torch import Tensor

from .....methods.bridge.inference import Likelihood, maximise
from .....methods.bridge.learned.scores import LearnedScores
from .....methods.bridge.learned.training import ScoreTraining, learn
from .....methods.bridge.likelihood import BridgeSampler
from .....tasks.sde.quadrature import log_transition
from .....tasks.sde.sde import TimeGrid, euler_path
from .....tasks.seeding import derive_seed, generator
from ....analysis.statistics import Z
from .networks import law_of, task_of
from .piece import Experiment, Row

DATA_SETS, OBSERVATIONS = 20, 50
THETA = (0.0, -0.4)  # the medians of the prior
DURATIONS = {1.0: 25, 4.0: 100}  # and their steps
BRIDGES = {1.0: (128,), 4.0: (512, 1024)}  # the next number if a fit has no standard errors
REACH, QUADRATURE, DIFFERENCE, SIDES = 5.0, 600, 0.05, (-1, 0, 1)


def coverage() -> Experiment:
    """Fits of 20 data sets over the short time, for each base and kind of data."""
    cases = [(min(DURATIONS), kind, base) for base in ("auto", "learned") for kind in ("ends", "path")]
    for case in cases:
        for data_set in range(DATA_SETS):
            yield partial(_fit, *case, data_set)


def long_coverage() -> Experiment:
    """Fits of 20 data sets over the long time."""
    for data_set in range(DATA_SETS):
        yield partial(_fit, max(DURATIONS), "ends", "learned", data_set)


def _fit(duration: float, kind: str, base: str, data_set: int) -> list[Row]:
    task = task_of("double_well", duration=duration, steps=DURATIONS[duration])
    theta, grid = torch.tensor(THETA, dtype=torch.float64), task.grid
    starts, y = _observations(kind, duration, data_set)
    made = _scores(duration) if base == "learned" else None
    seed = derive_seed("bridges", "coverage", data_set)
    start = time.perf_counter()
    for bridges in BRIDGES[duration]:
        likelihood = Likelihood(task.sde, y, grid, BridgeSampler(particles=bridges), seed, base=made)
        fit = maximise(likelihood, theta, starts)
        if fit.theta_stderr.isfinite().all():
            break
    seconds = time.perf_counter() - start
    inside = (fit.theta - theta).abs() <= Z * fit.theta_stderr
    exact, exact_stderr = _exact_maximum(kind, duration, data_set)
    row: Row = {"duration": duration, "kind": kind, "base": base, "data_set": data_set, "bridges": bridges}
    for k, name in enumerate(("log_k", "log_sigma")):
        row |= {name: float(fit.theta[k]), f"{name}_stderr": float(fit.theta_stderr[k])}
        row[f"{name}_covered"] = bool(inside[k])
        row |= {f"exact_{name}": float(exact[k]), f"exact_{name}_stderr": float(exact_stderr[k])}
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
def _exact_maximum(kind: str, duration: float, data_set: int) -> tuple[Tensor, Tensor]:
    """Return the maximum of the exact likelihood (2,), and its standard errors (2,) from its curvature."""
    task = task_of("double_well", duration=duration, steps=DURATIONS[duration])
    starts, y = _observations(kind, duration, data_set)
    reach, points = torch.full((1, 1), REACH, dtype=torch.float64), QUADRATURE
    begin, end = starts.reshape(1, -1).expand(1, len(y)), y.reshape(1, -1)

    def negative(theta: Tensor) -> float:
        sde = task.sde(theta.view(1, 1, 2))
        return -float(log_transition(sde, begin, end, task.grid, reach, points).sum())

    found = minimize(lambda point: negative(torch.from_numpy(point)), THETA, method="Nelder-Mead", tol=1e-4)
    theta, moves = torch.from_numpy(found.x), DIFFERENCE * torch.eye(2, dtype=torch.float64)
    near = {(a, b): negative(theta + a * moves[0] + b * moves[1]) for a in SIDES for b in SIDES}
    own = [near[1, 0] + near[-1, 0] - 2 * near[0, 0], near[0, 1] + near[0, -1] - 2 * near[0, 0]]
    mixed = (near[1, 1] + near[-1, -1] - near[1, -1] - near[-1, 1]) / 4
    hessian = torch.tensor([[own[0], mixed], [mixed, own[1]]], dtype=torch.float64) / DIFFERENCE**2
    return theta, torch.linalg.inv(hessian).diagonal().sqrt()


@cache
def _scores(duration: float) -> LearnedScores:
    task = task_of("double_well", duration=duration, steps=DURATIONS[duration])
    return learn(law_of(task), task.grid, ScoreTraining(), derive_seed("bridges", "coverage", str(duration)))
