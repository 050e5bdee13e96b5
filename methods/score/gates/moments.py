"""The second moment J = E[g gᵀ] of the scores, which determines the gates of least target variance.

It equals E[H] with the Hessian H = −∇_u g, by the information equality.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..schedule import T_MIN, alpha_sigma

FOLDS = 5
RATIOS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
GRID = 64


def second_moment(score: Tensor) -> Tensor:
    """Return j = E‖g‖²/d (R,) of each replicate for scores (R, n, d)."""
    return score.square().mean((1, 2))


def moment_matrix(score: Tensor) -> Tensor:
    """Return J = E[g gᵀ] (..., d, d), not shrunk, for scores (..., n, d)."""
    return score.mT @ score / score.shape[-2]


def shrunk_second_moment(score: Tensor, *, diagonal: bool) -> Tensor:
    """Return J of each replicate, shrunk as far as held-out scores require.

        J_ρ = (1 − ρ) J + ρ T,    T = diag(J) or j I,    j = tr J/d

    With few simulations in many dimensions, or heavy-tailed scores, some eigenvalues of J are far too small,
    and a gate computed from them trusts noise. Five-fold cross-validation selects ρ and T by `held_out_cost`;
    ρ = 0 is J itself, ρ = 1 a diagonal or scalar gate.

    Args:
        score: g (R, n, d).
        diagonal: True returns a diagonal J, shrunk towards j I alone.

    Returns:
        J (R, d, d) in float64. With fewer than two simulations in a fold it is j I.
    """
    return _cross_validated(score.double(), moment_matrix, diagonal)


def shrunk_curvature(hessian: Tensor) -> Tensor:
    """Return J = E[H] of each replicate, shrunk as `shrunk_second_moment` shrinks it, for H (R, n, d, d).

    E[H] may be indefinite.
    """
    return _cross_validated(hessian.double(), lambda rows: rows.mean(1), diagonal=False)


def _cross_validated(values: Tensor, moment: Callable[[Tensor], Tensor], diagonal: bool) -> Tensor:
    """Return the J_ρ of each replicate with the least cost on folds that are held out.

    Args:
        values: one entry for each simulation (R, n, ...).
        moment: returns J (R, d, d) of some of the simulations (R, m, ...).
        diagonal: True returns a diagonal J.
    """
    held = values.shape[1] // FOLDS
    candidates = _shrunk(moment(values), diagonal)
    if held < 2:
        return candidates[-1]
    cost = torch.zeros(candidates.shape[:2], dtype=torch.float64)
    for k in range(FOLDS):
        fold = values[:, k * held : (k + 1) * held]
        rest = torch.cat([values[:, : k * held], values[:, (k + 1) * held :]], 1)
        cost += held_out_cost(_shrunk(moment(rest), diagonal), moment(fold))
    return candidates[cost.argmin(0), torch.arange(len(values))]


def held_out_cost(own: Tensor, held_out: Tensor) -> Tensor:
    """Return σ² E‖y_W‖²/d, averaged over t, for the gate of J = `own` if the scores have J = `held_out`.

    For a gate that depends on t alone no draw of ε is needed. With `own` = V diag(λ) Vᵀ and H = `held_out`:

        σ² E‖y_W‖²/d = mean over i of w_i² + (1 − w_i)² (v_iᵀ H v_i) σ²/α²,    w_i = σ² λ_i/(σ² λ_i + α²)

    Args:
        own, held_out: symmetric matrices (..., d, d); they broadcast.
    """
    values, vectors = torch.linalg.eigh(own)
    t = T_MIN + (1 - T_MIN) * (torch.arange(GRID, dtype=own.dtype) + 0.5) / GRID
    alpha, sigma = alpha_sigma(t)
    met = (vectors * (held_out @ vectors)).sum(-2).clamp_min(0).unsqueeze(-1)
    noise, signal = sigma**2 * values.clamp_min(0).unsqueeze(-1), alpha**2
    w, rest = noise / (noise + signal), signal / (noise + signal)
    return (w**2 + rest**2 * met * sigma**2 / alpha**2).mean((-2, -1))


def _shrunk(moment: Tensor, diagonal: bool) -> Tensor:
    """Return every candidate J_ρ (candidates, R, d, d); the last is j I."""
    own = torch.diag_embed(moment.diagonal(dim1=-2, dim2=-1))
    scalar = torch.eye(moment.shape[-1], dtype=moment.dtype) * own.sum((-2, -1), keepdim=True)
    scalar = scalar / moment.shape[-1]
    start, towards = (own, [scalar]) if diagonal else (moment, [own, scalar])
    return torch.stack([(1 - ratio) * start + ratio * target for target in towards for ratio in RATIOS])
