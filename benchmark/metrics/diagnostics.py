"""Diagnostics on `PAIRS` fresh pairs (u, x) from the prior predictive, with `DRAWS` posterior draws for each.

They need no reference. The rank of u is the number of posterior draws below it, for each component.
"""

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from scipy.stats import kstest, kstwo
from torch import Tensor

from ...methods.rivals.baselines import robust_scale
from ...tasks.errors import NotFiniteError, UserError
from ...tasks.seeding import derive_seed, generator
from .fitted import DoesNotApplyError, Fitted, Row, offers, row
from .truth import Truth

Ranks = TypeVar("Ranks", Tensor, NDArray[Any])

PAIRS, DRAWS = 200, 100
LEVEL = 0.9
PREDICTIVE_DRAWS, PREDICTIVE_SCALE = 200, 1000
FARTHEST = 10.0  # of a draw that is simulated, in standard deviations of the prior
ROUNDING = 1e-9
OF_RANKS = frozenset({"sbc", "coverage"})


def calibrated(metrics: Iterable[str]) -> bool:
    """Return whether one of `metrics` looks at ranks, so that all are drawn."""
    return not OF_RANKS.isdisjoint(metrics)


def rank_shares(fitted: Fitted, r: int) -> Tensor:
    """Return the ranks of replicate r over `DRAWS`, (`PAIRS`, d): uniform if the posterior is exact."""
    u, _, drawn = _drawn(fitted, r)
    return _ranks(u, drawn).double() / DRAWS


def central(shares: Ranks, level: float) -> Ranks:
    """Return whether the central interval of `level` holds u, elementwise.

    `shares` are ranks divided by `DRAWS`, of any shape. The interval holds u if |rank/`DRAWS` − ½| ≤ level/2,
    up to rounding.
    """
    return abs(2 * (shares * DRAWS).round() - DRAWS) <= level * DRAWS + ROUNDING


def sbc(fitted: Fitted) -> Iterator[Row]:
    """Yield the p-value of simulation-based calibration for each replicate.

        min(1, d · min_i p_i)

    p_i is the p-value of the Kolmogorov–Smirnov test that the ranks of component i, divided by `DRAWS`, are
    uniform. The factor d is Bonferroni's correction for d components.

    Source: Talts et al., arXiv 1804.06788.
    """
    for r in range(len(fitted.posteriors)):
        p_values = [float(kstest(own, "uniform").pvalue) for own in rank_shares(fitted, r).numpy().T]
        yield row(min(1.0, len(p_values) * min(p_values)), None, replicate=r)


def coverage(fitted: Fitted) -> Iterator[Row]:
    """Yield the coverage of central intervals for each replicate.

    This is the share of pairs and components that the central interval of `LEVEL` holds.
    """
    for r in range(len(fitted.posteriors)):
        yield _share(central(rank_shares(fitted, r), LEVEL), r)


def expected_coverage(fitted: Fitted) -> Iterator[Row]:
    """Yield the coverage of regions of highest density for each replicate.

    This is the share of pairs where at least a share 1 − `LEVEL` of the draws has a lower density than u.

    Raises:
        DoesNotApplyError: the method has no density.
        UserError: `log_prob` returns the wrong shape.
        NotFiniteError: a density is NaN or +∞.

    Source: Hermans et al., A trust crisis in simulation-based inference?, 2022.
    """
    for r, posterior in enumerate(fitted.posteriors):
        if not offers(posterior, "log_prob"):
            raise DoesNotApplyError("the method has no density")
        u, x, drawn = _drawn(fitted, r)
        density = posterior.log_prob(torch.cat([u.unsqueeze(1), drawn], 1), x).double()
        if density.shape != (PAIRS, 1 + DRAWS):
            raise UserError(
                f"log_prob must return shape {(PAIRS, 1 + DRAWS)}, but returned {tuple(density.shape)}."
            )
        if (density.isnan() | density.isposinf()).any():
            raise NotFiniteError(f"densities of replicate {r} are not finite")
        density = density.unsqueeze(-1)
        yield _share(_ranks(density[:, 0], density[:, 1:]) / DRAWS >= 1 - LEVEL, r)


