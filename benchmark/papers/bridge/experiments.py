"""Experiments with bridges: accuracy where the truth is known, what each part is worth, and where they fail.

Each experiment yields its pieces, and each piece computes rows of the experiment's table when it is called.
`graybench bridges` runs `EXPERIMENTS`. Errors are errors of log-likelihoods in nats against the exact law;
`bias` is their mean over end points. `ess_stderr` is the standard error of the mean ESS/N over end points.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from ....methods.bridge.bases import BASES, BaseFactory
from ....methods.bridge.inference import Likelihood, maximise
from ....methods.bridge.learned.training import ScoreTraining, learn, one_point
from ....methods.bridge.likelihood import BridgeSampler
from ....methods.bridge.proposals import reverse_bridges
from ....tasks import get_task
from ....tasks.landmarks.diffusion import LandmarkDiffusion
from ....tasks.landmarks.task import Landmarks, ellipse
from ....tasks.likelihood import LikelihoodTask
from ....tasks.sde.diffusion_task import DiffusionTask
from ....tasks.sde.geometric_brownian import GeometricBrownianMotion
from ....tasks.sde.sde import TimeGrid, euler_path
from ....tasks.seeding import derive_seed, generator
from ...analysis.statistics import Z
from ...running.pieces import Pieces
from .convergence import convergence
from .coverage import coverage, long_coverage
from .determinants import DETERMINANTS
from .fitzhugh_nagumo import FITZHUGH_NAGUMO
from .landmark_networks import LANDMARK_NETWORKS
from .networks import NETWORKS
from .time_grids import TIME_GRIDS
from .trees import TREES

PAIRS, PARTICLES = 50, 1024
SIGMA = 0.5  # of geometric Brownian motion
THETA = {
    "brownian": (0.0, 0.0),
    "ornstein_uhlenbeck": (0.0, 1.0, 0.0),
    "geometric_brownian": (0.1, math.log(SIGMA)),
}

Row = dict[str, object]
Experiment = Iterator[partial[list[Row]]]


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


EXPERIMENTS: dict[str, Callable[[], Experiment]] = {
    "exact_scores": exact_scores,
    "covariance_factor": covariance_factor,
    "forward_kernel": forward_kernel,
    "objective_coefficients": objective_coefficients,
    "explicit_target": explicit_target,
    "naive_averaging": naive_averaging,
    "learned_scores": learned_scores,
    "landmarks": landmarks,
    "many_landmarks": many_landmarks,
    "many_particles": many_particles,
    "recovery": recovery,
    "diffusion_means": diffusion_means,
    "convergence": convergence,
    "coverage": coverage,
    "long_coverage": long_coverage,
    **LANDMARK_NETWORKS,
    **DETERMINANTS,
    **TIME_GRIDS,
    **FITZHUGH_NAGUMO,
    **NETWORKS,
    **TREES,
}


def count_pieces(names: Iterable[str]) -> int:
    """Return the number of pieces of some experiments."""
    return sum(1 for name in names for _ in EXPERIMENTS[name]())


@torch.no_grad()
def run_experiment(name: str, pieces: Pieces) -> pd.DataFrame:
    """Compute what is missing of an experiment, and return its table, with a row for each case."""
    found = [pieces.get(f"{name} {k}", piece) for k, piece in enumerate(EXPERIMENTS[name](), start=1)]
    return pd.DataFrame([row for rows in found for row in rows])
