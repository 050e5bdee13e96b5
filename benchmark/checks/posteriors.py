"""Checks of a method's samples and densities against exact posteriors, and against each other.

Samples u of the posterior of one observation are compared in the coordinates w = L⁻¹ (u − m), where m and
L Lᵀ are the mean and the covariance of the exact posterior. Exact w have the mean 0 and the covariance I.
"""

import math

import numpy as np
import torch
from scipy.stats import multivariate_t
from torch import Tensor

from ...tasks.seeding import generator
from ..metrics.fitted import offers
from .bench import DRAWS, Bench, beyond, covariances
from .evidence import Evidence, NotApplicableError, Statistic

PAIRS, PAIR_DRAWS = 600, 50  # of the calibration
DIRECTIONS = 3  # number of random linear combinations of u in the calibration
OVERCONFIDENCE = 0.15  # tolerated error of the mean square of r: the standard deviation may be 7 % too small
BIAS = 0.2  # tolerated mean of r, and mean of w over all observations
# tolerated errors of the logarithm of a standard deviation: over all observations, with strong dependence,
# and as a root mean square over observations
WIDTH, WIDTH_IN_DEPENDENCE, VARIED_WIDTH = 0.07, 0.3, 0.15
BIAS_OF_ONE, WIDTH_OF_ONE = 0.4, 0.25  # the same, for the posterior of one observation
SHAPE = 0.03  # tolerated error of E|v|, of 0.80 for a Gaussian v with variance 1
TREND, AUTOCORRELATION = 0.1, 0.3
NEAR, SHARE_NEAR = 0.02, 0.1
OWN_POINTS, POINTS, FREEDOM = 40, 160, 5  # for the density: samples, and points of the integrals
LOG_INTEGRAL, MOMENT, SURPRISE = 0.1, 0.1, 0.1


def calibration(bench: Bench) -> Evidence:
    """Check the calibration on fresh pairs (u, x) from the prior predictive.

    Let v = aᵀu be a component of u or a random linear combination. With the mean m and the standard
    deviation s of L posterior draws of v at x, r = (v − m)/s has the mean 0 and, for a Gaussian posterior,
    the mean square (1 + 1/L)(L − 1)/(L − 3).
    """
    pairs = bench.task.simulate(PAIRS, bench.seed_of("pairs"))
    samples = bench.posterior.sample(PAIR_DRAWS, pairs.x, bench.seed_of("calibration")).double()
    d = pairs.u.shape[1]
    random = torch.randn(DIRECTIONS, d, generator=generator(bench.seed_of("directions")), dtype=torch.float64)
    directions = torch.cat([torch.eye(d, dtype=torch.float64), random / random.norm(dim=1, keepdim=True)])
    truth, drawn = pairs.u @ directions.T, samples @ directions.T
    r = (truth - drawn.mean(1)) / drawn.std(1).clamp_min(1e-12)
    excess = r.square() - (1 + 1 / PAIR_DRAWS) * (PAIR_DRAWS - 1) / (PAIR_DRAWS - 3)
    found = []
    for direction, of_r, of_square in zip(directions, r.T, excess.T, strict=True):
        name = f"along {_combination(direction)}"
        found.append(beyond(f"mean of r {name}", of_r.mean(), BIAS, of_r.std() / PAIRS**0.5))
        square = of_square.mean(), OVERCONFIDENCE, of_square.std() / PAIRS**0.5
        found.append(beyond(f"mean square of r {name}", *square))
    over_all = excess.mean(1)
    square = over_all.mean(), OVERCONFIDENCE, over_all.std() / PAIRS**0.5
    found.append(beyond("mean square of r along all", *square))
    return Evidence(
        found,
        "A mean square that is too large means overconfidence; one that is too small, underconfidence.",
        bench.n,
    )


def moments(bench: Bench) -> Evidence:
    """Check means, standard deviations and dependence of each posterior, and of all together.

    The standard deviations are those in the narrowest and in the widest direction of w. The shape of the
    marginals is checked by E|v|, with v the components of w, standardised for each observation: it is smaller
    for heavy tails, and larger for light ones.
    """
    w = bench.whitened
    m, d = len(w), w.shape[2]
    found = []
    for o, (mean, covariance) in enumerate(zip(w.mean(1), covariances(w), strict=True)):
        for i in range(d):
            name = f"observation {o}, mean of w_{i}"
            found.append(beyond(name, mean[i], BIAS_OF_ONE, covariance[i, i].sqrt() / DRAWS**0.5))
        found += _extreme_spreads(f"observation {o}", covariance, bench.roots[o], WIDTH_OF_ONE, DRAWS)
    for i in range(d):
        spread = w[..., i].std() / (m * DRAWS) ** 0.5
        found.append(beyond(f"all observations, mean of w_{i}", w[..., i].mean(), BIAS, spread))
    pooled = covariances(w).mean(0)
    found += _extreme_spreads("all observations", pooled, bench.roots[0], WIDTH, m * DRAWS)
    squares = (torch.logdet(covariances(w)) / (2 * d)).square()
    name = f"root mean square error {squares.mean().sqrt():.2f} of log-widths of single observations"
    found.append(beyond(name, squares.mean(), VARIED_WIDTH**2, squares.std() / m**0.5))
    own, exact = (_standardised(u).abs() for u in (bench.draws, bench.exact_draws))
    name = f"all observations, mean of |v| is {own.mean():.2f}, not {exact.mean():.2f}"
    found.append(beyond(name, own.mean() - exact.mean(), SHAPE, own.std() / own.numel() ** 0.5))
    return Evidence(found, _diagnosis_of_moments(w.mean(1), pooled), bench.n)


