"""How the bias and the spread of log p̂ fall with bridges N and steps K, and grow with dimensions D.

    over N    Ornstein-Uhlenbeck in 5 dimensions, K = 10; against the law of the scheme
    over K    Ornstein-Uhlenbeck and geometric Brownian motion in 1-D; against the law of the process
    over D    Ornstein-Uhlenbeck, K = 10, N = 8; against the law of the scheme

Theory, for weights with the relative variance V: the spread of log p̂ is √(V/N) and its bias −V/(2N). Each
dimension and each step has its own share of log w, so V grows like D for small V. With K steps of length T/K
a share has the variance O(K⁻²), so V falls like 1/K, and the scheme's own bias falls like 1/K.

The pull is exact: `LinearisedBase` for the scheme of Ornstein-Uhlenbeck, `ExactBase` for geometric Brownian
motion. So all of V comes from discretisation.
"""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from .....methods.bridge.bases import LinearisedBase
from .....methods.bridge.likelihood import BridgeSampler, average
from .....tasks.sde.geometric_brownian import GeometricBrownianMotion
from .....tasks.sde.ornstein_uhlenbeck import MeanReversion
from .....tasks.sde.sde import SDE, TimeGrid, euler_path
from .....tasks.seeding import derive_seed, generator
from ....analysis.power_law import exponent
from .piece import Experiment, Row

ENDS, FINE = 8, TimeGrid(1.0, 1000)
PARTICLES = (2, 4, 8, 16, 32, 64)
STEPS = (5, 10, 20, 40, 80)
DIMENSIONS = (1, 2, 4, 8, 16, 32)
FEW_STEPS, SOME_DIMENSIONS, FEW_BRIDGES = 10, 5, 8
BRIDGES = 2**17  # of one end point, all runs together
AT_ONCE = 2**17


def convergence() -> Experiment:
    """Bias and spread over N, K and D, with fitted exponents beside those of theory."""
    reverting = MeanReversion(*map(_number, (1.0, 1.0, 1.0)))
    growing = GeometricBrownianMotion(*map(_number, (0.1, 0.5)))
    over_n = {n: (SOME_DIMENSIONS, FEW_STEPS, n) for n in PARTICLES}
    over_k = {k: (1, k, 64) for k in STEPS}
    over_d = {d: (d, FEW_STEPS, FEW_BRIDGES) for d in DIMENSIONS}
    yield partial(_curve, "N", reverting, "scheme", over_n, (-1.0, -0.5))
    yield partial(_curve, "K", reverting, "process", over_k, (-1.0, -0.5))
    yield partial(_curve, "K", growing, "process", over_k, (-1.0, -0.5))
    yield partial(_curve, "D", reverting, "scheme", over_d, (1.0, 0.5))


def _curve(
    over: str,
    sde: SDE,
    law: str,
    points: Mapping[int, tuple[int, int, int]],
    theory: tuple[float, float],
) -> list[Row]:
    """Return a row for each point (D, K, N) of a curve; `theory` has the exponents of bias and spread."""
    rows: list[Row] = []
    for x, (dim, steps, particles) in points.items():
        rows.append({"over": over, "model": type(sde).__name__, "law": law, "x": x})
        rows[-1] |= _measured(sde, law, dim, steps, particles)
    for name, expected in zip(("bias", "spread"), theory, strict=True):
        sizes = {x: abs(float(str(row[name]))) for x, row in zip(points, rows, strict=True)}
        fitted = exponent(sizes)
        names = ("exponent", "exponent_low", "exponent_high", "exponent_theory")
        for row in rows:
            row |= dict(zip((f"{name}_{n}" for n in names), (*fitted, expected), strict=True))
    return rows


def _measured(sde: SDE, law: str, dim: int, steps: int, particles: int) -> Row:
    """Return bias and spread of log p̂, averaged over end points that the model draws."""
    grid = TimeGrid(1.0, steps)
    x_0 = torch.full((dim,), float(isinstance(sde, GeometricBrownianMotion)), dtype=torch.float64)
    random = generator(derive_seed("convergence", dim))
    noise = torch.randn(FINE.steps, ENDS, dim, generator=random, dtype=torch.float64)
    y = euler_path(sde, x_0, FINE, noise)[:, -1]
    if law == "scheme":
        exact = LinearisedBase(sde, x_0, grid).log_density(steps, y, sde.at(y))
    else:
        exact = sde.log_transition(x_0, y, grid.duration)
    base = "linearised" if sde.constant_covariance else "exact"
    sampler = BridgeSampler(base=base, particles=particles)
    runs = BRIDGES // particles
    part = max(1, AT_ONCE // (particles * dim * ENDS))
    starts = range(0, runs, part)
    found = [_runs(sampler, sde, x_0, y, grid, k, min(part, runs - k)) for k in starts]
    values = torch.cat(found)
    deviations = values.mean(0) - exact
    return {
        "bias": float(deviations.mean() if law == "scheme" else deviations.abs().mean()),
        "bias_stderr": float((values.var(0) / runs).mean().div(ENDS).sqrt()),
        "spread": float(values.var(0).mean().sqrt()),
        "runs": runs,
    }


def _runs(
    sampler: BridgeSampler, sde: SDE, x_0: Tensor, y: Tensor, grid: TimeGrid, first: int, runs: int
) -> Tensor:
    """Return log p̂ of independent runs (runs, ENDS)."""
    ends = y.expand(runs, -1, -1)
    noise = sampler.noise(grid, ends.shape[:-1], ends.shape[-1], derive_seed("convergence", "runs", first))
    return average(sampler.bridges(sde, x_0, ends, grid, noise)).value


def _number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)
