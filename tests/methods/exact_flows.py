"""Laws whose scores are exact, and their probability flows in closed form or by quantiles."""

import torch
from torch.special import ndtr

from graybench.methods.score.schedule import T_MIN, alpha_sigma_at
from graybench.tasks.reference import GaussianReference

COVARIANCE = torch.tensor([[0.5, 0.3], [0.3, 0.4]], dtype=torch.float64)
GAUSSIAN = GaussianReference(torch.tensor([1.0, -0.5], dtype=torch.float64), COVARIANCE)


def score_of(reference):
    return lambda u_t, t: reference.diffused_score(u_t, *alpha_sigma_at(t))


def linear_flow():
    """The flow of a Gaussian in v = u/α is v_1 = m + A (v_0 − m), A = ((S + ς_1²)/(S + ς_0²))^½."""
    values, vectors = torch.linalg.eigh(COVARIANCE)
    (alpha_0, sigma_0), (alpha_1, sigma_1) = alpha_sigma_at(1.0), alpha_sigma_at(T_MIN)
    shrink = torch.sqrt((values + (sigma_1 / alpha_1) ** 2) / (values + (sigma_0 / alpha_0) ** 2))
    return vectors @ torch.diag(shrink) @ vectors.T, alpha_0


def quantile_gap(grid, mass, noise, end):
    """How far a flow in one dimension is from keeping quantiles, which the exact one does: (n,).

    With F_t the law of u_t for u_0 on `grid` (G,) with probabilities `mass`, F_1(noise) = F_{t_min}(α end).
    """
    alpha = alpha_sigma_at(T_MIN)[0]
    quantiles = []
    for u, t in ((noise, 1.0), (alpha * end, T_MIN)):
        alpha, sigma = alpha_sigma_at(t)
        quantiles.append((ndtr((u.unsqueeze(-1) - alpha * grid) / sigma) * mass).sum(-1))
    return (quantiles[1] - quantiles[0]).abs()
