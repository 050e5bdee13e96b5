"""An experiment with weights that need neither determinants nor inverses of Σ, where Σ = a² Σ₀."""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from .....methods.bridge.bases import MidpointBase, NoBase
from .....methods.bridge.likelihood import BridgeSampler, average
from .....methods.bridge.proposals import reverse_bridges
from .....tasks.landmarks.diffusion import LandmarkCoefficients, LandmarkDiffusion
from .....tasks.landmarks.task import Landmarks
from .....tasks.sde.sde import TimeGrid
from .....tasks.seeding import derive_seed
from .piece import Experiment, Row

Score = Callable[[int, Tensor], Tensor]
Result = TypeVar("Result")

ENDS, PARTICLES = 5, 256


def determinants() -> Experiment:
    """What the weights of variance parameters lose and save without determinants, and without any solve.

    `offset` is the change of log p where log det Σ(x_1) of the last step becomes log det Σ(x_0), and
    `offset_free` where the last step needs no solve either, see `free_log_weights`; each has the spread over
    end points, and the ESS/N. `difference` is the largest difference between ordinary log-weights and those
    whose steps need no solve, but the last one does.

    Seconds of processor time: `seconds` for ordinary bridges, `seconds_free` for the same without solves.
    `alone` is the time with the score 0, which is the time of everything but the score: midpoint has solves
    of its own. `seconds_saved` is the time of the K log-determinants.
    """
    for n in (8, 16):
        for amplitude in (0.1, 0.2):
            for steps in (25, 50, 100):
                yield partial(_without_determinants, n, amplitude, steps)


def _without_determinants(n: int, amplitude: float, steps: int) -> list[Row]:
    task = Landmarks(n, 2, amplitude, nugget=1e-2)
    theta = torch.tensor([math.log(amplitude), math.log(task.length)], dtype=torch.float64)
    y = task.simulate_at(theta.expand(ENDS, -1), derive_seed("bridges", "determinants", task.label)).x
    sde, grid = LandmarkDiffusion(theta[0], theta[1], task.dimensions, task.nugget), TimeGrid(1.0, steps)
    noise, _ = BridgeSampler(particles=PARTICLES).noise(
        grid, y.shape[:1], y.shape[1], derive_seed("bridges", "determinants", n, steps)
    )
    base, nothing = MidpointBase(sde, task.start, grid), NoBase(sde, task.start, grid)
    drawn, seconds = _timed(lambda: reverse_bridges(base, y, noise, kernel="adjoint", keep_paths=True))
    _, alone = _timed(lambda: reverse_bridges(nothing, y, noise, kernel="adjoint"))
    free, seconds_free = _timed(lambda: free_log_weights(base, base.score, y, noise, free_end=True))
    _, alone_free = _timed(lambda: free_log_weights(nothing, _no_score, y, noise, free_end=True))
    solved_end = free_log_weights(base, base.score, y, noise, free_end=False)
    assert drawn.paths is not None
    states = sde.at(drawn.paths[..., 1:-1, :])
    log_dets, saved = _timed(lambda: states.half_log_det)
    change = log_dets[..., 0] - sde.at(task.start).half_log_det
    found = average(drawn)
    others = [average(drawn._replace(log_weights=w)) for w in (drawn.log_weights + change, free)]
    offset, offset_free = (other.value - found.value for other in others)
    return [
        {
            "landmarks": n,
            "amplitude": amplitude,
            "steps": steps,
            "difference": float((solved_end - drawn.log_weights).abs().max()),
            "offset": float(offset.mean()),
            "offset_spread": float(offset.std()),
            "offset_free": float(offset_free.mean()),
            "offset_free_spread": float(offset_free.std()),
            "ess_fraction": float(found.ess_fraction.mean()),
            "ess_fraction_without": float(others[0].ess_fraction.mean()),
            "ess_fraction_free": float(others[1].ess_fraction.mean()),
            "seconds": seconds,
            "seconds_free": seconds_free,
            "seconds_alone": alone,
            "seconds_alone_free": alone_free,
            "seconds_saved": saved,
        }
    ]


