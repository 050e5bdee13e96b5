"""The score of the likelihood from joint scores, and the loss of densities that learn from it."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ...tasks.simulations import Simulations
from ..method import required_field

ROUNDING = 1e-7  # of s = g + u in float32, where numbers near 1 can cancel


class ScoredDensity(nn.Module, ABC):
    """A log-density log q of u and x that is differentiable twice in u."""

    @abstractmethod
    def forward(self, u: Tensor, x: Tensor) -> Tensor:
        """Return log q (n,) for u (n, d) and x (n, dim_x)."""

    def with_score(self, u: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log q (n,) and ∇_u log q (n, d), which is differentiable again."""
        with torch.enable_grad():
            u = u.detach().requires_grad_(True)
            log_q = self(u, x)
            (score,) = torch.autograd.grad(log_q.sum(), u, create_graph=True)
        return log_q, score


def scandal_loss(model: ScoredDensity, u: Tensor, x: Tensor, score: Tensor, weight: Tensor) -> Tensor:
    """Return the mean over simulations of −log q + Σ_i w_i (∂_{u_i} log q − s_i)².

    Args:
        model: log q(x | u), or log q(u | x).
        u, x: simulations (n, d) and (n, dim_x).
        score: s = ∇_u log p(x, z | u) (n, d), or g = ∇_u log p(u, x, z) for log q(u | x).
        weight: w = a/(d E s²) (d,).
    """
    log_q, found = model.with_score(u, x)
    return ((weight * (found - score).square()).sum(1) - log_q).mean()


def likelihood_score(method: str, simulations: Simulations) -> Tensor:
    """Return s = ∇_u log p(x, z | u) = g + u (n, d) in float32.

    Args:
        method: the name of the method, for messages.
        simulations: n simulations with joint scores g.

    Raises:
        UserError: the simulations have no joint score.
    """
    return (required_field(method, simulations, "joint_score") + simulations.u).float()


def mean_square(score: Tensor) -> Tensor:
    """Return E s_i² (d,) for scores (n, d), and 1 for components that are 0 up to rounding."""
    square = score.square().mean(0)
    return torch.where(square > ROUNDING**2, square, torch.ones_like(square))
