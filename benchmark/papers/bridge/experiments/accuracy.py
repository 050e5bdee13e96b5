"""Bridges where the truth is known: how accurate they are, and what each part is worth."""

import math
import time
from functools import partial

import torch
from torch import Tensor

from .....methods.bridge.bases import BASES, BaseFactory
from .....methods.bridge.learned.training import ScoreTraining, learn, one_point
from .....methods.bridge.likelihood import BridgeSampler
from .....methods.bridge.proposals import reverse_bridges
from .....tasks import get_task
from .....tasks.landmarks.diffusion import LandmarkDiffusion
from .....tasks.landmarks.task import ellipse
from .....tasks.likelihood import LikelihoodTask
from .....tasks.sde.diffusion_task import DiffusionTask
from .....tasks.sde.geometric_brownian import GeometricBrownianMotion
from .....tasks.sde.sde import TimeGrid, euler_path
from .....tasks.seeding import derive_seed, generator
from .piece import Experiment, Row

PAIRS, PARTICLES = 50, 1024
SIGMA = 0.5  # of geometric Brownian motion
THETA = {
    "brownian": (0.0, 0.0),
    "ornstein_uhlenbeck": (0.0, 1.0, 0.0),
    "geometric_brownian": (0.1, math.log(SIGMA)),
}


def exact_scores() -> Experiment:
    """Bridges with the exact score, and the classical guided ones, on models whose law is known."""
    cases = [("brownian", d, 50) for d in (1, 2, 20)]
    cases += [("ornstein_uhlenbeck", 20, 100), ("geometric_brownian", 1, 100), ("geometric_brownian", 5, 100)]
    samplers = {
        "exact": BridgeSampler(base="exact", particles=PARTICLES),
        "guided": BridgeSampler(proposal="guided", particles=PARTICLES),
    }
    for name, dim, steps in cases:
        for label, sampler in samplers.items():
            yield partial(_against_truth, {"proposal": label}, _task(name, dim, steps), sampler)


def covariance_factor() -> Experiment:
    """Exact scores of Brownian motion without the factor t_k/t_{k+1}: ESS/N falls like 2^(−D/2)."""
    for dim in (1, 2, 4, 8):
        sampler = BridgeSampler(base="exact", bridge_covariance=False, particles=16 * PARTICLES)
        yield partial(_against_truth, {"expected": 2 ** (-dim / 2)}, _task("brownian", dim, 100), sampler)


def forward_kernel() -> Experiment:
    """Both kernels with the exact score on geometric Brownian motion: the forward one has a ceiling.

    Σ(x_k) against Σ(x_{k+1}) adds σ √dt (ε³ − 3ε) to log w at each step, of variance 6 σ² dt, whatever the
    pull: ESS/N stays near exp(−6 σ² T).
    """
    for kernel in ("forward", "adjoint"):
        for steps in (25, 50, 100, 200):
            sampler = BridgeSampler(base="exact", kernel=kernel, particles=4 * PARTICLES)
            ceiling = math.exp(-6 * SIGMA**2) if kernel == "forward" else 1.0
            known: Row = {"kernel": kernel, "expected": ceiling}
            yield partial(_against_truth, known, _task("geometric_brownian", 1, steps), sampler)


def objective_coefficients() -> Experiment:
    """What the objectives learn on geometric Brownian motion, whose score has −1.5/x.

    The minimiser among (c + b z)/x, z = (log x − μ t)/(σ² t), of which the score is the one with c = −1.5 and
    b = −1. The objective is quadratic in (c, b).
    """
    for repeat in range(5):
        yield partial(_coefficients, repeat, 20_000)


def _coefficients(repeat: int, paths: int) -> list[Row]:
    task = _task("geometric_brownian", 1, 100)
    theta = torch.tensor(THETA["geometric_brownian"], dtype=torch.float64)
    model, grid = task.sde(theta), task.grid
    assert isinstance(model, GeometricBrownianMotion)
    t = torch.arange(1, grid.steps + 1, dtype=torch.float64).unsqueeze(1) * grid.dt
    noise = _normals(("coefficients", repeat), grid.steps, paths, 1)
    path = euler_path(model, task.start, grid, noise)
    before, x = path[:, :-1], path[:, 1:]
    v = (x - before) / grid.dt - model.at(before).drift
    z = (x.log() - model.mu * t) / (model.sigma**2 * t)
    features = torch.cat([1 / x, z / x], -1)
    here = model.at(x)
    gram = torch.einsum("pkf,pkg->fg", features * here.times(torch.ones_like(x)), features)
    rows: list[Row] = []
    for objective, target in (("corrected", v + here.divergence), ("paper", v)):
        c, b = (-torch.linalg.solve(gram, torch.einsum("pkf,pk->f", features, target[..., 0]))).tolist()
        rows.append({"objective": objective, "repeat": repeat, "c": c, "b": b})
    return rows


def explicit_target() -> Experiment:
    """Size of the explicit objective's target Σ⁻¹ v, and of the stable one's v, as Σ degenerates."""
    for length in (0.5, 0.7, 1.0, 1.5, 2.0):
        yield partial(_sizes_of_targets, length, 10_000)


