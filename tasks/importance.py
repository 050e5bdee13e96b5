"""Importance sampling of unimodal posteriors whose density is known up to a constant."""

import math

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from .curvature import LogDensity, gradient
from .sampled_reference import SampledReference
from .seeding import derive_seed, generator

STARTS, CLIMBS = 256, 4
FAR, COMPARABLE, FLAT = 4.0, 7.0, 0.1  # standard deviations, nats, and the largest gradient of a mode
FREEDOM = 5
TRIAL_DRAWS, DRAWS, KEPT = 4_000, 20_000, 5_000
DRAWS_AT_ONCE = 1_000
LEAST_ESS_FRACTION = 0.15


class ImportanceReference(SampledReference):
    """A posterior sampled by importance sampling.

    Args:
        draws: resampled importance draws of u, (n, d), see `SampledReference`.
        scores: ∇_u log p(u | x_o) at the draws, (n, d).
        log_density: log p(u, x_o), the unnormalised log-density.
        log_evidence: the estimate of log ∫ p(u, x_o) du.
        ess_fraction: effective sample size of the 20,000 importance draws, divided by their number.
    """

    def __init__(
        self,
        draws: Tensor,
        scores: Tensor,
        log_density: LogDensity,
        log_evidence: float,
        ess_fraction: float,
    ) -> None:
        # Resampling adds to the error of the weighted draws.
        super().__init__(draws, scores, 1 / (1 / len(draws) + 1 / (ess_fraction * DRAWS)))
        self.log_evidence, self.ess_fraction = log_evidence, ess_fraction
        self._log_density = log_density

    def log_prob(self, u: Tensor) -> Tensor:
        flat = u.reshape(-1, u.shape[-1]).double()
        return (_in_chunks(self._log_density, flat) - self.log_evidence).reshape(u.shape[:-1])


def importance_reference(log_density: LogDensity, dim: int, seed: int) -> ImportanceReference:
    """Sample a posterior by importance sampling.

    The steps: find the mode by BFGS; draw from a Student-t at the mode, with the inverse Hessian as its
    scale; adapt it once to the weighted moments; take 20,000 draws, and resample each half of them in
    proportion to the weights. BFGS starts from several places, and a posterior with distant modes is refused:
    the weights cannot show a mode that no draw has visited.

    Args:
        log_density: log p(u, x_o), (n,), for u (n, d) in float64; differentiable.
        dim: d.
        seed: names the random stream.

    Raises:
        ArithmeticError: there are several modes, or the effective sample size is below 0.15 of the draws.
    """
    seeds = {step: derive_seed(seed, step) for step in ("start", "trial", "draw", "resample")}
    starts = torch.randn(STARTS, dim, generator=generator(seeds["start"]), dtype=torch.float64)
    mode, scale = _mode(log_density, starts)
    trial, log_proposal = draw_student_t(mode, scale, TRIAL_DRAWS, seeds["trial"])
    mean, covariance = weighted_moments(trial, _in_chunks(log_density, trial) - log_proposal)
    draws, log_proposal = draw_student_t(mean, covariance, DRAWS, seeds["draw"])
    log_weights = _in_chunks(log_density, draws) - log_proposal
    ess_fraction = require_ess_fraction(log_weights)
    kept = draws[resample_halves(log_weights, KEPT, seeds["resample"])]
    scores = _in_chunks(lambda u: gradient(log_density, u), kept)
    log_evidence = float(torch.logsumexp(log_weights, 0)) - math.log(DRAWS)
    return ImportanceReference(kept, scores, log_density, log_evidence, ess_fraction)


