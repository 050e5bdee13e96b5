"""Regression targets y for the score s(u_t, x, t) = ∇ log p_t(u_t | x) of the diffused posterior.

All are unbiased: E[y | u_t, x] = s. They differ in variance and in what they need. The mixtures of both
targets are in `gates`. Tensors broadcast.
"""

from torch import Tensor


def dsm(eps: Tensor, sigma: Tensor) -> Tensor:
    """Return the target of denoising score matching (DSM).

        y = −ε/σ

    It needs samples only. Its variance grows like 1/σ² as t → 0.

    Args:
        eps: the noise ε.
        sigma: σ(t).

    Source: Vincent, A connection between score matching and denoising autoencoders, 2011.
    """
    return -eps / sigma


def from_score(score: Tensor, alpha: Tensor) -> Tensor:
    """Return the target of target score matching, from marginal scores (TSM) or joint scores (LTSM).

        TSM     y = ∇_u log p(u_0 | x)/α
        LTSM    y = ∇_u log p(u_0, z, x)/α

    The variance grows like 1/α² as t → 1. LTSM adds the variance due to the latents z.

    At t = 0 LTSM regresses joint scores on (u, x), as Fisher score matching does for the likelihood's score.

    Args:
        score: the marginal or joint scores g at u_0.
        alpha: α(t).

    Sources: De Bortoli et al., Target score matching, arXiv 2402.08667, for TSM; Ko and Geffner, arXiv
    2602.07189, Proposition 3.1, for LTSM; Sui et al., Fisher score matching for simulation-based forecasting
    and inference, arXiv 2507.07833, for its antecedent at t = 0.
    """
    return score / alpha
