"""Laws whose scores are exact, and their probability flows in closed form or by quantiles."""

import numpy as np
import torch
from torch.special import ndtr

from graybench.methods.score.schedule import alpha_sigma_at
from graybench.tasks.reference import GaussianReference

COVARIANCE = torch.tensor([[0.5, 0.3], [0.3, 0.4]], dtype=torch.float64)
GAUSSIAN = GaussianReference(torch.tensor([1.0, -0.5], dtype=torch.float64), COVARIANCE)


def score_of(reference):
    return lambda u_t, t: reference.diffused_score(u_t, *alpha_sigma_at(t))


def exact_map(law, noise):
    """Where the flow of a Gaussian carries standard normal noise, by `linear_flow` (n, d)."""
    flow, alpha = linear_flow(law.covariance)
    return law.mean + (noise / alpha - law.mean) @ flow


def linear_flow(covariance=COVARIANCE):
    """A = (C/(C + ς²))^½ of the flow u_0 = m + A (v − m) from v = u/α, σ/α = ς at t = 1; and α there."""
    values, vectors = torch.linalg.eigh(covariance)
    alpha, sigma = alpha_sigma_at(1.0)
    shrink = torch.sqrt(values / (values + (sigma / alpha) ** 2))
    return vectors @ torch.diag(shrink) @ vectors.T, alpha


def quantile_gap(grid, mass, noise, end):
    """How far a flow in one dimension is from keeping quantiles, which the exact one does: (n,).

    With F_t the law of u_t for u_0 on `grid` (G,) with probabilities `mass`, F_1(noise) = F_0(end).
    """
    alpha, sigma = alpha_sigma_at(1.0)
    before = (ndtr((noise.unsqueeze(-1) - alpha * grid) / sigma) * mass).sum(-1)
    after = np.interp(end, grid, mass.cumsum(0) - mass / 2)
    return (torch.from_numpy(after) - before).abs()
