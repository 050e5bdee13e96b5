"""Regression targets for the diffused score s(u_t, x, t) = ∇ log p_t(u_t | x).

All are unbiased, E[y | u_t, x] = s; they differ in variance:

| target | formula                 | needs                              | variance                  |
| ------ | ----------------------- | ---------------------------------- | ------------------------- |
| DSM    | −ε/σ                    | samples                            | like 1/σ² as t → 0        |
| TSM    | ∇_u log p(u_0 \\| x)/α  | marginal score [De Bortoli 2024]   | like 1/α² as t → 1        |
| LTSM   | ∇_u log p(u_0, z, x)/α  | joint score [Ko & Geffner, Prop 3.1] | as TSM, plus the latents' |
| MIX    | W y_DSM + (I − W) y_LTSM | joint score [Ko & Geffner, eq. 5]  | at W*, below both         |

Pure functions; tensors broadcast. W and the mixture are in `methods.score.gates`.
"""

from torch import Tensor


def dsm(eps: Tensor, sigma: Tensor) -> Tensor:
    """Denoising score matching: −ε/σ."""
    return -eps / sigma


def from_score(score: Tensor, alpha: Tensor) -> Tensor:
    """Target score matching: g/α, with g the marginal score (TSM) or the joint score (LTSM)."""
    return score / alpha
