"""Scores of many items, composed from the scores of single items, which a method learns.

Items x_1 … x_n are independent given u, and the prior is N(0, I), so the diffused prior has the score −u_t at
every t. With the single scores s_i = ∇ log p_t(u_t | x_i), every composition here has the form

    s = −u_t + A⁻¹ Σ_i A_i (s_i + u_t),    A = I + Σ_i (A_i − I)

    factorised    A_i = I
    gauss         A_i = I + σ² (Σ_i⁻¹ − I), with Σ_i the covariance of p(u | x_i)
    jac           A_i = K_i⁻¹, K_i = I + (σ²/α²) (∇s_i + I), with the Jacobian ∇s_i at u_t

For n = 1, s = s_1. This is equation by equation the form of the papers: let Σ_{t,i} be the covariance of
p(u_0 | u_t, x_i). For the prior it is Σ_{t,0} = σ² I. If all these laws are Gaussian,

    s = Λ⁻¹ [Σ_i Σ_{t,i}⁻¹ s_i + (n − 1) Σ_{t,0}⁻¹ u_t],    Λ = Σ_i Σ_{t,i}⁻¹ − (n − 1) Σ_{t,0}⁻¹

which is the form above with A_i = σ² Σ_{t,i}⁻¹ and A = σ² Λ. For a Gaussian p(u | x_i), Bayes' rule gives
Σ_{t,i}⁻¹ = Σ_i⁻¹ + (α²/σ²) I. Tweedie's formula, exact for any law, gives Σ_{t,i} = (σ²/α²) (I + σ² ∇s_i).
`gauss` and `jac` are exact at every t if all p(u | x_i) are Gaussian.

`factorised` is exact at t = 0 only, and too steep before. With exact scores of `linear_gaussian`, samples
have these widths, in widths of the posterior of n items; with `sde`, from 400 steps:

    n        2       5       20       200
    ode      0.57    0.07    0.002    diverges
    sde      0.87    0.80    0.73     diverges (0.65 from 2,000 steps)

Use it with `sampler=sde` if at all. Geffner et al. sample by annealed Langevin steps, and weigh the prior's
score by 1 − t in place of diffusing it.

*Positive definiteness.* Λ must be positive definite, which estimates of Σ_i and learned Jacobians do not
ensure. If the items do not widen the prior, A ≥ I, so eigenvalues of A below 1 are raised to 1. Eigenvalues
of K_i are also limited to [`LEAST`, 1], because a learned K_i may be indefinite. With exact scores of
`gaussian_mixture` and n = 8, the limit 1 about halves the error. With learned scores of `hierarchical_normal`
and n = 5, the score error at t = 0.5 is 0.9 if eigenvalues below 0.001 are raised to 0.001, and 0.07 with
`LEAST`. A Gaussian p(u | x_i) narrower than `LEAST` changes s + u_t by at most a share `LEAST` of it. Linhart
et al. leave Λ as it is. The package sbi turns its negative eigenvalues positive.

*Where errors accumulate.* The errors e_i of the single scores become the error A⁻¹ Σ_i A_i e_i. With A_i near
I + σ² h, that is about Σ_i e_i where σ² n h ≪ 1, below the scale of the posterior of all items. Its mean
square is n times the single one if the errors of the items are independent, and n² times if they are shared.
Where σ² h ≫ 1, it is about the mean of the e_i. For `factorised` it is Σ_i e_i everywhere. For `jac`, errors
of the Jacobian enter with the factor σ²/α², which grows to 20,000 at t = 1.

*Sampler.* `sampler=sde` with `sampling_steps=100` corrects errors of the composed score that the default
sampler, an ODE, keeps: results/composition.

Sources: Geffner et al., Compositional score modeling for simulation-based inference, arXiv 2209.14249.
Linhart et al., Diffusion posterior sampling for simulation-based inference in tall data settings, arXiv
2404.07593. Gloeckler et al., Compositional simulation-based inference for time series, arXiv 2411.02728, who
compose scores of transitions.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ...tasks.errors import UserError
from ...tasks.seeding import derive_seed, generator
from ...tasks.structure import Items, Structure
from .samplers import Score, sample_exponential
from .schedule import alpha_sigma_at

COMPOSITIONS = ("none", "factorised", "gauss", "jac")
# So many rows of a network are evaluated at once: they bound the memory, and larger blocks are no faster.
ROWS = 16_384
LEAST = 0.03  # of K_i, which is at least the variance of p(u | x_i) if that is Gaussian
LEAST_VARIANCE = 1e-6  # of Σ_i
DRAWS, STEPS = 256, 30  # of each p(u | x_i), to estimate Σ_i

ItemScore = Callable[[Tensor, float, slice], Tensor]


def compose(single: ItemScore, n: int, jac: bool, information: Tensor | None) -> Score:
    """Return the score of n items as a function of u_t (..., points, d) and t.

    Args:
        single: the scores s_i; `single(u_t, t, items)` maps u_t (..., c, points, d) to scores of the same
            shape, for the c items that the slice selects.
        n: number of items.
        jac: whether to use the Jacobians of the single scores.
        information: Σ_i⁻¹ − I (..., n, d, d) for `gauss`, else None.
    """

    def score(u_t: Tensor, t: float) -> Tensor:
        alpha, sigma = alpha_sigma_at(t)
        eye = torch.eye(u_t.shape[-1], dtype=u_t.dtype, device=u_t.device)
        pull, total = torch.zeros_like(u_t), eye
        size = max(1, ROWS // max(1, u_t[..., 0].numel()))
        for first in range(0, n, size):
            items = slice(first, min(first + size, n))
            at = u_t.unsqueeze(-3).expand(*u_t.shape[:-2], items.stop - items.start, *u_t.shape[-2:])
            if jac:
                likelihood, slope = _likelihood_score(single, at, t, items)
                weight = torch.linalg.inv(_limited(eye + (sigma / alpha) ** 2 * slope, LEAST, 1.0))
                total = total + (weight - eye).sum(-4)
                pull = pull + (weight @ likelihood.unsqueeze(-1)).squeeze(-1).sum(-3)
                continue
            likelihood = single(at, t, items) + at
            if information is not None:
                excess = sigma**2 * information[..., items, :, :].to(u_t)
                total = total + excess.sum(-3, keepdim=True)
                likelihood = likelihood + likelihood @ excess
            pull = pull + likelihood.sum(-3)
        if total is eye:
            return pull - u_t
        return torch.linalg.solve(_limited(total, 1.0, None), pull.unsqueeze(-1)).squeeze(-1) - u_t

    return score


def information_of(score: Score, n: int, d: int, device: str) -> Tensor:
    """Return Σ_i⁻¹ − I (1, n, d, d) of n posteriors, from `DRAWS` draws of each by `sample_exponential`.

    The noise has exactly the mean 0 and the covariance I, and is the same for all posteriors, so the
    covariances of Gaussian posteriors have no sampling error.

    Args:
        score: the scores of the posteriors, a function of u_t (1, n, DRAWS, d) and t.
        n: number of posteriors.
        d: number of parameters, below `DRAWS`.
        device: where the score is evaluated.
    """
    noise = torch.randn(DRAWS, d, generator=generator(derive_seed("composition")), dtype=torch.float64)
    noise = noise - noise.mean(0)
    factor = torch.linalg.cholesky(noise.T @ noise / DRAWS)
    noise = torch.linalg.solve_triangular(factor, noise.T, upper=False).T
    draws = sample_exponential(score, noise.float().to(device).expand(1, n, -1, -1), STEPS).double()
    draws = draws - draws.mean(-2, keepdim=True)
    covariance = _limited(draws.mT @ draws / DRAWS, LEAST_VARIANCE, None)
    return torch.linalg.inv(covariance) - torch.eye(d, dtype=torch.float64, device=draws.device)


def require_independent(what: str, structure: Structure | None) -> None:
    """Raise `UserError` unless a structure is one of items that are independent given θ.

    Args:
        what: what needs it, for the message.
        structure: the structure of the simulations; None stands for a vector.
    """
    if isinstance(structure, Items) and structure.independent:
        return
    kind = "a Vector" if structure is None else f"a {type(structure).__name__}"
    if isinstance(structure, Items):
        kind = "Items that are not declared independent"
    raise UserError(
        f"{what} needs x of items that are independent given θ, such as Items(1, independent=True), but x is "
        f"{kind}."
    )


def _likelihood_score(single: ItemScore, u_t: Tensor, t: float, items: slice) -> tuple[Tensor, Tensor]:
    """Return s_i + u_t and the symmetric part of its Jacobian, differentiable if u_t requires a gradient."""
    further = u_t.requires_grad
    with torch.enable_grad():
        at = u_t if further else u_t.detach().requires_grad_(True)
        score = single(at, t, items) + at
        rows = [
            torch.autograd.grad(part.sum(), at, retain_graph=True, create_graph=further)[0]
            for part in score.unbind(-1)
        ]
    jacobian = torch.stack(rows, -1)
    return (score if further else score.detach()), (jacobian + jacobian.mT) / 2


def _limited(matrix: Tensor, least: float, most: float | None) -> Tensor:
    """Return symmetric matrices with their eigenvalues limited; 0 replaces what is not finite."""
    matrix = matrix.nan_to_num(0, 0, 0)
    values, vectors = torch.linalg.eigh(matrix.detach())
    moved = (values.clamp(least, most) - values).unsqueeze(-1)
    return matrix + vectors @ (moved * vectors.mT)