def _diagnosis_of_moments(means: Tensor, pooled: Tensor) -> str:
    """Return the likely cause, from the means (m, d) of w and its mean covariance (d, d)."""
    if means.square().mean().sqrt() > BIAS_OF_ONE:
        return "Means differ from the exact posteriors': does the method use x?"
    narrowest, widest = (float(v) for v in torch.linalg.eigvalsh(pooled).clamp_min(0).sqrt()[[0, -1]])
    if not widest > 0:
        return "All samples of an observation are equal."
    if math.log(widest) < -WIDTH:
        return f"Samples are too narrow: {narrowest:.2f} to {widest:.2f} times the exact standard deviations."
    if math.log(narrowest) > WIDTH:
        return f"Samples are too wide: {narrowest:.2f} to {widest:.2f} times the exact standard deviations."
    return (
        "Mean, spread or shape differ from the exact posterior, for some observations or in some directions."
    )


def _standardised(samples: Tensor) -> Tensor:
    """Return samples (m, n, d) with mean 0 and variance 1 for each observation and component."""
    return (samples - samples.mean(1, keepdim=True)) / samples.std(1, keepdim=True).clamp_min(1e-12)


def dependence(bench: Bench) -> Evidence:
    """Check the standard deviations in every direction of posteriors with strong dependence.

    A wrong dependence makes the samples far too wide in the narrowest directions of the posterior. So the
    tolerance `WIDTH_IN_DEPENDENCE` can be generous.
    """
    there = bench.dependent
    w = there.whitened
    pooled = covariances(w).mean(0)
    return Evidence(
        _extreme_spreads("all observations", pooled, there.roots[0], WIDTH_IN_DEPENDENCE, len(w) * DRAWS),
        "Samples lack the dependence between parameters, unless all are too narrow or too wide: are "
        "correlations kept, and the components of one sample drawn together?",
        there.n,
    )


def order(bench: Bench) -> Evidence:
    """Check that samples of one observation are in no order: no trend along the rows, no autocorrelation.

    The columns are the components of w and |w|². A Markov chain may have an autocorrelation of
    `AUTOCORRELATION`.
    """
    w = bench.whitened
    columns = _standardised(torch.cat([w, w.square().sum(2, keepdim=True)], 2))
    index = torch.arange(DRAWS, dtype=torch.float64)
    trend = torch.einsum("n,onk->ok", (index - index.mean()) / index.std(), columns) / (DRAWS - 1)
    neighbours = (columns[:, 1:] * columns[:, :-1]).mean(1)
    spread = (DRAWS * len(w)) ** -0.5
    found = []
    for k, name in enumerate([*(f"w_{i}" for i in range(w.shape[2])), "|w|²"]):
        for text, value, tolerance in (
            (f"correlation of {name} with the row", trend[:, k].mean(), TREND),
            (f"correlation of {name} in neighbouring rows", neighbours[:, k].mean(), AUTOCORRELATION),
        ):
            found.append(beyond(f"{text}: {value:.2f}", value, tolerance, spread))
    return Evidence(found, "Samples depend on their row: are they sorted, or steps of one chain?", DRAWS)


def memory(bench: Bench) -> Evidence:
    """Check that samples do not repeat the training parameters.

    A share `NEAR` of exact samples is within some distance of a training point. The share of the method's
    samples within it may be up to `SHARE_NEAR`.
    """
    train = bench.simulations("first").u
    exact, drawn = (
        torch.cdist(u.flatten(0, 1), train).amin(1) for u in (bench.exact_draws[:, :DRAWS], bench.draws)
    )
    share = float((drawn <= exact.quantile(NEAR)).double().mean())
    spread = math.sqrt(SHARE_NEAR * (1 - SHARE_NEAR) / len(drawn))
    name = f"{share:.0%} of samples are as near to training points as {NEAR:.0%} of exact ones"
    diagnosis = "Samples are training parameters, or hardly differ from them: the method memorises."
    return Evidence([beyond(name, share, SHARE_NEAR, spread)], diagnosis, bench.n)