def _sizes_of_targets(length: float, draws: int) -> list[Row]:
    x, grid = ellipse(8, 2).flatten(), TimeGrid(1.0, 50)
    log_a, log_length = torch.log(torch.tensor([0.1, length], dtype=torch.float64))
    here = LandmarkDiffusion(log_a, log_length, 2, 1e-6).at(x)
    v = here.colour(_normals(("explicit", str(length)), draws, x.numel())) / math.sqrt(grid.dt)
    return [
        {
            "length": length,
            "condition": float(torch.linalg.cond(here.kernel)),
            "rms_explicit": float(here.solve(v).square().mean().sqrt()),
            "rms_stable": float(v.square().mean().sqrt()),
        }
    ]


def naive_log_mean(log_weights: Tensor) -> Tensor:
    """Return log of the mean of exp(log w), (...), as it is: an ablation, which under- or overflows."""
    return log_weights.exp().mean(-1).log()


def naive_averaging() -> Experiment:
    """The least dimension at which averaging weights as they are gives no finite log-likelihood."""
    for log_sigma, what in ((0.0, "underflow"), (math.log(0.05), "overflow")):
        for dtype in ("float32", "float64"):
            yield partial(_least_dimension, log_sigma, what, dtype)


def _least_dimension(log_sigma: float, what: str, dtype: str) -> list[Row]:
    row: Row = {"sigma": math.exp(log_sigma), "what": what, "dtype": dtype}
    theta = torch.tensor([0.0, log_sigma], dtype=torch.float64)
    for dim in (*range(10, 200, 10), *range(200, 2001, 50)):
        task = _task("brownian", dim, 10)
        y = task.simulate_at(theta.expand(1, 2), derive_seed("bridges", "naive", dim)).x
        base = BASES["exact"](task.sde(theta), task.start, task.grid)
        noise = _normals(("naive noise", dim), task.grid.steps - 1, 1, 16, dim)
        weights = reverse_bridges(base, y, noise, kernel="forward").log_weights.to(getattr(torch, dtype))
        stable = torch.logsumexp(weights, -1) - math.log(16)
        if not torch.isfinite(naive_log_mean(weights)).all():
            error = float(stable.double() - _exact(task, theta, y))
            return [{**row, "dim": dim, "log_sum_exp_error": error}]
    return [row]


def learned_scores() -> Experiment:
    """Learned scores, plain and on a base; what does not lower the held-out objective is not used."""
    cases = [(name, dim, 50, "none") for name in THETA for dim in (1, 2)]
    cases += [("geometric_brownian", dim, 50, "linearised") for dim in (1, 2)]
    cases += [("ornstein_uhlenbeck", 20, 100, base) for base in ("none", "linearised")]
    for name, dim, steps, base in cases:
        training = ScoreTraining(base=base, paths=20_000 if dim <= 2 else 2_000)
        yield partial(_learned, _task(name, dim, steps), training)


def _learned(task: DiffusionTask, training: ScoreTraining) -> list[Row]:
    model = task.sde(torch.tensor(THETA[task.name], dtype=torch.float64))
    start = time.perf_counter()
    seed = derive_seed("bridges", task.name, task.dim_x, training.base)
    learned = learn(one_point(model, task.start), task.grid, training, seed)
    seconds = time.perf_counter() - start
    network = "plain" if training.base == "none" else "residual"
    known: Row = {"network": network, "base": training.base, "paths": training.paths}
    (row,) = _against_truth(known, task, BridgeSampler(particles=PARTICLES), learned)
    held_out, error = learned.held_out
    own = {"used": learned.used, "held_out": held_out, "held_out_stderr": error, "seconds": seconds}
    return [{**row, **own}]


def _task(name: str, dim: int, steps: int) -> DiffusionTask:
    task = get_task(name, dim=dim, steps=steps)
    assert isinstance(task, DiffusionTask)
    return task


def _normals(purpose: tuple[int | str, ...], *size: int) -> Tensor:
    random = generator(derive_seed("bridges", *purpose))
    return torch.randn(size, generator=random, dtype=torch.float64)


def _exact(task: DiffusionTask, theta: Tensor, y: Tensor) -> Tensor:
    """Return the exact log p(y | θ): of the scheme for Ornstein-Uhlenbeck, of the process for the others."""
    assert isinstance(task, LikelihoodTask)
    return task.log_likelihood(theta.expand(len(y), -1), y)


def _against_truth(
    known: Row, task: DiffusionTask, sampler: BridgeSampler, base: BaseFactory | None = None
) -> list[Row]:
    """Estimate the likelihoods of end points that the task draws at one θ, and compare with the truth.

    The one row begins with what is `known` of the case.
    """
    theta = torch.tensor(THETA[task.name], dtype=torch.float64)
    y = task.simulate_at(theta.expand(PAIRS, -1), derive_seed("bridges", "ends", task.label)).x
    seed = derive_seed("bridges", "run", task.label)
    found = sampler.estimate(task.sde(theta), task.start, y, task.grid, seed, base)
    error = found.value - _exact(task, theta, y)
    return [
        {
            **known,
            "task": task.name,
            "dim": task.dim_x,
            "steps": task.grid.steps,
            "particles": sampler.particles,
            "ess_fraction": float(found.ess_fraction.mean()),
            "ess_stderr": float(found.ess_fraction.std() / PAIRS**0.5),
            "least_ess_fraction": float(found.ess_fraction.min()),
            "mean_absolute_error": float(error.abs().mean()),
            "bias": float(error.mean()),
            "bias_stderr": float(error.std() / PAIRS**0.5),
        }
    ]
