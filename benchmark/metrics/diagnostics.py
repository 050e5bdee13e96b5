"""Diagnostics of posteriors on fresh pairs (u, x) from the prior predictive: no reference is needed.

    sbc                  p-value of Kolmogorov-Smirnov tests of the ranks of u among posterior draws, uniform
                         for a calibrated posterior: the least over parameters, times d  [Talts et al. 2018]
    coverage             share of parameters within their central 90 % intervals
    expected_coverage    share of u within the 90 % region of highest density           [Hermans et al. 2022]
    tarp                 area between the coverage of random regions and their credibility from ½ up: above 0
                         too wide, below 0 too narrow or beside the truth                 [Lemos et al. 2023]
    predictive_distance  median distance from the observation of data simulated at posterior draws, each
                         component in median absolute deviations of the prior predictive

Ranks and tests are sbi's own. With f the share of draws that are nearer than u to a random point from the
prior N(0, I),

    tarp = ∫_½^1 P(f ≤ α) − α dα = ⅝ − E max(f, ½).

sbi's own has a grid of α from the least f to the largest, and so a wrong area for a posterior that is far too
wide: 0.131 at twice the width of a normal law in three dimensions, and 0.025 at ten times.

`floor` is what an exact posterior gives on average; for the last it is what the reference gives, where there
is one, and the first has none, as every p-value is as likely.
"""

from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ...methods.method import Posterior
from ...methods.rivals.baselines import robust_scale
from ...methods.rivals.optional_package import import_for
from ...methods.rivals.private_randomness import quiet
from ...tasks.errors import NotFiniteError, UserError
from ...tasks.seeding import derive_seed, generator
from .metric import DoesNotApplyError, Fitted, Row, row
from .truth import Truth

PAIRS, DRAWS = 200, 100
LEVEL = 0.9
PREDICTIVE_DRAWS, PREDICTIVE_SCALE = 200, 1000


def sbc(fitted: Fitted) -> Iterator[Row]:
    """Yield the p-value of each replicate."""
    for r in range(len(fitted.posteriors)):
        u, x, drawn = _drawn(fitted, r)
        p_values = _sbi().sbc.check_uniformity_frequentist(_ranks(u, x, drawn), DRAWS)
        yield row(min(1.0, u.shape[1] * float(p_values.min())), None, replicate=r)


def coverage(fitted: Fitted) -> Iterator[Row]:
    """Yield the share of each replicate."""
    for r in range(len(fitted.posteriors)):
        ranks = _ranks(*_drawn(fitted, r))
        yield _share((ranks / DRAWS - 0.5).abs() <= LEVEL / 2, r)


def expected_coverage(fitted: Fitted) -> Iterator[Row]:
    """Yield the share of each replicate: where at least a tenth of the draws have less density than u."""
    for r, posterior in enumerate(fitted.posteriors):
        if type(posterior).log_prob is Posterior.log_prob:
            raise DoesNotApplyError("the method has no density")
        u, x, drawn = _drawn(fitted, r)
        density = posterior.log_prob(torch.cat([u.unsqueeze(1), drawn], 1), x).double()
        if density.shape != (PAIRS, 1 + DRAWS):
            raise UserError(
                f"log_prob must give the shape {(PAIRS, 1 + DRAWS)}, but gave {tuple(density.shape)}."
            )
        if (density.isnan() | density.isposinf()).any():
            raise NotFiniteError(f"densities of replicate {r} are not finite")
        density = density.unsqueeze(-1)
        yield _share(_ranks(density[:, 0], x, density[:, 1:]) / DRAWS >= 1 - LEVEL, r)


def tarp(fitted: Fitted) -> Iterator[Row]:
    """Yield the area of each replicate."""
    levels = torch.arange(DRAWS + 1) / DRAWS
    for r in range(len(fitted.posteriors)):
        u, _, drawn = _drawn(fitted, r)
        points = torch.randn(u.shape, generator=generator(_seed(fitted.truth, "tarp", r)), dtype=u.dtype)
        nearer = (drawn - points.unsqueeze(1)).norm(dim=2) < (u - points).norm(dim=1, keepdim=True)
        area = _area(nearer.double().mean(1))
        yield row(area.mean(), area.std() / PAIRS**0.5, replicate=r, floor=float(_area(levels).mean()))