def free_log_weights(
    base: MidpointBase | NoBase, score: Score, y: Tensor, noise: Tensor, *, free_end: bool
) -> Tensor:
    """Draw adjoint bridges of landmarks from a score s, and return log w, without L⁻¹.

    With Σ = L Lᵀ and the pull w = Σ s + div Σ, the steps of `reverse_bridges` and their weights are

        z = √dt Lᵀ s + √r ε,    x_k = x_{k+1} + (div Σ − f) dt + √dt L z
        log w = Σ_{k=1}^{K−1} [c dt − |z|²/2 + |ε|²/2 + (D/2) log r] + c(x_1) dt + log w_0
        log w_0 = log N(δ; 0, Σ(x_1) dt),    δ = x_0 − x_1 − (div Σ − f) dt

    where √dt L⁻¹(w − div Σ) = √dt Lᵀ s, so that the bridges and all terms but log w_0 are the same to
    rounding, whatever the score. The score itself may need solves, as midpoint's does; a network's does not.

    The last step has |L⁻¹ δ|²/dt and log det Σ(x_1). A pull that leads from x_1 to x_0 in one step, as the
    exact score's does where Σ and f are constant, has Σ s(x_1) dt = δ. This gives the end without a solve,

        log w_0 ≈ −dt |Lᵀ s(x_1)|²/2 − ½ log det Σ(x_0) − (D/2) log(2π dt),

    where ½ log det Σ(x_0) = D log a + a constant, which inference of a does not need. Elsewhere it is an
    approximation, whose error in log w is of the order √dt.

    Args:
        base: holds the SDE, x_0 and the grid.
        score: s at step k and states (..., D).
        y: end points (..., D).
        noise: standard normal ε (K − 1, ..., N, D).
        free_end: whether log w_0 is the approximation.
    """
    sde, grid, x_0 = base.sde, base.grid, base.x_0
    assert isinstance(sde, LandmarkDiffusion)
    x = y.unsqueeze(-2).expand(noise.shape[1:])
    log_weights = torch.zeros(noise.shape[1:-1], dtype=noise.dtype)
    for k in range(grid.steps - 1, 0, -1):
        here, eps, dt, r = sde.at(x), noise[k - 1], grid.step(k), grid.clock[k] / grid.clock[k + 1]
        z = math.sqrt(dt) * _transposed(here, score(k + 1, x)) + math.sqrt(r) * eps
        squares = eps.square().sum(-1) - z.square().sum(-1)
        log_weights = log_weights + here.second_order * dt + 0.5 * squares + eps.shape[-1] / 2 * math.log(r)
        x = x + (here.divergence - here.drift) * dt + math.sqrt(dt) * here.colour(z)
    here, dt = sde.at(x), grid.step(0)
    log_weights = log_weights + here.second_order * dt
    if not free_end:
        return log_weights + here.log_normal(x_0 - x - (here.divergence - here.drift) * dt, dt)
    z = math.sqrt(dt) * _transposed(here, score(1, x))
    constant = sde.at(x_0).half_log_det + x.shape[-1] / 2 * math.log(2 * math.pi * dt)
    return log_weights - 0.5 * z.square().sum(-1) - constant


def _no_score(k: int, x: Tensor) -> Tensor:
    return torch.zeros_like(x)


def _transposed(here: LandmarkCoefficients, v: Tensor) -> Tensor:
    """Return Lᵀ v for v (..., D)."""
    return (here.factor.mT @ here.as_rows(v)).flatten(-2)


def _timed(compute: Callable[[], Result]) -> tuple[Result, float]:
    """Return what `compute` returns, and its seconds of processor time."""
    start = time.process_time()
    return compute(), time.process_time() - start


DETERMINANTS: dict[str, Callable[[], Experiment]] = {"determinants": determinants}
