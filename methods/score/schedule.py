"""The variance-preserving diffusion of u, shared by all score-matching methods.

u_t = α(t) u_0 + σ(t) ε,    α = exp(−½ ∫₀ᵗ β),    σ² = 1 − α²
β(t) = β_min + t (β_max − β_min),    t_min ≤ t ≤ 1
"""

import math

import torch
from torch import Tensor

BETA_MIN, BETA_MAX = 0.1, 20.0
T_MIN = 1e-3


def integrated_beta(t: Tensor) -> Tensor:
    """Return ∫₀ᵗ β(s) ds."""
    return t * (BETA_MIN + t * (BETA_MAX - BETA_MIN) / 2)


def alpha_sigma(t: Tensor) -> tuple[Tensor, Tensor]:
    """Return α(t) and σ(t), each of the shape of t."""
    integral = integrated_beta(t)
    return torch.exp(-integral / 2), torch.sqrt(-torch.expm1(-integral))


def alpha_sigma_at(t: float) -> tuple[float, float]:
    """Return α(t) and σ(t) for one t, computed in float64."""
    alpha, sigma = alpha_sigma(torch.tensor(t, dtype=torch.float64))
    return float(alpha), float(sigma)


def time_of_ratio(ratio: float) -> float:
    """Return the t at which σ/α equals `ratio`, the positive root of ∫₀ᵗ β = log(1 + ratio²)."""
    integral = math.log1p(ratio**2)
    slope = BETA_MAX - BETA_MIN
    return 2 * integral / (BETA_MIN + math.sqrt(BETA_MIN**2 + 2 * slope * integral))