def density(bench: Bench) -> Evidence:
    """Check that q = exp(log_prob) is the density of the samples; this holds at any budget.

    The posteriors are those with strong dependence. Let z be u in coordinates in which the samples have the
    mean 0 and the covariance I. Importance sampling from a Student t in z estimates ∫ q, E_q z and E_q z zᵀ.
    Samples of q have a mean of log q − log N(z; 0, I) that is not negative, because it is a divergence.
    """
    there = bench.dependent
    if not offers(there.posterior, "log_prob"):
        raise NotApplicableError("the method's posteriors have no log_prob")
    m, _, d = there.draws.shape
    mean, root = there.draws.mean(1, keepdim=True), torch.linalg.cholesky(covariances(there.draws))
    own = torch.linalg.solve_triangular(root, (there.draws - mean).mT, upper=False).mT
    z, log_t = _student_t(m, d, there.seed_of("integrals"))
    places = torch.cat([own[:, :OWN_POINTS], z], 1)
    log_q = there.posterior.log_prob((mean + places @ root.mT).to(there.x_o.dtype), there.x_o).double()
    log_q = log_q + root.diagonal(dim1=1, dim2=2).log().sum(1, keepdim=True)
    at_own, log_q = log_q[:, :OWN_POINTS], log_q[:, OWN_POINTS:]
    weights = torch.exp(log_q - log_t)
    integral, size = float(weights.mean()), m * POINTS
    relative = weights / integral
    log_integral = math.log(integral) if integral > 0 else -math.inf
    found = [beyond(f"integral {integral:.3g}", log_integral, LOG_INTEGRAL, relative.std() / size**0.5)]
    surprise = at_own - _log_normal(own[:, :OWN_POINTS])
    name = f"mean of log q − log N over samples {surprise.mean():.2g}, not negative"
    found.append(
        beyond(name, min(float(surprise.mean()), 0), SURPRISE, surprise.std() / surprise.numel() ** 0.5)
    )
    for i in range(d):
        found.append(_moment(f"mean of z_{i}", relative * z[..., i], own[..., i]))
        for j in range(i + 1):
            product = own[..., i] * own[..., j]
            found.append(_moment(f"mean of z_{i} z_{j}", relative * z[..., i] * z[..., j], product))
    return Evidence(found, _diagnosis_of_density(log_q, z, log_t, integral), there.n)


def _log_normal(z: Tensor) -> Tensor:
    """Return log N(z; 0, I), (...), for z (..., d)."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))


def _student_t(m: int, d: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return draws z (m, POINTS, d) from a Student t around 0, and its log-density there, (m, POINTS)."""
    random = np.random.default_rng(seed)
    law = multivariate_t(np.zeros(d), np.eye(d), FREEDOM)
    z = law.rvs((m, POINTS), random).reshape(m, POINTS, d)
    return torch.from_numpy(z), torch.from_numpy(law.logpdf(z).reshape(m, POINTS))


def _moment(name: str, weighted: Tensor, own: Tensor) -> Statistic:
    """Test whether a mean under q equals the mean of the samples."""
    spread = math.hypot(
        float(weighted.std()) / weighted.numel() ** 0.5, float(own.std()) / own.numel() ** 0.5
    )
    return beyond(f"{name} under log_prob and in the samples", weighted.mean() - own.mean(), MOMENT, spread)


def _diagnosis_of_density(log_q: Tensor, z: Tensor, log_t: Tensor, integral: float) -> str:
    """Return how log_prob differs from the density of the samples: it is about a log q + b."""
    gaussian = _log_normal(z)
    weights = torch.exp(gaussian - log_t).flatten()
    design = torch.stack([gaussian.flatten(), torch.ones_like(weights)], 1) * weights.sqrt().unsqueeze(1)
    slope, constant = torch.linalg.lstsq(design, (log_q.flatten() * weights.sqrt()).unsqueeze(1)).solution[
        :, 0
    ]
    return (
        f"log_prob is not the density of the samples: it integrates to {integral:.2g}, and is about "
        f"{slope:.2f} times their log-density plus {constant:.1f}."
    )


def _extreme_spreads(
    name: str, covariance: Tensor, root: Tensor, tolerance: float, draws: int
) -> list[Statistic]:
    """Test the logarithm of the standard deviation in the narrowest and widest direction of w, (d, d)."""
    values, vectors = torch.linalg.eigh(covariance)
    found = []
    for k in (0, -1):
        along = torch.linalg.solve_triangular(root.T, vectors[:, [k]], upper=True)[:, 0]
        spread = float(values[k].clamp_min(1e-12).sqrt())
        text = f"{name}: {spread:.2f} times the exact spread along {_combination(along / along.norm())}"
        found.append(beyond(text, math.log(spread), tolerance, (2 * draws) ** -0.5))
    return found


def _combination(direction: Tensor) -> str:
    """Return a linear combination as text: "0.71 u_0 − 0.71 u_1"."""
    parts = [(float(a), i) for i, a in enumerate(direction) if abs(a) >= 0.005]
    if len(parts) == 1:
        return f"u_{parts[0][1]}"
    text = " ".join(f"{'−' if a < 0 else '+'} {abs(a):.2f} u_{i}" for a, i in parts)
    return text.removeprefix("+ ").replace("− ", "−", 1) if text[0] == "−" else text.removeprefix("+ ")