def tarp(fitted: Fitted) -> Iterator[Row]:
    """Yield the area between the coverage of random regions and their credibility α, for each replicate.

        ∫_½^1 P(f ≤ α) − α dα = ⅝ − E max(f, ½)

    f is the share of draws that are nearer than u to a random point from the prior N(0, I). It is uniform if
    the posterior is exact. The area is above 0 if the posterior is too wide, and below 0 if it is too narrow.

    The area does not see bias, because a shift moves some values of f up and others down. Where the exact
    posterior is N(x/2, ½) in one dimension, a shift by one standard deviation gives 0.004 and by two 0.022;
    a posterior 1.4 times too wide gives 0.037. For other posteriors a shift gives an area below 0. `tarp_gap`
    sees bias. Neither sees a posterior that ignores the data and equals the prior, because the random points
    do not depend on the data.

    sbi integrates over a grid of α from the least f to the largest, which is wrong for posteriors that are
    far too wide: it returns 0.131 at twice the width of a normal law in three dimensions, and 0.025 at ten
    times the width.

    Source: Lemos et al., arXiv 2302.03026.
    """
    levels = torch.arange(DRAWS + 1) / DRAWS
    for r in range(len(fitted.posteriors)):
        area = _area(_nearer(fitted, r) / DRAWS)
        yield row(area.mean(), area.std() / PAIRS**0.5, replicate=r, floor=float(_area(levels).mean()))


def tarp_gap(fitted: Fitted) -> Iterator[Row]:
    """Yield the largest gap between the coverage of random regions and their credibility, for each replicate.

        max_α |P(f ≤ α) − α|,    f = (k + U)/(`DRAWS` + 1)

    α is the credibility. k is the number of draws that are nearer than u to the random point of `tarp`. U is
    uniform on (0, 1), so that f is exactly uniform if the posterior is exact. The gap is then Kolmogorov's
    statistic of `PAIRS` uniform numbers, whose mean is the floor.

    The gap sees width and bias, but not which of them it is. Like `tarp`, it does not see a posterior that
    equals the prior. The standard error is the binomial √(P(1 − P)/`PAIRS`) of P = P(f ≤ α) at the largest
    gap. It is too large near the floor, where the spread is that of Kolmogorov's statistic.

    Source: Lemos et al., arXiv 2302.03026.
    """
    floor = float(kstwo(PAIRS).mean())
    for r in range(len(fitted.posteriors)):
        uniform = torch.rand(
            PAIRS, generator=generator(_seed(fitted.truth, "tarp gap", r)), dtype=torch.float64
        )
        f = ((_nearer(fitted, r) + uniform) / (DRAWS + 1)).numpy()
        found = kstest(f, "uniform")
        covered = float((f <= found.statistic_location).mean())
        stderr = math.sqrt(covered * (1 - covered) / PAIRS)
        yield row(float(found.statistic), stderr, replicate=r, floor=floor)


def _nearer(fitted: Fitted, r: int) -> Tensor:
    """Count the draws that are nearer than u to a random point from the prior, for each pair, (n,)."""
    u, _, drawn = _drawn(fitted, r)
    points = torch.randn(u.shape, generator=generator(_seed(fitted.truth, "tarp", r)), dtype=u.dtype)
    return ((drawn - points.unsqueeze(1)).norm(dim=2) < (u - points).norm(dim=1, keepdim=True)).sum(1)


def _area(share: Tensor) -> Tensor:
    return 0.625 - share.clamp_min(0.5)


