"""Diffusions of landmarks on simulated trees: coverage, errors, run time, and which sampler to use.

A tree is drawn from a pure-birth process and has the height 1. Its root is an ellipse, and landmarks diffuse
to the tips by Euler steps with ℓ = 0.5. The root of each data set is estimated in two ways:

    diffusion    the mean of `TreePosterior`, with the 2.5 and 97.5 % quantiles of its draws
    Brownian     exact, with (a, ℓ) at the maximum of the restricted likelihood, and ± 1.96 standard errors

(a, ℓ) and the root are the same in all data sets of a cell, so that errors can be compared over a. An
interval's coverage is that of repeated data at these values. The prior of log a and log ℓ is normal with the
standard deviation 1.5 about a guess from the data, some 15 times as wide as the posterior. The
root's prior is flat.

`seconds` are processor time.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .....methods.bridge.likelihood import BridgeSampler
from .....methods.bridge.trees.brownian import TreeBrownian, TreeFit, TreeSample
from .....methods.bridge.trees.diffusion import TreeDiffusion, simulate
from .....methods.bridge.trees.posterior import TreeDraws, TreePosterior
from .....tasks.errors import UserError
from .....tasks.landmarks.diffusion import LandmarkDiffusion
from .....tasks.landmarks.procrustes import align
from .....tasks.landmarks.task import ellipse
from .....tasks.landmarks.trees import Tree
from .....tasks.seeding import derive_seed, generator
from ....analysis.statistics import Z
from .piece import Experiment, Row

AMPLITUDES, LENGTH, NUGGET = (0.05, 0.15, 0.3), 0.5, 1e-3
DATA_SETS, SAMPLED, TIMED = 20, 3, 1  # of each cell of `tree_coverage`, `tree_samplers` and `tree_run_time`
SIMULATION_STEP, FILTER_STEP = 0.01, 0.05
CHAINS, WARMUP, DRAWS, PARTICLES = 4, 100, 150, 4096
THINNED, BRIDGES, BRIDGE_STEPS = 3, 32, 20  # one draw of three is corrected, by bridges of 20 steps
PARAMETERS = ("a", "length")


class Cell(NamedTuple):
    """The sizes of a data set, and the amplitude that it is simulated with."""

    tips: int
    landmarks: int
    a: float


COVERED = ((8, 8), (32, 8), (8, 16), (32, 16))  # tips and landmarks
OVER_TIPS = tuple(Cell(tips, 8, 0.15) for tips in (4, 8, 16, 32, 64))
OVER_LANDMARKS = tuple(Cell(8, n, 0.15) for n in (8, 16, 32, 64))


def tree_coverage() -> Experiment:
    """Intervals of a, ℓ and the root, and errors of the root, the quickest sizes first."""
    for tips, landmarks in COVERED:
        for data_set in range(DATA_SETS):
            for a in AMPLITUDES:
                yield partial(_covered, Cell(tips, landmarks, a), data_set)


def tree_run_time() -> Experiment:
    """Seconds of a run and of an effective draw of the root, over tips and over landmarks."""
    for data_set in range(TIMED):
        for over, cells in (("tips", OVER_TIPS), ("landmarks", OVER_LANDMARKS)):
            for cell in cells:
                yield partial(_timed, over, cell, data_set)


def tree_samplers() -> Experiment:
    """Effective draws of the root by forward guiding at one (a, ℓ), by `hamiltonian` and, once, by NUTS."""
    for data_set in range(SAMPLED):
        for a in AMPLITUDES:
            for sampler in ("guided", "hamiltonian"):
                yield partial(_sampled, sampler, Cell(8, 8, a), data_set)
    yield partial(_sampled, "nuts", Cell(8, 8, 0.15), 0)


def tree_corrections() -> Experiment:
    """What bridges along the branches change of the posterior, whose branches have a closed-form density.

    `spread` is that of log p/p̂ over draws of the posterior, with the part `noise` from the bridges; the ESS/N
    is that of weights p/p̂, which move the root's mean by `root_moved` of its standard deviations (rms).
    """
    for data_set in range(SAMPLED):
        for a in AMPLITUDES:
            yield partial(_corrected, Cell(8, 8, a), data_set)


def tree_superimposed() -> Experiment:
    """What superimposing the tips (Procrustes) changes of a and ℓ, estimated by Brownian motion.

    Superimposed tips have the mean centroid size of the tips, so that a and ℓ keep their unit.
    """
    for tips, landmarks in COVERED:
        for data_set in range(DATA_SETS):
            for a in AMPLITUDES:
                yield partial(_superimposed, Cell(tips, landmarks, a), data_set)


TREES: dict[str, Callable[[], Experiment]] = {
    "tree_coverage": tree_coverage,
    "tree_run_time": tree_run_time,
    "tree_samplers": tree_samplers,
    "tree_corrections": tree_corrections,
    "tree_superimposed": tree_superimposed,
}


def random_tree(tips: int, random: torch.Generator) -> Tree:
    """Draw a tree from a pure-birth process until one more tip would be born, with the height 1.

    Each of k lineages splits at rate 1. The children of a node follow it, and all tips have the age 1.
    """
    parents, born, ended = [-1], [0.0], [0.0]
    living, now = [0], 0.0
    while len(living) < tips:
        parent = living.pop(int(torch.randint(len(living), (), generator=random)))
        ended[parent] = now
        living += [len(parents), len(parents) + 1]
        parents += [parent, parent]
        born += [now, now]
        ended += [now, now]
        now += float(torch.empty((), dtype=torch.float64).exponential_(len(living), generator=random))
    for tip in living:
        ended[tip] = now
    lengths = tuple((end - start) / now for start, end in zip(born, ended, strict=True))
    return Tree(tuple(parents), lengths, tuple(map(str, range(len(parents)))), "heights")


def baseline_of(cell: Cell, data_set: int) -> TreeBrownian:
    """Simulate a data set. All cells with equally many tips have the same trees."""
    tree = random_tree(cell.tips, generator(derive_seed("trees", cell.tips, data_set)))
    random = generator(derive_seed("trees", cell.tips, cell.landmarks, str(cell.a), data_set))
    truth = torch.tensor([cell.a, LENGTH], dtype=torch.float64).log()
    nodes = simulate(tree, _make(truth), ellipse(cell.landmarks, 2).flatten(), SIMULATION_STEP, random)
    x = torch.stack([nodes[tip] for tip in tree.tips]).unflatten(-1, (-1, 2))
    return TreeBrownian(TreeSample(tree, tree.tips, x, False), x.mean(0), "gaussian", NUGGET)


def _make(theta: Tensor) -> LandmarkDiffusion:
    return LandmarkDiffusion(theta[..., 0], theta[..., 1], 2, NUGGET)


def posterior_of(baseline: TreeBrownian, fit: TreeFit) -> TreePosterior:
    """Return the posterior near the fit of Brownian motion."""
    return TreePosterior.near(baseline, _make, fit)


def _sample(baseline: TreeBrownian, fit: TreeFit) -> tuple[TreeDraws, float]:
    """Return draws, and the seconds that they took."""
    start = time.process_time()
    seed = derive_seed("trees", "draws")
    draws = posterior_of(baseline, fit).sample(seed, chains=CHAINS, warmup=WARMUP, draws=DRAWS)
    return draws, time.process_time() - start


def _quality(draws: TreeDraws, seconds: float) -> Row:
    row: Row = dict(draws.diagnostics()._asdict())
    return row | {"acceptance": draws.acceptance, "step": draws.step, "seconds": seconds}


def _covered(cell: Cell, data_set: int) -> list[Row]:
    baseline = baseline_of(cell, data_set)
    fit = baseline.fit()
    draws, seconds = _sample(baseline, fit)
    truth = torch.tensor([cell.a, LENGTH], dtype=torch.float64).log()
    theta, root = draws.theta.flatten(0, 1), draws.nodes[:, :, 0].flatten(0, 1)
    true_root = ellipse(cell.landmarks, 2).flatten()
    row: Row = {**cell._asdict(), "data_set": data_set}
    for name, holds, estimate in zip(PARAMETERS, _held(theta, truth), theta.mean(0).exp(), strict=True):
        row |= {f"{name}_covered": bool(holds), f"{name}_estimate": float(estimate)}
    row["root_covered"] = float(_held(root, true_root).double().mean())
    row["root_error"] = _rms(root.mean(0) - true_root)
    reach = (fit.theta - truth).abs() <= Z * fit.stderr
    for name, holds, estimate in zip(PARAMETERS, reach, fit.theta.exp(), strict=True):
        row |= {f"brownian_{name}_covered": bool(holds), f"brownian_{name}_estimate": float(estimate)}
    exact = baseline.nodes(fit.theta)[0]
    error = exact.mean.flatten() - true_root
    stderr = exact.covariance.diagonal().sqrt().repeat_interleave(2)
    row["brownian_root_covered"] = float((error.abs() <= Z * stderr).double().mean())
    row |= {"brownian_root_error": _rms(error), "brownian_converged": fit.converged}
    return [row | _quality(draws, seconds)]


def _held(draws: Tensor, truth: Tensor) -> Tensor:
    """Return whether the interval between quantiles of the draws (S, d) holds the truth (d,)."""
    low, high = draws.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), 0)
    return (low <= truth) & (truth <= high)


def _rms(deviation: Tensor) -> float:
    return float(deviation.square().mean().sqrt())


def _timed(over: str, cell: Cell, data_set: int) -> list[Row]:
    baseline = baseline_of(cell, data_set)
    row = {"over": over, **cell._asdict(), "data_set": data_set}
    return [row | _quality(*_sample(baseline, baseline.fit()))]


def _sampled(sampler: str, cell: Cell, data_set: int) -> list[Row]:
    baseline = baseline_of(cell, data_set)
    fit = baseline.fit()
    row: Row = {"sampler": sampler, **cell._asdict(), "data_set": data_set}
    if sampler == "guided":
        start = time.process_time()
        model = TreeDiffusion(baseline, _make, FILTER_STEP)
        found = model.guided(fit.theta, model.noise(PARTICLES, derive_seed("trees", "guided"))).estimate
        ess, seconds = PARTICLES * float(found.ess_fraction), time.process_time() - start
        return [row | {"draws": PARTICLES, "root_ess": ess, "seconds": seconds}]
    draws, seconds = _nuts(baseline, fit) if sampler == "nuts" else _sample(baseline, fit)
    return [row | {"draws": draws.theta[..., 0].numel(), **_quality(draws, seconds)}]


def _corrected(cell: Cell, data_set: int) -> list[Row]:
    baseline = baseline_of(cell, data_set)
    fit = baseline.fit()
    draws, _ = _sample(baseline, fit)
    theta, nodes = (part.flatten(0, 1)[::THINNED] for part in (draws.theta, draws.nodes))
    model, bridges = posterior_of(baseline, fit), BridgeSampler("midpoint", particles=BRIDGES)
    runs = torch.stack(
        [
            model.log_corrections(theta, nodes, bridges, BRIDGE_STEPS, derive_seed("trees", "bridges", run))
            for run in range(2)
        ]
    )
    log_weights, root = runs.mean(0), nodes[:, 0]
    weights = torch.softmax(log_weights, 0)
    row: Row = {**cell._asdict(), "data_set": data_set, "draws": len(theta)}
    row |= {"spread": float(log_weights.std()), "noise": float((runs[0] - runs[1]).std()) / 2}
    row["ess_fraction"] = 1 / (len(theta) * float(weights.square().sum()))
    return [row | {"root_moved": _rms((weights @ root - root.mean(0)) / root.std(0))}]


def _superimposed(cell: Cell, data_set: int) -> list[Row]:
    baseline = baseline_of(cell, data_set)
    row: Row = {**cell._asdict(), "data_set": data_set}
    for prefix, own in (("", baseline), ("superimposed_", superimposed(baseline))):
        fit = own.fit()
        for name, estimate in zip(PARAMETERS, fit.theta.exp(), strict=True):
            row[f"{prefix}{name}_estimate"] = float(estimate)
        row[f"{prefix}converged"] = fit.converged
    return [row]


def superimposed(baseline: TreeBrownian) -> TreeBrownian:
    """Return Brownian motion for the same tips after generalized Procrustes analysis, at their mean size."""
    alignment = align(baseline.sample.coordinates)
    x = alignment.shapes * alignment.centroid_sizes.mean()
    return replace(baseline, sample=replace(baseline.sample, coordinates=x), mean=x.mean(0))


@torch.enable_grad()
def _nuts(baseline: TreeBrownian, fit: TreeFit) -> tuple[TreeDraws, float]:
    """Sample as `_sample` does, by Pyro's NUTS, which runs one chain after another in one process."""
    try:
        from pyro.infer.mcmc import MCMC, NUTS
    except ImportError as error:
        raise UserError(f"NUTS needs Pyro: run `pip install 'graybench[pyro]'` ({error}).") from error
    start = time.process_time()
    model = posterior_of(baseline, fit)
    runs, steps = [], []
    for chain in range(CHAINS):
        random = generator(derive_seed("trees", "nuts", chain))
        first = torch.randn(1, model.size, generator=random, dtype=torch.float64)
        kernel = NUTS(potential_fn=lambda at: -model.log_density_at(at["z"]).sum(), adapt_mass_matrix=False)
        run = MCMC(kernel, DRAWS, WARMUP, {"z": first}, disable_progbar=True)
        run.run()
        runs.append(run.get_samples()["z"].squeeze(1).detach())
        steps.append(kernel.step_size)
    draws = TreeDraws(*model.at(torch.stack(runs))[:2], float("nan"), float(np.mean(steps)))
    return draws, time.process_time() - start