def draw_student_t(centre: Tensor, scale: Tensor, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw from the multivariate Student-t with 5 degrees of freedom.

    Args:
        centre: the location, (d,).
        scale: the scale matrix, (d, d).
        n: number of draws.
        seed: names the random stream.

    Returns:
        The draws, (n, d), and their log-densities, (n,).
    """
    d, random = len(centre), generator(seed)
    noise = torch.randn(n, d, generator=random, dtype=torch.float64)
    # A chi-squared variable with k degrees of freedom is a sum of k squares.
    chi = torch.randn(n, FREEDOM, generator=random, dtype=torch.float64).square().sum(1)
    factor = torch.linalg.cholesky(scale)
    draws = centre + noise @ factor.T * torch.sqrt(FREEDOM / chi).unsqueeze(1)
    constant = math.lgamma((FREEDOM + d) / 2) - math.lgamma(FREEDOM / 2)
    constant -= d / 2 * math.log(FREEDOM * math.pi) + float(factor.diagonal().log().sum())
    return draws, constant - (FREEDOM + d) / 2 * torch.log1p(noise.square().sum(1) / chi)


def require_ess_fraction(log_weights: Tensor) -> float:
    """Return the effective sample size (Σ w)²/Σ w², divided by the number of weights.

    Raises:
        ArithmeticError: it is below 0.15.
    """
    fraction = 1 / float(len(log_weights) * torch.softmax(log_weights, 0).square().sum())
    if not fraction >= LEAST_ESS_FRACTION:
        raise ArithmeticError(
            "importance sampling of the reference failed: "
            f"ESS/n is {fraction:.3f}, below {LEAST_ESS_FRACTION}"
        )
    return fraction


def tempered(log_weights: Tensor, least: float) -> Tensor:
    """Return weights to the highest power, at most 1, that keeps the effective size `least`, (n,)."""
    low, high = 0.0, 1.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        size = 1 / float(torch.softmax(middle * log_weights, 0).square().sum())
        low, high = (middle, high) if size > least else (low, middle)
    return torch.softmax(low * log_weights, 0)


def weighted_moments(draws: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted mean, (d,), and covariance, (d, d), of draws, (n, d)."""
    weights = torch.softmax(log_weights, 0)
    mean = weights @ draws
    return mean, (weights.unsqueeze(1) * (draws - mean)).T @ (draws - mean)


def resample_halves(log_weights: Tensor, kept: int, seed: int) -> Tensor:
    """Choose `kept` rows in proportion to their weights, half of them from each half of the rows.

    Resampling is systematic: a row whose share of its half's weight is w is chosen w kept/2 times, rounded
    up or down.

    Args:
        log_weights: of the rows, (n,).
        kept: number of rows to choose, even.
        seed: names the random stream.

    Returns:
        Row numbers, (kept,).
    """
    shifts = torch.rand(2, generator=generator(seed), dtype=torch.float64)
    chosen = []
    for rows, shift in zip(torch.arange(len(log_weights)).chunk(2), shifts, strict=True):
        reached = torch.softmax(log_weights[rows], 0).cumsum(0)
        levels = (torch.arange(kept // 2) + shift) / (kept // 2)
        chosen.append(rows[torch.searchsorted(reached, levels).clamp_max(len(rows) - 1)])
    return torch.cat(chosen)


def _mode(log_density: LogDensity, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Find the mode from starts, (n, d); return it, (d,), and the inverse Hessian there, (d, d).

    Raises:
        ArithmeticError: climbs from different starts end in distant modes of comparable height.
    """
    tops = torch.stack([_climb(log_density, share) for share in starts.chunk(CLIMBS)])
    heights = log_density(tops).detach()
    mode = tops[heights.argmax()]
    hessian = torch.autograd.functional.hessian(lambda u: -log_density(u.unsqueeze(0))[0], mode)
    values, vectors = torch.linalg.eigh(hessian)
    values = values.clamp_min(1.0)  # the prior's curvature
    distance = ((tops - mode) @ vectors * values.sqrt()).norm(dim=1)
    is_mode = gradient(log_density, tops).norm(dim=1) < FLAT * values.max().sqrt()
    other = is_mode & (distance > FAR) & (heights > heights.max() - COMPARABLE)
    if other.any():
        raise ArithmeticError(
            f"importance sampling of the reference failed: the posterior has modes at u = "
            f"{mode.tolist()} and u = {tops[other][0].tolist()}"
        )
    return mode, vectors @ torch.diag(1 / values) @ vectors.T


def _climb(log_density: LogDensity, starts: Tensor) -> Tensor:
    """Maximise by BFGS from the best of the starts, (n, d); return the maximum, (d,)."""

    def negative(u: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.from_numpy(u).unsqueeze(0).requires_grad_()
        value = -log_density(point).sum()
        (gradient,) = torch.autograd.grad(value, point)
        return float(value.detach()), gradient[0].numpy()

    best = starts[_in_chunks(log_density, starts).argmax()]
    return torch.from_numpy(minimize(negative, best.numpy(), jac=True, method="BFGS").x)


def _in_chunks(function: LogDensity, u: Tensor) -> Tensor:
    return torch.cat([function(rows).detach() for rows in u.split(DRAWS_AT_ONCE)])
