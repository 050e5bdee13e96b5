"""Reference posteriors made of draws and their scores."""

import torch
from torch import Tensor

from .reference import ROWS_AT_ONCE, Reference
from .seeding import generator


class SampledReference(Reference):
    """Equally weighted draws u_i of a posterior, with their scores g_i = ∇ log p(u_i | x_o).

    Both targets of score matching,

        y_D = −(u_t − α u_i)/σ²    and    y_T = g_i/α,

    average to the diffused score over p(u_i | u_t, x_o). So does W y_D + (I − W) y_T for any matrix W. With
    weights r_i ∝ exp(−‖u_t − α u_i‖²/(2σ²)) and the W of least variance, the diffused score is

        s = W Σ_i r_i y_D + (I − W) Σ_i r_i y_T,    W = σ² J (σ² J + α² I)⁻¹,    J = mean of g_i g_iᵀ.

    For a Gaussian posterior W y_D + (I − W) y_T does not depend on u_i, so the only error of s is the error
    of the moments. For other posteriors, averaging only has to cover the departure from a Gaussian. Without
    scores, W = I.

    The error of s is estimated by σ² E‖s_A − s_B‖²/(4d), with the scores s_A and s_B of the two independent
    halves of the draws. The estimate includes the bias of a point u_t = α u_i + σ ε that was made from one of
    the draws; this bias is twice as large in a half. Where few draws dominate, the estimate may be half of
    the true error.

    Args:
        draws: u, (n, d); the first and the second half of the rows are independent of each other.
        scores: ∇_u log p(u | x_o) at the draws, (n, d), or None if unknown.
        effective_size: number of independent draws with the same information; n if None.
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
