"""Species on a tree: what `graybench shapes FILE --tree TREE` computes, as pure functions.

A shape changes along the branches of a dated tree, from the root to the tips, and splits where branches do. A
branch of length t is a time t. Three models of the change are fitted to the same specimens:

    brownian_independent    landmarks move independently of each other, x_c ~ N(x_p, a² t)
    brownian_gaussian       they move together, with the kernel's covariance at the mean shape
    diffusion               they move together, with the kernel at where they are: the landmark diffusion

The first two are exact, by maximum likelihood and Gaussian pruning; bands at nodes hold the parameters at
their estimates. The diffusion is sampled by Hamiltonian Monte Carlo, parameters and ancestors together. See
`methods.bridge.trees`. Where a species has several specimens, they scatter about its shape by w.

Specimens are aligned and scaled as in `specimens.py`, and then taken as they are: their position, orientation
and size are not integrated out. Alignment has removed movement as a whole, so a and ℓ come out too small.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...methods.bridge.trees.brownian import KERNELS, TreeBrownian, TreeSample
from ...methods.bridge.trees.posterior import TreeDraws, TreePosterior
from ...tasks.errors import UserError
from ...tasks.landmarks.sample import LandmarkSample
from ...tasks.landmarks.trees import Tree
from ...tasks.plugin import require_positive, require_whole
from ...tasks.sde.sde import TimeGrid, euler_path
from ...tasks.seeding import derive_seed, generator
from ..analysis.statistics import Z
from ..running.pieces import Result
from .fits import model
from .specimens import aligned, label_of

BROWNIAN = tuple(f"brownian_{kernel}" for kernel in KERNELS)
DEFAULT_LABEL = "species"
FEWEST_SPECIES, FOLDS = 3, 5
STEPS = 50  # of the height of the tree, of the Euler schemes that predict
TAIL = 0.025  # outside a band, on each side


@dataclass(frozen=True)
class TreeSettings:
    """The options of the fits on a tree.

    Args:
        chains: the number of chains.
        draws: the number of draws of each chain, after half as many for warming up.
        seed: names the random streams.
        nugget: added to the diagonal of the kernel, in units of a².
        keep_size: scale all specimens by one factor, instead of each to size 1.
    """

    chains: int = 4
    draws: int = 200
    seed: int = 0
    nugget: float = 1e-3
    keep_size: bool = False

    def __post_init__(self) -> None:
        require_whole("shapes: chains", self.chains, 2)
        require_whole("shapes: draws", self.draws, 4)  # R̂ halves each chain
        require_positive("shapes: nugget", self.nugget)


@dataclass(frozen=True, eq=False)
class Species:
    """Specimens, not aligned, with their tips.

    Args:
        tree: the tree.
        tips: the tip of each of S specimens.
        coordinates: (S, n, m).
    """

    tree: Tree
    tips: tuple[int, ...]
    coordinates: Tensor


def species_of(sample: LandmarkSample, tree: Tree, column: str | None) -> Species:
    """Match specimens to the tips of a tree.

    Args:
        sample: the specimens.
        tree: the tree.
        column: the label with the species; None for `species` if there is such a label, else for the names.

    Raises:
        UserError: there is no such label; species and tips do not agree; or there are too few species.
    """
    if column is None and DEFAULT_LABEL in sample.labels:
        column = DEFAULT_LABEL
    tips = tree.matched(sample.specimens if column is None else label_of(sample, column))
    if len(tree.tips) < FEWEST_SPECIES:
        raise UserError(f"the tree has {len(tree.tips)} species, and a fit on a tree needs {FEWEST_SPECIES}.")
    return Species(tree, tips, sample.coordinates)


def tree_sample(tree: Tree, tips: tuple[int, ...], shapes: Tensor) -> TreeSample:
    """Return aligned specimens at tips, which scatter about their species if one species has several."""
    return TreeSample(tree, tips, shapes, len(set(tips)) < len(tips))


def baseline(sample: TreeSample, kernel: str, settings: TreeSettings) -> TreeBrownian:
    """Return Brownian motion for a sample, with its kernel at the mean specimen."""
    return TreeBrownian(sample, sample.coordinates.mean(0), kernel, settings.nugget)


def fit_brownian(sample: TreeSample, kernel: str, settings: TreeSettings) -> Result:
    """Fit Brownian motion, and compute each node's shape: means, 95 % bands and covariances of landmarks."""
    brownian = baseline(sample, kernel, settings)
    fit = brownian.fit()
    nodes = brownian.nodes(fit.theta)[: len(sample.tree)]
    mean = torch.stack([node.mean for node in nodes])
    variance = torch.stack([node.covariance.diagonal() for node in nodes]).clamp_min(0)[..., None]
    return {
        "names": list(brownian.names),
        "theta": fit.theta.tolist(),
        "low": (fit.theta - Z * fit.stderr).tolist(),
        "high": (fit.theta + Z * fit.stderr).tolist(),
        "log_likelihood": fit.log_likelihood,
        "converged": fit.converged,
        "mean": mean.tolist(),
        "lower": (mean - Z * variance.sqrt()).tolist(),
        "upper": (mean + Z * variance.sqrt()).tolist(),
        "covariance": (variance[..., None] * torch.eye(mean.shape[-1])).tolist(),
    }


