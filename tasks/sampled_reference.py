"""Reference posteriors made of draws, and importance sampling where only the likelihood is tractable.

With draws u_i of p(u | x_o) and their scores g_i = ∇ log p(u_i | x_o), both targets of score matching,

    y_D = −(u_t − α u_i)/σ²    and    y_T = g_i/α,

average to the diffused score over p(u_i | u_t, x_o), and so does W y_D + (I − W) y_T. With weights
r_i ∝ exp(−‖u_t − α u_i‖²/(2σ²)) and the W of least variance,

    s = W Σ_i r_i y_D + (I − W) Σ_i r_i y_T,    W = σ² J (σ² J + α² I)⁻¹,    J = mean of g_i g_iᵀ.

For a Gaussian posterior W y_D + (I − W) y_T does not depend on u_i, so s is exact up to the error of the
moments; for others, what is left to average is its departure from a Gaussian. Without scores, W = I.

The draws come in two independent halves. Where their scores s_A and s_B agree, the score is known: the error
of s is estimated by σ² E‖s_A − s_B‖²/(4d). It includes the bias that a point u_t = α u_i + σ ε sees the draw
u_i that it came from, which is twice as large in a half. Where few draws decide, it may be half the error.

Importance sampling (`importance_reference`): the mode by BFGS, a Student-t at the mode with the inverse
Hessian as its scale, one adaptation of it to the weighted moments, then 20,000 draws, each half of them
resampled in proportion to its weights. It is for posteriors of one mode: BFGS sets out from several places,
and modes far from each other are refused, as weights say nothing of a mode that no draw has visited.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from tasks.reference import ROWS_AT_ONCE, Reference
from tasks.seeding import derive_seed, generator

LogDensity = Callable[[Tensor], Tensor]

STARTS, CLIMBS = 256, 4
FAR, COMPARABLE, FLAT = 4.0, 7.0, 0.1  # standard deviations, nats, and the largest gradient at a mode
FREEDOM = 5.0
TRIAL_DRAWS, DRAWS, KEPT = 4_000, 20_000, 5_000
DRAWS_AT_ONCE = 1_000
LEAST_ESS_FRACTION = 0.15


class SampledReference(Reference):
    """Equally weighted draws of a posterior, and their scores; see the module.

    Args:
        draws: u, (n, d); the first and the second half of the rows are independent of each other.
        scores: ∇_u log p(u | x_o) at the draws, (n, d), or None where they are not known.
        effective_size: the number of independent draws that these are worth; n if None.
    """

    def __init__(self, draws: Tensor, scores: Tensor | None, effective_size: float | None = None) -> None:
        self.draws = draws.to(torch.float64)
        self.scores = None if scores is None else scores.to(torch.float64)
        self.effective_size = len(draws) if effective_size is None else effective_size

    def sample(self, n: int, seed: int) -> Tensor:
        return self.draws[torch.randint(len(self.draws), (n,), generator=generator(seed))]

    def diffused_score(self, u_t: Tensor, alpha: float, sigma: float) -> Tensor:
        every = slice(None)
        return torch.cat([self._score(rows, alpha, sigma, every) for rows in u_t.split(ROWS_AT_ONCE)])

    def diffused_score_error(self, u_t: Tensor, alpha: float, sigma: float) -> float:
        half = len(self.draws) // 2
        squared = [
            (
                self._score(rows, alpha, sigma, slice(None, half))
                - self._score(rows, alpha, sigma, slice(half, None))
            ).square()
            for rows in u_t.split(ROWS_AT_ONCE)
        ]
        return sigma**2 * float(torch.cat(squared).mean()) / 4

    def _score(self, u_t: Tensor, alpha: float, sigma: float, chosen: slice) -> Tensor:
        draws = self.draws[chosen]
        logits = (u_t @ draws.T - alpha / 2 * draws.square().sum(1)) * (alpha / sigma**2)
        weights = torch.softmax(logits, 1)
        y_dsm = (alpha * (weights @ draws) - u_t) / sigma**2
        if self.scores is None:
            return y_dsm
        y_tsm = weights @ self.scores[chosen] / alpha
        moment = sigma**2 * self.scores.T @ self.scores / len(self.scores)
        regular = moment + alpha**2 * torch.eye(len(moment), dtype=torch.float64)
        return y_tsm + torch.linalg.solve(regular, (y_dsm - y_tsm) @ moment, left=False)


class ImportanceReference(SampledReference):
    """A posterior sampled by importance sampling; see `importance_reference`.

    Attributes:
        ess_fraction: the effective sample size of the importance draws, over their number.
        log_evidence: the estimate of log ∫ exp(log_density).
    """

    def __init__(
        self,
        draws: Tensor,
        scores: Tensor,
        log_density: LogDensity,
        ess_fraction: float,
        log_evidence: float,
    ) -> None:
        super().__init__(draws, scores, 1 / (1 / len(draws) + 1 / (ess_fraction * DRAWS)))
        self.ess_fraction, self.log_evidence = ess_fraction, log_evidence
        self._log_density = log_density

    def log_prob(self, u: Tensor) -> Tensor:
        flat = u.reshape(-1, u.shape[-1]).double()
        return (_in_chunks(self._log_density, flat) - self.log_evidence).reshape(u.shape[:-1])


def importance_reference(log_density: LogDensity, dim: int, seed: int) -> ImportanceReference:
    """Sample a posterior whose unnormalised density is known; the recipe is at the head of the module.

    Args:
        log_density: log p(u, x_o) for u (n, d) in float64: (n,), differentiable.
        dim: d.
        seed: names the random stream.

    Raises:
        ArithmeticError: there are several modes, or the effective sample size is below 0.15 of the draws, so
            that they say too little.
    """
    seeds = {step: derive_seed(seed, step) for step in ("start", "trial", "draw", "resample")}
    starts = torch.randn(STARTS, dim, generator=generator(seeds["start"]), dtype=torch.float64)
    mode, scale = _mode(log_density, starts)
    trial, log_weights = _draw(log_density, mode, scale, TRIAL_DRAWS, seeds["trial"])
    weights = torch.softmax(log_weights, 0)
    mean = weights @ trial
    centred = trial - mean
    draws, log_weights = _draw(
        log_density, mean, (weights.unsqueeze(1) * centred).T @ centred, DRAWS, seeds["draw"]
    )
    ess_fraction = float(torch.softmax(log_weights, 0).square().sum().reciprocal()) / DRAWS
    if ess_fraction < LEAST_ESS_FRACTION:
        raise ArithmeticError(
            f"importance sampling of the reference failed: ESS/n is {ess_fraction:.3f}, "
            f"below {LEAST_ESS_FRACTION}"
        )
    random = generator(seeds["resample"])
    kept = torch.cat(
        [
            half[torch.multinomial(torch.softmax(log_weights[half], 0), KEPT // 2, True, generator=random)]
            for half in torch.arange(DRAWS).chunk(2)
        ]
    )
    log_evidence = float(torch.logsumexp(log_weights, 0)) - math.log(DRAWS)
    scores = _in_chunks(lambda u: _gradient(log_density, u), draws[kept])
    return ImportanceReference(draws[kept], scores, log_density, ess_fraction, log_evidence)


def _mode(log_density: LogDensity, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Climb from each share of the starts, (n, d): the mode, (d,), and the inverse Hessian there, (d, d)."""
    tops = torch.stack([_climb(log_density, share) for share in starts.chunk(CLIMBS)])
    heights = log_density(tops).detach()
    mode = tops[heights.argmax()]
    hessian = torch.autograd.functional.hessian(lambda u: -log_density(u.unsqueeze(0))[0], mode)
    values, vectors = torch.linalg.eigh(hessian)
    values = values.clamp_min(1.0)  # the prior's curvature
    distance = ((tops - mode) @ vectors * values.sqrt()).norm(dim=1)
    is_mode = _gradient(log_density, tops).norm(dim=1) < FLAT * values.max().sqrt()
    other = is_mode & (distance > FAR) & (heights > heights.max() - COMPARABLE)
    if other.any():
        raise ArithmeticError(
            f"importance sampling of the reference failed: the posterior has modes at {mode.tolist()} and at "
            f"{tops[other][0].tolist()} of u"
        )
    return mode, vectors @ torch.diag(1 / values) @ vectors.T