def _area(share: Tensor) -> Tensor:
    return 0.625 - share.clamp_min(0.5)


def predictive_distance(fitted: Fitted) -> Iterator[Row]:
    """Yield the distance of each replicate and observation, with the standard error of a median."""
    truth = fitted.truth
    has_reference = "reference" in truth.task.capabilities
    for r, samples in enumerate(fitted.samples):
        for o, theta in enumerate(samples):
            value, stderr = float("nan"), float("nan")
            if torch.isfinite(theta).all():
                value, stderr = _distance(truth, o, theta, r)
            floor = {}
            if has_reference:
                if ("predictive", o) not in truth.floors:
                    truth.floors["predictive", o] = _distance(truth, o, truth.reference_sample(o).theta, r)[0]
                floor = {"floor": truth.floors["predictive", o]}
            yield row(value, stderr, replicate=r, observation=o, **floor)


class _Drawn:
    """Draws (pairs, n, d) in the form in which sbi's diagnostics ask a posterior for them."""

    def __init__(self, drawn: Tensor) -> None:
        self.drawn = drawn

    def sample_batched(self, *_: Any, **__: Any) -> Tensor:
        return self.drawn.transpose(0, 1)


def _sbi() -> ModuleType:
    return import_for("the metric", "sbi.diagnostics")


def _drawn(fitted: Fitted, r: int) -> tuple[Tensor, Tensor, Tensor]:
    """Give pairs u (n, d) and x, the same for every method, and draws (n, DRAWS, d) of replicate r."""
    if r not in fitted.pairs:
        truth = fitted.truth
        pairs = truth.task.simulate(PAIRS, _seed(truth, "pairs", r))
        drawn = fitted.posteriors[r].sample(DRAWS, pairs.x, _seed(truth, "draws", r)).detach().double()
        if not torch.isfinite(drawn).all():
            raise NotFiniteError(f"draws of replicate {r} are not finite")
        fitted.pairs[r] = pairs.u, pairs.x, drawn
    return fitted.pairs[r]


def _ranks(u: Tensor, x: Tensor, drawn: Tensor) -> Tensor:
    """Give how many draws are below u, for each pair and component: (n, d)."""
    with quiet():
        ranks, _ = _sbi().run_sbc(u, x, _Drawn(drawn), num_posterior_samples=DRAWS, show_progress_bar=False)
    return ranks


def _share(covered: Tensor, r: int) -> Row:
    """Make the row of a share of pairs; an exact posterior's ranks are uniform on 0 … DRAWS."""
    share = covered.double().mean(1)
    levels = torch.arange(DRAWS + 1) / DRAWS
    floor = float((levels >= 1 - LEVEL).double().mean())
    return row(share.mean(), share.std() / len(share) ** 0.5, replicate=r, floor=floor)


def _distance(truth: Truth, o: int, theta: Tensor, r: int) -> tuple[float, float]:
    """Give the median distance from observation o of data simulated at draws of θ, and its standard error."""
    task, x_o = truth.task, truth.observations.x[o]
    # By way of u, as in `simulate_at`, but a wild draw may be where θ is rounded to the edge of its support.
    u = task.prior.to_u(theta[:PREDICTIVE_DRAWS])
    random = generator(_seed(truth, "predictive", r, o))
    x = task.simulator(task.prior.to_theta(u), random).x.double()
    distance = ((x - x_o) / _predictive_scale(truth)).square().mean(1).sqrt().nan_to_num(torch.inf)
    half = 0.5 / len(x) ** 0.5
    low, high = (float(distance.quantile(q)) for q in (0.5 - half, 0.5 + half))
    return float(distance.median()), (high - low) / 2


@lru_cache(maxsize=8)
def _predictive_scale(truth: Truth) -> Tensor:
    """Give the scale of each component of data from the prior predictive, (dim_x,)."""
    return robust_scale(truth.task.simulate(PREDICTIVE_SCALE, _seed(truth, "predictive scale")).x.double())


def _seed(truth: Truth, *purpose: int | str) -> int:
    return derive_seed("diagnostics", truth.task.label, *purpose)