def fit_diffusion(sample: TreeSample, settings: TreeSettings) -> Result:
    """Sample parameters and ancestors under the diffusion, and summarise them as `fit_brownian` does."""
    brownian, draws = sample_diffusion(sample, settings, "diffusion")
    theta = draws.theta.flatten(0, 1)
    low, middle, high = theta.quantile(torch.tensor([TAIL, 0.5, 1 - TAIL], dtype=theta.dtype), 0).tolist()
    return {
        "names": list(brownian.names),
        "theta": middle,
        "low": low,
        "high": high,
        **quality_of(draws),
        **summary_of(draws.nodes.flatten(0, 1).unflatten(-1, brownian.mean.shape)),
    }


def sample_diffusion(
    sample: TreeSample, settings: TreeSettings, stream: str
) -> tuple[TreeBrownian, TreeDraws]:
    """Draw from the posterior of the diffusion, on the noise of a named stream; return the baseline too."""
    brownian = baseline(sample, "gaussian", settings)
    make = model(sample.coordinates.shape[-1], settings.nugget)
    posterior = TreePosterior.near(brownian, make, brownian.fit())
    seed = derive_seed(settings.seed, "tree", stream)
    return brownian, posterior.sample(
        seed, chains=settings.chains, warmup=settings.draws // 2, draws=settings.draws
    )


def quality_of(draws: TreeDraws) -> Result:
    """Return effective sample sizes, R̂ and the share of accepted proposals."""
    return {**draws.diagnostics()._asdict(), "acceptance": draws.acceptance}


def summary_of(shapes: Tensor) -> Result:
    """Return means, 95 % bands and covariances of landmarks, of draws (N, ..., n, m)."""
    mean, quantiles = shapes.mean(0), torch.tensor([TAIL, 1 - TAIL], dtype=shapes.dtype)
    lower, upper = shapes.quantile(quantiles, 0)
    away = shapes - mean
    covariance = torch.einsum("s...a,s...b->...ab", away, away) / (len(shapes) - 1)
    return {
        "mean": mean.tolist(),
        "lower": lower.tolist(),
        "upper": upper.tolist(),
        "covariance": covariance.tolist(),
    }


def species_folds(tree: Tree, folds: int | None) -> list[tuple[int, ...]]:
    """Return the tips to hold out in turn, dealt into folds: five unless told, or each where there are fewer.

    Raises:
        UserError: a fold would be empty, or would leave fewer than two species.
    """
    tips = tree.tips
    folds = min(FOLDS, len(tips)) if folds is None else folds
    if not 2 <= folds <= len(tips):
        raise UserError(f"shapes: held-out must be from 2 to the {len(tips)} species, but is {folds}.")
    dealt = [tips[k::folds] for k in range(folds)]
    if len(tips) - max(map(len, dealt)) < 2:
        raise UserError(f"shapes: held-out {folds} leaves fewer than two of {len(tips)} species; raise it.")
    return dealt