def _climb(log_density: LogDensity, starts: Tensor) -> Tensor:
    """Maximise by BFGS from the best of the starts, (n, d): (d,)."""

    def negative(u: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.from_numpy(u).unsqueeze(0).requires_grad_()
        value = -log_density(point).sum()
        (gradient,) = torch.autograd.grad(value, point)
        return float(value.detach()), gradient[0].numpy()

    best = starts[_in_chunks(log_density, starts).argmax()]
    return torch.from_numpy(minimize(negative, best.numpy(), jac=True, method="BFGS").x)


def _draw(log_density: LogDensity, centre: Tensor, scale: Tensor, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw from the multivariate Student-t and give its log importance weights: (n, d) and (n,)."""
    d, random = len(centre), generator(seed)
    noise = torch.randn(n, d, generator=random, dtype=torch.float64)
    # a chi-squared with FREEDOM degrees of freedom, as the sum of so many squares
    chi = torch.randn(n, int(FREEDOM), generator=random, dtype=torch.float64).square().sum(1)
    draws = centre + noise @ torch.linalg.cholesky(scale).T * torch.sqrt(FREEDOM / chi).unsqueeze(1)
    constant = math.lgamma((FREEDOM + d) / 2) - math.lgamma(FREEDOM / 2)
    constant -= d / 2 * math.log(FREEDOM * math.pi) + float(torch.linalg.slogdet(scale).logabsdet) / 2
    log_proposal = constant - (FREEDOM + d) / 2 * torch.log1p(noise.square().sum(1) / chi)
    return draws, _in_chunks(log_density, draws) - log_proposal


def _gradient(log_density: LogDensity, u: Tensor) -> Tensor:
    with torch.enable_grad():
        point = u.detach().requires_grad_()
        return torch.autograd.grad(log_density(point).sum(), point)[0]


def _in_chunks(function: LogDensity, u: Tensor) -> Tensor:
    return torch.cat([function(rows).detach() for rows in u.split(DRAWS_AT_ONCE)])
