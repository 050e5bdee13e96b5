"""Checks of a method's score: against the exact one, the method's samples, and larger budgets."""

import math

import numpy as np
import torch
from torch import Tensor

from ...methods.method import Posterior
from ...methods.score.schedule import alpha_sigma_at
from ...tasks.seeding import generator
from ..analysis.statistics import Array, ratio_interval
from ..metrics.fitted import offers
from .bench import DRAWS, Bench, beyond, covariances, rule
from .evidence import Evidence, NotApplicableError, Statistic

TIMES = (0.01, 0.05, 0.2, 0.5, 0.9)  # of the comparison with the exact score
OWN_TIMES = (0.05, 0.2, 0.5)  # of Stein's identity at the method's own samples
REPLICATES, FACTOR, GROWTH = 3, 8, 1.5
SCORE_ERROR = 0.1  # tolerated share of the exact score's mean square
# tolerated errors of Stein's identity, for u_t with covariance I: of the mean over components and times, and
# of one component at one time
STEIN, STEIN_OF_ONE = 0.1, 0.25
A_MULTIPLE = 0.1  # the share of ŝ² that is not a multiple of s, up to which ŝ is called a multiple
# factors by which a score may be wrong, as powers of α(t) and σ(t)
FACTORS = {"": (0, 0), "σ(t)": (0, 1), "σ(t)²": (0, 2), "1/σ(t)": (0, -1), "α(t)": (1, 0), "1/α(t)": (-1, 0)}


def score(bench: Bench) -> Evidence:
    """Check the score ŝ against the exact score s, and against the method's own samples.

    At each of `TIMES`, E‖ŝ − s‖² may be up to `SCORE_ERROR` E‖s‖² over exact draws u_t, for posteriors with
    strong dependence. For the method's own samples after diffusion, Stein's identity −E[ŝ_i w_j] = δ_ij and
    E ŝ_i = 0 holds at any budget. Here w is u_t in coordinates in which it has the mean 0 and the covariance
    I, and ŝ is in the same coordinates.
    """
    require_score(bench)
    there = bench.dependent
    errors, own, pairs, products = [], [], {}, []
    for t in OWN_TIMES:
        statistics, product = _stein(bench, t)
        own += statistics
        products.append(product)
    for t in TIMES:
        scores = _scores(there, there.posterior, t)
        estimate, exact = (torch.cat(part) for part in zip(*scores, strict=True))
        pairs[t] = estimate, exact
        error = float((estimate - exact).square().sum() / exact.square().sum())
        errors.append(rule(f"t = {t}: error {error:.2g} of the exact score", error <= SCORE_ERROR))
    over_all = torch.stack(products).mean(0)
    name = f"−E ŝᵀw/d is {over_all.mean():.2f}, not 1"
    own.append(beyond(name, over_all.mean() - 1, STEIN, over_all.std() / len(over_all) ** 0.5))
    if all(statistic.z == 0 for statistic in own):
        diagnosis = "The score follows the method's samples, but not the exact posterior: see moments."
    else:
        diagnosis = _diagnosis(pairs)
    return Evidence([*errors, *own], diagnosis, bench.n)


def require_score(bench: Bench) -> None:
    """Raise `NotApplicableError` if the method's posteriors have no score."""
    if not offers(bench.posterior, "score"):
        raise NotApplicableError("the method's posteriors have no score")


def _stein(bench: Bench, t: float) -> tuple[list[Statistic], Tensor]:
    """Test Stein's identity at the method's diffused samples; also return −ŝᵀw/d of each, (m DRAWS,)."""
    alpha, sigma = alpha_sigma_at(t)
    noise = torch.randn(
        bench.draws.shape, generator=generator(bench.seed_of("own", str(t))), dtype=torch.float64
    )
    u_t = alpha * bench.draws + sigma * noise
    estimate = bench.posterior.score(u_t.to(bench.x_o.dtype), bench.x_o, t).double()
    root = torch.linalg.cholesky(covariances(u_t))
    w = torch.linalg.solve_triangular(root, (u_t - u_t.mean(1, keepdim=True)).mT, upper=False).mT
    scaled, size = estimate @ root, len(w) * DRAWS
    found = []
    for i in range(w.shape[2]):
        terms = scaled[..., i].flatten()
        found.append(beyond(f"t = {t}: mean of ŝ_{i}", terms.mean(), STEIN_OF_ONE, terms.std() / size**0.5))
        for j in range(w.shape[2]):
            terms = -(scaled[..., i] * w[..., j]).flatten()
            value, wanted = terms.mean(), float(i == j)
            name = f"t = {t}: −E ŝ_{i} w_{j} is {value:.2f}, not {wanted:.0f}"
            found.append(beyond(name, value - wanted, STEIN_OF_ONE, terms.std() / size**0.5))
    return found, -(scaled * w).mean(2).flatten()


