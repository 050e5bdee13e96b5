"""Recipes: how the output F of a network becomes a score, s = base + scale · F.

Shapes lead with R replicates: u_t (R, n, d), x (R, n, dim_x), t (R, n, 1) or (1, 1, 1). The inputs of the
network start with u_t and x, standardised by the training simulations.
"""

import torch
from torch import Tensor, nn

from ..nn.network import time_features
from ..nn.standardise import Standardise
from .schedule import alpha_sigma

LEAST_ROWS = 3  # the regression needs so many simulations for each parameter
RIDGE_PENALTIES = (1e-3, 1e-1, 1.0, 1e1, 1e2, 1e3)
LEAST_VARIANCE = 1e-6
SMALLEST_FREEDOM = 1e-9


class Plain(nn.Module):
    """The recipe of the papers.

        s = −F(u_t, x, time features)/σ

    Args:
        u, x: training simulations (R, n, d) and (R, n, dim_x).

    Source: Ko and Geffner, arXiv 2602.07189.
    """

    def __init__(self, u: Tensor, x: Tensor) -> None:
        super().__init__()
        self.standardise = Standardise(x)
        self.n_inputs = u.shape[2] + x.shape[2] + 5

    def forward(self, u_t: Tensor, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the inputs of the network, the base and the scale."""
        _, sigma = alpha_sigma(t)
        time = time_features(t).expand(*u_t.shape[:-1], -1)
        inputs = torch.cat([u_t, self.standardise(x), time], -1)
        return inputs, torch.zeros_like(u_t), -1 / sigma


class Preconditioned(nn.Module):
    """The recipe that corrects the score of a Gaussian approximation; it is the same for every target.

    Ridge regression of u on x gives a mean m(x) and a covariance S of leave-one-out residuals. The posterior
    N(m(x), S) has the score −(α² S + σ² I)⁻¹ r with r = u_t − α m(x), and the network corrects it:

        s = −(α² S + σ² I)⁻¹ r + α c F,    c = (σ² + α²/j_S)^(−½),    j_S = trace(S⁻¹)/d

    Inputs besides u_t and x are log(σ/α)/3, 2t − 1, sines and cosines of πt and 2πt, r_i/√(σ² + α² S_ii), and
    asinh(r/σ) for posteriors with several scales. j_S is computed from S and not from joint scores, so DSM,
    which has no joint scores, gets the same network.

    With n < 3d simulations, m = 0 and S = I as for the prior. The rank of S is at most n − 1, and for n a
    little above d its least eigenvalues are far too small, an error that the network does not undo. Measured
    with `dsm` on `linear_gaussian(dim=10)` after 400 steps, by −log p of the truth under N(mean, covariance)
    of the samples: the regression was worse than the prior at n = 2, 5, 10, 11, 12, 15 and 20, and better at
    n = 30.

    Args:
        u, x: training simulations (R, n, d) and (R, n, dim_x).
    """

    coefficients: Tensor
    intercept: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor
    variances: Tensor
    information: Tensor

    def __init__(self, u: Tensor, x: Tensor) -> None:
        super().__init__()
        self.standardise = Standardise(x)
        (n, d), dim_x = u.shape[1:], x.shape[2]
        if n < LEAST_ROWS * d:
            coefficients, intercept = u.new_zeros(len(u), dim_x, d), u.new_zeros(len(u), 1, d)
            covariance = torch.eye(d, dtype=u.dtype).repeat(len(u), 1, 1)
        else:
            coefficients, intercept, covariance = ridge(self.standardise(x), u)
        values, vectors = torch.linalg.eigh(covariance)
        values = values.clamp_min(LEAST_VARIANCE)
        self.register_buffer("coefficients", coefficients)
        self.register_buffer("intercept", intercept)
        self.register_buffer("eigenvalues", values.unsqueeze(1))
        self.register_buffer("eigenvectors", vectors)
        self.register_buffer("variances", covariance.diagonal(dim1=1, dim2=2).unsqueeze(1).clone())
        self.register_buffer("information", (1 / values).mean(1).view(-1, 1, 1))
        self.n_inputs = 3 * d + dim_x + 6

    def forward(self, u_t: Tensor, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the inputs of the network, the base and the scale."""
        alpha, sigma = alpha_sigma(t)
        x = self.standardise(x)
        residual = u_t - alpha * (x @ self.coefficients + self.intercept)
        rotated = residual @ self.eigenvectors / (alpha**2 * self.eigenvalues + sigma**2)
        base = -rotated @ self.eigenvectors.transpose(1, 2)
        scale = alpha / torch.sqrt(sigma**2 + alpha**2 / self.information)
        whitened = residual / torch.sqrt(sigma**2 + alpha**2 * self.variances)
        time = torch.cat([torch.log(sigma / alpha) / 3, 2 * t - 1, time_features(t)[..., 1:]], -1)
        time = time.expand(*u_t.shape[:-1], -1)
        return torch.cat([u_t, x, time, whitened, asinh(residual / sigma)], -1), base, scale


def asinh(x: Tensor) -> Tensor:
    """Return asinh x; without gradients by logarithms, which torch vectorises, unlike its asinh."""
    if torch.is_grad_enabled():
        return torch.asinh(x)
    size = x.abs()
    inverse = 1 / size
    return torch.log1p(size + size / (inverse + torch.sqrt(1 + inverse * inverse))) * x.sign()


def residual_std(covariance: Tensor) -> Tensor:
    """Return the standard deviations (..., d) of a covariance (..., d, d), with 1 in place of 0."""
    square = covariance.diagonal(dim1=-2, dim2=-1)
    return torch.where(square > 0, square, torch.ones_like(square)).sqrt()


def ridge(x: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Regress u on standardised x in each replicate, with the penalty λ of least leave-one-out error.

    With x = U D Vᵀ, the leverage of row i and its residual under the fit to all other rows are

        h_i = 1/n + Σ_k U_ik² D_k²/(D_k² + λ),    r_i = (u_i − û_i)/(1 − h_i)

    Args:
        x: centred inputs (R, n, p), n ≥ 2.
        u: outputs (R, n, d).

    Returns:
        The coefficients (R, p, d), the intercept (R, 1, d) and the covariance of the residuals r (R, d, d).
    """
    dtype, n = x.dtype, x.shape[1]
    x, u = x.double(), u.double()  # with more columns than rows, 1 − h_i is near float32 rounding
    intercept = u.mean(1, keepdim=True)
    left, singular, right = torch.linalg.svd(x, full_matrices=False)
    projected = left.transpose(1, 2) @ (u - intercept)
    tried = []
    for penalty in RIDGE_PENALTIES:
        shrink = (singular**2 / (singular**2 + penalty)).unsqueeze(2)
        fitted = intercept + left @ (shrink * projected)
        leverage = 1 / n + (left**2 @ shrink)
        tried.append((u - fitted) / (1 - leverage).clamp_min(SMALLEST_FREEDOM))
    residuals = torch.stack(tried)
    best = residuals.square().mean((2, 3)).argmin(0)
    chosen = residuals[best, torch.arange(len(best))]
    penalties = torch.tensor(RIDGE_PENALTIES, dtype=x.dtype)[best].view(-1, 1, 1)
    solved = singular.unsqueeze(2) / (singular.unsqueeze(2) ** 2 + penalties) * projected
    covariance = chosen.transpose(1, 2) @ chosen / n
    return (right.transpose(1, 2) @ solved).to(dtype), intercept.to(dtype), covariance.to(dtype)


RECIPES: dict[str, type[Plain] | type[Preconditioned]] = {"plain": Plain, "preconditioned": Preconditioned}