def hold_out(species: Species, tips: Sequence[int], settings: TreeSettings) -> Result:
    """Predict the mean specimen of each of some species from all other species.

    The other species are aligned and fitted without them; the held-out specimens are then rotated onto the
    mean of the others.

    Returns:
        The quality of the chains, and under "species" for each tip: the shape to predict ("truth"), that of
        the nearest relatives ("nearest_relative"), and mean, lower and upper of each model.
    """
    out = [row for row, own in enumerate(species.tips) if own in tips]
    rest = [row for row in range(len(species.tips)) if row not in out]
    shapes, held = aligned(species.coordinates[rest], settings.keep_size, species.coordinates[out])
    kept = tuple(species.tips[row] for row in rest)
    own = {tip: held[[k for k, row in enumerate(out) if species.tips[row] == tip]] for tip in tips}
    counts = {tip: len(own[tip]) for tip in tips}
    found: list[Result] = [
        {"truth": own[tip].mean(0).tolist(), "nearest_relative": _nearest(species.tree, tip, kept, shapes)}
        for tip in tips
    ]
    sample = tree_sample(species.tree, kept, shapes)
    for kernel, name in zip(KERNELS, BROWNIAN, strict=True):
        for one, predicted in zip(found, _brownian(baseline(sample, kernel, settings), counts), strict=True):
            one[name] = predicted
    predictions, quality = _diffused(species, kept, shapes, counts, settings)
    for one, predicted in zip(found, predictions, strict=True):
        one["diffusion"] = predicted
    return {**quality, "species": found}


def _nearest(tree: Tree, tip: int, kept: Sequence[int], shapes: Tensor) -> list[list[float]]:
    """Return the mean shape of the species nearest to a tip; of all of them where several are as near."""
    distance = {other: tree.distance(tip, other) for other in dict.fromkeys(kept)}
    near = min(distance.values()) * (1 + 1e-9)
    means = [shapes[[own == other for own in kept]].mean(0) for other, far in distance.items() if far <= near]
    return [list(row) for row in torch.stack(means).mean(0).tolist()]


def _brownian(brownian: TreeBrownian, counts: dict[int, int]) -> list[Result]:
    """Predict the mean of so many specimens of tips without data; a tip's own distribution is exact."""
    theta = brownian.fit().theta
    nodes, found = brownian.nodes(theta), []
    for tip, count in counts.items():
        covariance = nodes[tip].covariance
        if brownian.sample.within:
            covariance = covariance + brownian.covariances(theta)[-1] / count
        half = Z * covariance.diagonal().sqrt()[:, None]
        mean = nodes[tip].mean
        found.append(
            {"mean": mean.tolist(), "lower": (mean - half).tolist(), "upper": (mean + half).tolist()}
        )
    return found


def _diffused(
    species: Species, kept: tuple[int, ...], shapes: Tensor, counts: dict[int, int], settings: TreeSettings
) -> tuple[list[Result], Result]:
    """Predict tips by the diffusion, from the nearest ancestors that the tree has without them."""
    tree, nodes, times = species.tree.without(tuple(counts))
    number = {tree.names[tip]: tip for tip in tree.tips}
    tips = tuple(number[species.tree.names[tip]] for tip in kept)
    stream = " ".join(species.tree.names[tip] for tip in counts)
    brownian, draws = sample_diffusion(tree_sample(tree, tips, shapes), settings, stream)
    theta, states = draws.theta.flatten(0, 1), draws.nodes.flatten(0, 1)
    sde = model(shapes.shape[-1], settings.nugget)(theta)
    random = generator(derive_seed(settings.seed, "tree", "predict", stream))
    found = []
    for count, node, time in zip(counts.values(), nodes, times, strict=True):
        grid = TimeGrid(time, max(2, round(STEPS * time / species.tree.height)))
        noise = torch.randn(grid.steps, *states[:, 0].shape, generator=random, dtype=states.dtype)
        end = euler_path(sde, states[:, node], grid, noise)[:, -1].unflatten(-1, shapes.shape[1:])
        if brownian.sample.within:
            factor = torch.linalg.cholesky(brownian.covariances(theta)[-1] / count)
            end = end + factor @ torch.randn(end.shape, generator=random, dtype=end.dtype)
        predicted = summary_of(end)
        found.append({part: predicted[part] for part in ("mean", "lower", "upper")})
    return found, quality_of(draws)