def predictive_distance(fitted: Fitted) -> Iterator[Row]:
    """Yield the median distance between posterior predictive data and the observation.

        median over draws of √(mean_j ((x_j − x_oj)/scale_j)²)

    x is simulated at posterior draws of θ; scale_j is the spread of component j under the prior predictive.
    There is one value for each replicate and observation. The standard error is half the difference of the
    quantiles ½ ± 1/(2√n) of n draws. A draw farther than `FARTHEST` from the prior is moved there: with the
    rates of a bad posterior a simulation of events may never end.
    """
    truth = fitted.truth
    has_reference = "reference" in truth.task.capabilities
    for r, samples in enumerate(fitted.samples):
        for o, theta in enumerate(samples):
            place: dict[str, float] = {"replicate": r, "observation": o}
            if has_reference:
                place["floor"] = truth.once(("predictive", o), _reference_distance, truth, o, r)
            if torch.isfinite(theta).all():
                cause = "most data simulated at the posterior's samples are not finite"
                yield row(*_distance(truth, o, theta, r), cause=cause, **place)
            else:
                yield row(math.nan, None, cause="the posterior's samples are not finite", **place)


def _reference_distance(truth: Truth, o: int, r: int) -> float:
    return _distance(truth, o, truth.reference_sample(o, r).theta, r)[0]


def _drawn(fitted: Fitted, r: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return u, (n, d), x, (n, dim_x), and posterior draws, (n, DRAWS, d), of replicate r.

    All methods get the same pairs (u, x).
    """
    return fitted.once(("pairs", r), _draw, fitted, r)


def _draw(fitted: Fitted, r: int) -> tuple[Tensor, Tensor, Tensor]:
    truth = fitted.truth
    pairs = truth.task.simulate(PAIRS, _seed(truth, "pairs", r))
    drawn = fitted.posteriors[r].sample(DRAWS, pairs.x, _seed(truth, "draws", r)).detach().double()
    if not torch.isfinite(drawn).all():
        raise NotFiniteError(f"draws of replicate {r} are not finite")
    return pairs.u, pairs.x, drawn


def _ranks(u: Tensor, drawn: Tensor) -> Tensor:
    """Count the draws, (n, DRAWS, d), below u, (n, d): the ranks, (n, d)."""
    return (drawn < u.unsqueeze(1)).sum(1)


def _share(covered: Tensor, r: int) -> Row:
    """Return the row of the share of `covered`, (n, k).

    The floor is the value of an exact posterior, whose ranks are uniform on 0, …, DRAWS.
    """
    share = covered.double().mean(1)
    levels = torch.arange(DRAWS + 1) / DRAWS
    floor = float((levels >= 1 - LEVEL).double().mean())
    return row(share.mean(), share.std() / len(share) ** 0.5, replicate=r, floor=floor)


def _distance(truth: Truth, o: int, theta: Tensor, r: int) -> tuple[float, float]:
    """Return the median distance of data simulated at θ, (n, d), from observation o, and its error."""
    task, x_o = truth.task, truth.observations.x[o]
    # θ passes through u, as in `simulate_at`: an extreme draw may lie on the rounded edge of the support.
    u = task.prior.to_u(theta[:PREDICTIVE_DRAWS]).clamp(-FARTHEST, FARTHEST)
    random = generator(_seed(truth, "predictive", r, o))
    x = task.simulator(task.prior.to_theta(u), random).x.double()
    distance = ((x - x_o) / _predictive_scale(truth)).square().mean(1).sqrt().nan_to_num(torch.inf)
    half = 0.5 / len(x) ** 0.5
    low, high = (float(distance.quantile(q)) for q in (0.5 - half, 0.5 + half))
    return float(distance.median()), (high - low) / 2


@lru_cache(maxsize=8)
def _predictive_scale(truth: Truth) -> Tensor:
    """Return the spread of each component of data under the prior predictive, (dim_x,)."""
    return robust_scale(truth.task.simulate(PREDICTIVE_SCALE, _seed(truth, "predictive scale")).x.double())


def _seed(truth: Truth, *purpose: int | str) -> int:
    return derive_seed("diagnostics", truth.task.label, *purpose)
