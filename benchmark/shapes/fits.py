"""Shapes of organisms as diffusions of landmarks: what `graybench shapes` computes, as pure functions.

The specimens y of a group are the states, at time 1, of a diffusion of landmarks that starts in a shape x_0:

    y_m ~ p(X_1 = · | X_0 = x_0; a, ℓ),   θ = (log a, log ℓ),   all by bridges, see `methods.bridge`

`specimens.py` says how specimens are aligned and scaled. The position of a specimen carries no information,
so position, orientation and size are integrated out, see `methods.bridge.shape_likelihood`. The ablation
`as_aligned` takes the density of the aligned coordinates in all D dimensions instead: a and ℓ then come out
too small, as alignment has removed movement. The nugget is in units of a² and bounds the condition number of
k. It has little effect unless ℓ is so large that neighbours move together.

**A start that is held.** With start="mean", x_0 is the sample mean of the group and only θ is fitted. Many
coordinates make a joint fit rough, as the climb ends where its own bridges happen to weigh much. The standard
errors of x_0 are then those of the mean of M end points under the normal law with Σ(x_0), at the fitted θ.

**Held out.** Each fold fits θ again, with x_0 the mean of the training specimens of the group: the diffusion
has no drift, so the state is a martingale and the mean of the end points is unbiased for x_0.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from ...methods.bridge.inference import Fit, Likelihood, maximise
from ...methods.bridge.likelihood import BridgeSampler, Estimate
from ...methods.bridge.shape_likelihood import ShapeLikelihood
from ...methods.progress import report
from ...tasks.errors import UserError
from ...tasks.landmarks.diffusion import LandmarkDiffusion
from ...tasks.landmarks.procrustes import align, procrustes_distance
from ...tasks.plugin import require_choice, require_positive, require_whole
from ...tasks.sde.sde import TimeGrid
from ...tasks.seeding import derive_seed, generator
from ..analysis.statistics import Array
from ..running.pieces import Result
from .specimens import Specimens, aligned

PARAMETERS = ("a", "length")  # θ = their logarithms
STARTS = ("fitted", "mean")  # what x_0 of a group is
HALF_RADIUS = 0.5  # where the search for ℓ begins, in units of the rms radius
SEARCHES = (HALF_RADIUS, 0.2, 0.1)  # the same, where the normal law is searched
LENGTHS = (0.05, 5.0)  # within which the climb begins
PROFILE_POINTS, PROFILE_STDERRS, WIDEST_LOG = 17, 4.0, math.log(4)
DIFFERENCE = 0.02  # of log a and of log ℓ, for the Hessian
ROUNDING = 1e-12  # in units of the rms radius


@dataclass(frozen=True)
class Settings:
    """The options of the fits.

    Args:
        particles: the number of bridges for each specimen.
        steps: the number of steps of a bridge.
        seed: names the random streams.
        nugget: added to the diagonal of the kernel, in units of a².
        keep_size: scale all specimens by one factor, instead of each to size 1.
        as_aligned: take the density of the aligned coordinates as they are: an ablation.
        base: the approximation that guides bridges, see `BridgeSampler`.
        start: "fitted" fits x_0 with θ, "mean" holds x_0 at the mean shape.
    """

    particles: int = 16
    steps: int = 50
    seed: int = 0
    nugget: float = 1e-3
    keep_size: bool = False
    as_aligned: bool = False
    base: str = "auto"
    start: str = "fitted"

    def __post_init__(self) -> None:
        require_choice("shapes", "start", self.start, STARTS)
        for option in ("particles", "steps"):
            require_whole(f"shapes: {option}", getattr(self, option), 2)
        require_positive("shapes: nugget", self.nugget)

    @property
    def sampler(self) -> BridgeSampler:
        return BridgeSampler(base=self.base, particles=self.particles)


def model(dimensions: int, nugget: float) -> Callable[[Tensor], LandmarkDiffusion]:
    """Return the diffusion as a function of θ = (log a, log ℓ)."""
    return lambda theta: LandmarkDiffusion(theta[..., 0], theta[..., 1], dimensions, nugget)


def likelihood_of(
    shapes: Tensor,
    settings: Settings,
    stream: str,
    *,
    duration: float = 1.0,
    reference: Tensor | None = None,
    slack: float = 1.0,
) -> Likelihood:
    """Return the likelihood of the end points (M, n, m) of a diffusion, on the noise of a named stream.

    `reference` and `slack` are arguments of `ShapeLikelihood`.
    """
    m, grid = shapes.shape[-1], TimeGrid(duration, settings.steps)
    seed = derive_seed(settings.seed, "shapes", stream)
    make, y = model(m, settings.nugget), shapes.flatten(-2)
    if settings.as_aligned:
        return Likelihood(make, y, grid, settings.sampler, seed)
    return ShapeLikelihood(make, y, grid, settings.sampler, seed, m, settings.keep_size, reference, slack)


def start_of(movements: Tensor, duration: float, what: str) -> Tensor:
    """Return the θ where a search begins: a from the rms of movements, (…), and ℓ half the rms radius.

    Args:
        movements: how far landmarks moved within the duration.
        duration: the time that they took.
        what: what is fitted, for the message.

    Raises:
        UserError: nothing moved by more than rounding.
    """
    spread = (movements.square().mean() / duration).sqrt()
    if spread < ROUNDING:
        raise UserError(
            f"{what}: the shapes differ by no more than rounding, so no diffusion can be fitted; check "
            "whether specimens are copies of each other."
        )
    return torch.stack([spread.log(), torch.tensor(math.log(HALF_RADIUS), dtype=torch.float64)])


def slack_of(theta: Tensor, count: int) -> float:
    """Return how loosely x_0 is held where shapes do not determine it: as loosely as they do the rest."""
    return float(theta[0].exp()) / math.sqrt(count)


def fit(
    shapes: Tensor,
    settings: Settings,
    stream: str,
    free: tuple[str, ...] = ("theta", "x_0"),
    errors: bool = True,
) -> Result:
    """Fit (log a, log ℓ) to shapes (M, n, m), and the diffusion mean x_0 where it is free.

    `free` and `errors` are arguments of `maximise`; x_0 is free only if the settings have it fitted.

    Raises:
        UserError: the shapes are all the same.
    """
    mean = shapes.mean(0)
    theta, mean = start_of(shapes - mean, 1.0, stream), mean.flatten()
    slack = slack_of(theta, len(shapes))
    likelihood = likelihood_of(shapes, settings, stream, reference=mean, slack=slack)
    start = settings.start if "x_0" in free else "mean"
    free = ("theta",) if start == "mean" else free
    found = maximise(likelihood, _normal_maximum(likelihood, theta, mean), mean, free, errors)
    if start == "mean" and errors:
        found = replace(found, x_0_stderr=_stderr_of_mean(likelihood, found))
    return {**summary_of(found), "start": start}


def _stderr_of_mean(likelihood: Likelihood, found: Fit) -> Tensor:
    """Return the standard errors (D,) of x_0 in closed form; NaN if the likelihood has none."""
    information = likelihood.start_information(found.theta, found.x_0)
    if information is None:
        return torch.full_like(found.x_0, math.nan)
    return torch.linalg.inv(information).diagonal().sqrt()


def _normal_maximum(likelihood: Likelihood, theta: Tensor, x_0: Tensor) -> Tensor:
    """Return the θ that maximises `Likelihood.normal`, which costs next to nothing, with ℓ within LENGTHS.

    The highest of several searches counts. With ℓ far too large the nugget explains what neighbours do not
    share, and for close landmarks this is a maximum of its own.
    """

    def negative(point: Array) -> tuple[float, Array]:
        at = torch.from_numpy(point).requires_grad_()
        value = -likelihood.normal(at, x_0).sum()
        (slope,) = torch.autograd.grad(value, at)
        return float(value.detach()), slope.numpy()

    bounds = [(None, None), tuple(map(math.log, LENGTHS))]
    starts = [np.array([float(theta[0]), math.log(length)]) for length in SEARCHES]
    found = [minimize(negative, one, jac=True, method="L-BFGS-B", bounds=bounds) for one in starts]
    best = min(found, key=lambda one: one.fun if math.isfinite(one.fun) else math.inf)
    return torch.from_numpy(best.x)


def summary_of(found: Fit) -> Result:
    """Return a fit as plain numbers."""
    ess = found.estimate.ess_fraction
    return {
        "theta": found.theta.tolist(),
        "theta_stderr": found.theta_stderr.tolist(),
        "x_0": found.x_0.flatten().tolist(),
        "x_0_stderr": found.x_0_stderr.flatten().tolist(),
        "log_likelihood": found.log_likelihood,
        "log_likelihood_stderr": float(found.estimate.stderr.square().sum().sqrt()),
        "ess_fraction": float(ess.mean()),
        "ess_least": float(ess.min()),
        "n": len(ess),
        "converged": found.converged,
        "evaluations": found.evaluations,
    }


def _as_lists(estimates: Sequence[Estimate]) -> Result:
    """Return estimates (S,) under each group as lists: a row for each specimen, a column for each group."""
    return {
        "value": torch.stack([e.value for e in estimates], 1).tolist(),
        "stderr": torch.stack([e.stderr for e in estimates], 1).tolist(),
        "ess_fraction": torch.stack([e.ess_fraction for e in estimates], 1).tolist(),
    }


def matrix(shapes: Tensor, fits: Sequence[Result], settings: Settings, stream: str) -> Result:
    """Compute log-likelihoods of shapes (S, n, m) under each fit, on noise that no fit has used.

    A specimen has the same noise under all fits, and all have the base that is chosen for the first.
    """
    points = [[torch.tensor(one[part], dtype=torch.float64) for part in ("theta", "x_0")] for one in fits]
    likelihood, found = likelihood_of(shapes, settings, stream).settled(*points[0]), []
    with torch.no_grad():
        for done, (theta, x_0) in enumerate(points):
            report("group", done, len(fits) + 1)
            found.append(likelihood(theta, x_0))
    return _as_lists(found)


def folds_of(groups: Sequence[str], folds: int, seed: int) -> list[int]:
    """Return the fold of each specimen; every group is spread over the folds as evenly as possible.

    Raises:
        UserError: there are fewer than two folds, or more than specimens.
    """
    require_whole("shapes: held-out", folds, 2)
    if folds > len(groups):
        raise UserError(f"shapes: held-out must be at most the {len(groups)} specimens, but is {folds}.")
    random = generator(derive_seed(seed, "shapes", "folds"))
    fold, place = [0] * len(groups), 0
    for group in dict.fromkeys(groups):
        rows = [row for row, own in enumerate(groups) if own == group]
        for k in torch.randperm(len(rows), generator=random).tolist():
            fold[rows[k]] = place % folds
            place += 1
    return fold


def held_out(specimens: Specimens, fold: Sequence[int], which: int, settings: Settings) -> Result:
    """Fit every group without one fold, and score that fold by likelihood and by Procrustes distance.

    Args:
        specimens: the specimens, not aligned.
        fold: the fold of each specimen.
        which: the fold that is held out.
        settings: the options of the fits.

    Returns:
        What `matrix` returns for the specimens of the fold, and "distance": to each group's own Procrustes
        mean, at size 1 whether sizes are kept or not.

    Raises:
        UserError: the other specimens of a group are all the same.
    """
    inside = torch.tensor([own == which for own in fold])
    kept = [group for group, out in zip(specimens.groups, inside.tolist(), strict=True) if not out]
    raw, out = specimens.shapes[~inside], specimens.shapes[inside]
    shapes, rest = aligned(raw, settings.keep_size, out)
    fits, distances = [], []
    for group in specimens.group_names:
        rows = [row for row, own in enumerate(kept) if own == group]
        fits.append(fit(shapes[rows], settings, f"fold {which} {group}", ("theta",), errors=False))
        distances.append(procrustes_distance(align(raw[rows]).mean, out))
    scores = matrix(rest, fits, settings, f"fold {which}")
    return {**scores, "distance": torch.stack(distances, 1).tolist()}


def others(specimens: Specimens, also: Tensor, fits: Sequence[Result], settings: Settings) -> Result:
    """Score other specimens (S, n, m), not aligned, as `held_out` does, under the groups of all specimens.

    Args:
        specimens: the specimens of the groups, not aligned.
        also: the other specimens.
        fits: the fit of each group.
        settings: the options of the fits.
    """
    _, rest = aligned(specimens.shapes, settings.keep_size, also)
    means = [align(specimens.of(group)).mean for group in specimens.group_names]
    distances = [procrustes_distance(mean, also).tolist() for mean in means]
    return {
        **matrix(rest, fits, settings, "also"),
        "distance": [list(row) for row in zip(*distances, strict=True)],
    }


def profile(shapes: Tensor, found: Result, settings: Settings, stream: str) -> Result:
    """Compute the profile likelihoods of log a and of log ℓ, each maximised over the other to second order.

    The maximum over θ_j lies on the line θ_j = θ̂_j − (H_jk/H_jj)(θ_k − θ̂_k), where H is the Hessian at the
    estimate, by differences. x_0 is held. The likelihood uses the fit's own noise, so it is highest at the
    estimate. The grid reaches four standard errors to both sides, at most a factor of four.
    """
    rows: list[Result] = []
    top, x_0 = (torch.tensor(found[part], dtype=torch.float64) for part in ("theta", "x_0"))
    likelihood = likelihood_of(shapes, settings, stream).settled(top, x_0)
    with torch.no_grad():
        highest = float(likelihood(top, x_0).value.sum())
        slopes = _slopes(lambda theta: float(likelihood(theta, x_0).value.sum()), top)
    for k, name in enumerate(PARAMETERS):
        stderr = found["theta_stderr"][k]
        reach = min(PROFILE_STDERRS * stderr, WIDEST_LOG) if math.isfinite(stderr) else WIDEST_LOG
        for shift in torch.linspace(-reach, reach, PROFILE_POINTS, dtype=torch.float64).tolist():
            report("point", len(rows), 2 * PROFILE_POINTS)
            theta = top.clone()
            theta[k] += shift
            theta[1 - k] += slopes[k] * shift
            with torch.no_grad():
                here = likelihood(theta, x_0)
            rows.append(
                {
                    "parameter": name,
                    "value": float(theta[k].exp()),
                    "log_likelihood": float(here.value.sum()) - highest,
                    "stderr": float(here.stderr.square().sum().sqrt()),
                    "ess_fraction": float(here.ess_fraction.mean()),
                    "ess_least": float(here.ess_fraction.min()),
                }
            )
    return {"rows": rows}


def _slopes(value: Callable[[Tensor], float], top: Tensor) -> tuple[float, float]:
    """Return the slopes of the best log ℓ over log a and of the best log a over log ℓ, by differences.

    A slope is 0 where the likelihood has no highest point along the other parameter, so that it is held.
    """
    a, length = DIFFERENCE * torch.eye(2, dtype=torch.float64)
    at = {(i, j): value(top + i * a + j * length) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    in_a, in_length = (at[1, 0] - 2 * at[0, 0] + at[-1, 0]), (at[0, 1] - 2 * at[0, 0] + at[0, -1])
    mixed = (at[1, 1] - at[1, -1] - at[-1, 1] + at[-1, -1]) / 4
    over_a, over_length = (-mixed / curved if curved < 0 else 0.0 for curved in (in_length, in_a))
    return over_a, over_length


def bridge_paths(found: Result, end: Tensor, settings: Settings, count: int) -> Tensor:
    """Draw bridges from a group's x_0 to a shape (n, m) with its parameters: (count, K + 1, n, m)."""
    sampler, grid = BridgeSampler(particles=count), TimeGrid(1.0, settings.steps)
    theta, x_0 = (torch.tensor(found[part], dtype=torch.float64) for part in ("theta", "x_0"))
    y = end.flatten().unsqueeze(0)
    noise = sampler.noise(grid, y.shape[:-1], y.shape[-1], derive_seed(settings.seed, "shapes", "drawn"))
    with torch.no_grad():
        drawn = sampler.bridges(
            model(end.shape[-1], settings.nugget)(theta), x_0, y, grid, noise, keep_paths=True
        )
    assert drawn.paths is not None
    return drawn.paths[0].unflatten(-1, end.shape)
