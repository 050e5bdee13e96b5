"""The last step, from the noise at t_min to none: of samples, and of the density.

Let r = σ/α at t_min, and s̃(v) the score of v = u_t/α = u_0 + r ε. Given v, u_0 has exactly the mean and the
covariance

    D = v + r² s̃(v),    r² K,    K = ∂D/∂v = I + r² ∇s̃(v)

For u_0 ~ N(m, C), K = C (C + r² I)⁻¹ and v − D = (I − K)(v − m). Hence the probability flow from r to 0, and
the density p of u_0 from the density p_r of v, are

    u_0 = m + K^½ (v − m) = D + K^½ (I + K^½)⁻¹ (v − D)
    log p(u) = log p_r(u) − ½ log det K − ½ r² s̃ᵀ K⁻¹ s̃,    with K and s̃ at v = u

D alone would shrink v − m by K, and so leave samples too narrow. Both equations are used for every law. They
are approximate where K changes within about r. K needs 2 d evaluations of the score, for central differences
over the distance r. Eigenvalues of K are at least `LEAST`, as learned scores can be too steep. They exceed 1
where log p_r is convex, such as between two modes.
"""

from collections.abc import Callable

import torch
from torch import Tensor

LEAST = 1e-3  # of a standard deviation of u_0 that is a thirtieth of r


def evaluations(d: int) -> int:
    """Return how often `without_noise` evaluates the score in d dimensions: 1 + 2 d times."""
    return 1 + 2 * d


def without_noise(score: Callable[[Tensor], Tensor], v: Tensor, r: float) -> Tensor:
    """Carry samples v = u_0 + r ε along the probability flow to u_0.

    Args:
        score: the score s̃ of v, a function of v (..., d).
        v: samples (..., d).
        r: the standard deviation of the noise in v.

    Returns:
        The samples u_0 (..., d); not finite where the score is not.
    """
    moved = r**2 * score(v)
    values, vectors = torch.linalg.eigh(_shrinkage(score, v, r))
    root = values.clamp_min(LEAST).sqrt().unsqueeze(-1)
    kept = vectors @ (root / (1 + root) * (vectors.mT @ moved.unsqueeze(-1)))
    return v + moved - kept.squeeze(-1)


def log_density_ratio(score: Callable[[Tensor], Tensor], u: Tensor, r: float) -> Tensor:
    """Return log p(u) − log p_r(u), the densities of u_0 and of v = u_0 + r ε, (...).

    If u requires a gradient, the result is differentiable.

    Args:
        score: the score s̃ of v, a function of v (..., d).
        u: points (..., d).
        r: the standard deviation of the noise in v.
    """
    shrinkage = _shrinkage(score, u, r)
    values, vectors = torch.linalg.eigh(shrinkage.detach())
    raised = vectors @ ((LEAST - values).clamp_min(0).unsqueeze(-1) * vectors.mT)
    factor = torch.linalg.cholesky(shrinkage + raised)
    white = torch.linalg.solve_triangular(factor, r * score(u).unsqueeze(-1), upper=False)
    half_log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -half_log_det - white.square().sum((-2, -1)) / 2


def _shrinkage(score: Callable[[Tensor], Tensor], v: Tensor, r: float) -> Tensor:
    """Return the symmetric part of K (..., d, d); I where the score is not finite, which `eigh` refuses."""
    unit = torch.eye(v.shape[-1], dtype=v.dtype, device=v.device)
    slopes = [(score(v + r / 2 * e) - score(v - r / 2 * e)) / r for e in unit]
    jacobian = torch.stack(slopes, -1).nan_to_num(0, 0, 0)
    return unit + r**2 / 2 * (jacobian + jacobian.mT)