def _diagnosis(pairs: dict[float, tuple[Tensor, Tensor]]) -> str:
    """Return the likely cause of a wrong score, from ŝ and s, (n, d) each, at each time."""
    factors = {t: float((a * b).sum() / b.square().sum()) for t, (a, b) in pairs.items()}
    for t, (estimate, exact) in pairs.items():
        rest = (estimate - factors[t] * exact).square().sum() / estimate.square().sum()
        if not rest <= A_MULTIPLE:
            return (
                "The score is not the posterior's: does it include the prior, use x, and belong to u_t at "
                "time t?"
            )
    for name, power in FACTORS.items():
        scales = [
            factors[t] / math.prod(f**p for f, p in zip(alpha_sigma_at(t), power, strict=True)) for t in pairs
        ]
        c = sum(scales) / len(scales)
        if all(abs(scale - c) <= 0.1 * abs(c) for scale in scales):
            return _cause(c, name)
    listed = ", ".join(f"{factor:.2g} at t = {t}" for t, factor in factors.items())
    return f"The score is a multiple of the exact one that changes with t: {listed}."


def _cause(c: float, factor_of_t: str) -> str:
    """Return a sentence for ŝ ≈ c · factor_of_t · s."""
    if factor_of_t:
        return f"The score is {c:.2g} {factor_of_t} times the exact one: the scaling by t is wrong."
    if abs(c - 1) <= SCORE_ERROR:
        return "The samples do not follow the score, which is nearly exact."
    if abs(c + 1) <= SCORE_ERROR:
        return "The score has the wrong sign."
    return f"The score is {c:.2g} times the exact one."


def budget(bench: Bench) -> Evidence:
    """Check that the score error does not grow by the factor `GROWTH` with `FACTOR` times the simulations.

    An error that is equal at both budgets fails in less than 1 of 1,000 runs, if it varies by 20 % between
    replicates and by a third between observations. An error that triples fails in most runs.
    """
    require_score(bench)
    errors = [
        np.array([score_errors(bench, bench.fit(f"replicate {r}", n)) for r in range(REPLICATES)])
        for n in (bench.n, FACTOR * bench.n)
    ]
    before, after = errors
    name = f"score error {before.mean():.2g}, and {after.mean():.2g} with {FACTOR} times the budget"
    kept = rule(name, not grows(before, after))
    return Evidence(
        [kept], "The method gets worse with more data: it memorises, or stops too early.", bench.n
    )


def grows(before: Array, after: Array) -> bool:
    """Return whether errors (replicates, observations) grow by more than `GROWTH`, or are not finite."""
    if not np.isfinite([before, after]).all():
        return True
    return bool(ratio_interval(after, before).low > GROWTH)  # NaN, from 0/0, is not larger


def score_errors(bench: Bench, posterior: Posterior) -> Array:
    """Return σ² E‖ŝ − s‖²/d of each observation, averaged over `TIMES`."""
    errors = [
        [alpha_sigma_at(t)[1] ** 2 * float((a - b).square().mean()) for a, b in _scores(bench, posterior, t)]
        for t in TIMES
    ]
    return np.mean(errors, 0)


def _scores(bench: Bench, posterior: Posterior, t: float) -> list[tuple[Tensor, Tensor]]:
    """Return ŝ and s at exact draws u_t for each observation, (DRAWS, d) each."""
    alpha, sigma = alpha_sigma_at(t)
    found = []
    for o, x in enumerate(bench.x_o):
        reference = bench.task.reference(x)
        u_0 = reference.sample(DRAWS, bench.seed_of("score", o, str(t)))
        noise = torch.randn(u_0.shape, generator=generator(bench.seed_of("noise", o, str(t))))
        u_t = alpha * u_0 + sigma * noise.double()
        estimate = posterior.score(u_t.unsqueeze(0), x.unsqueeze(0), t)[0].double()
        found.append((estimate, reference.diffused_score(u_t, alpha, sigma)))
    return found
