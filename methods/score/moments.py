"""The second moment of the scores, J = E[g gᵀ], on which the gates of least target variance rest.

J is an average over a budget's own simulations. Few of them in many dimensions, or heavy-tailed scores, make
some of its eigenvalues far too small, and a gate that believes them trusts noise. So J is shrunk,

    J_ρ = (1 − ρ) J + ρ T,  T = diag(J) or j I,  j = tr J/d

with ρ and T of least held-out E‖y_W‖² by cross-validation. For a gate that depends on t alone this needs no
draw of ε: with J_ρ = V diag(λ) Vᵀ from the other folds, w_i = σ² λ_i/(σ² λ_i + α²), and H the second moment
of the fold held out,

    σ² E‖y_W‖²/d = mean over i of w_i² + (1 − w_i)² (v_iᵀ H v_i) σ²/α²,

averaged over t. It contains ρ = 0, J itself, and ρ = 1, a diagonal or a scalar gate.
"""

import torch
from torch import Tensor

from .schedule import T_MIN, alpha_sigma

FOLDS = 5
RATIOS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
GRID = 64


def second_moment(score: Tensor) -> Tensor:
    """Give j = E‖g‖²/d of each replicate: (R, n, d) to (R,)."""
    return score.square().mean((1, 2))


def moment_matrix(score: Tensor) -> Tensor:
    """Give J = E[g gᵀ], unshrunk: (..., n, d) to (..., d, d)."""
    return score.mT @ score / score.shape[-2]


def shrunk_second_moment(score: Tensor, *, diagonal: bool) -> Tensor:
    """Give J of each replicate, shrunk as far as held-out scores ask for; see the module.

    Args:
        score: g, (R, n, d).
        diagonal: give a diagonal J, shrunk towards j I.

    Returns:
        J in float64, (R, d, d). With fewer than two simulations a fold, j I.
    """
    score = score.double()
    n = score.shape[1]
    held = n // FOLDS
    candidates = _shrunk(moment_matrix(score), diagonal)
    if held < 2:
        return candidates[-1]
    cost = torch.zeros(candidates.shape[:2], dtype=torch.float64)
    for k in range(FOLDS):
        fold = score[:, k * held : (k + 1) * held]
        rest = torch.cat([score[:, : k * held], score[:, (k + 1) * held :]], 1)
        cost += held_out_cost(_shrunk(moment_matrix(rest), diagonal), moment_matrix(fold))
    return candidates[cost.argmin(0), torch.arange(len(score))]


def held_out_cost(own: Tensor, held_out: Tensor) -> Tensor:
    """Give σ² E‖y_W‖²/d, averaged over t, of the gate of J = `own` where the scores have J = `held_out`.

    Args:
        own, held_out: symmetric matrices (..., d, d) that broadcast.
    """
    values, vectors = torch.linalg.eigh(own)
    t = T_MIN + (1 - T_MIN) * (torch.arange(GRID, dtype=own.dtype) + 0.5) / GRID
    alpha, sigma = alpha_sigma(t)
    met = (vectors * (held_out @ vectors)).sum(-2).clamp_min(0).unsqueeze(-1)
    noise, signal = sigma**2 * values.clamp_min(0).unsqueeze(-1), alpha**2
    w, rest = noise / (noise + signal), signal / (noise + signal)
    return (w**2 + rest**2 * met * sigma**2 / alpha**2).mean((-2, -1))


def _shrunk(moment: Tensor, diagonal: bool) -> Tensor:
    """Give every candidate J_ρ, (candidates, R, d, d), the last of them j I."""
    own = torch.diag_embed(moment.diagonal(dim1=-2, dim2=-1))
    scalar = torch.eye(moment.shape[-1], dtype=moment.dtype) * own.sum((-2, -1), keepdim=True)
    scalar = scalar / moment.shape[-1]
    start, towards = (own, [scalar]) if diagonal else (moment, [own, scalar])
    return torch.stack([(1 - ratio) * start + ratio * target for target in towards for ratio in RATIOS])
