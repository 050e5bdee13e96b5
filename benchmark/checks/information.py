"""What a task's joint score can be worth, before anything is trained.

J = E[g gᵀ] is the second moment of the joint score, I = E[m mᵀ] that of the marginal score, the information
of the posterior; J − I is what the latents add, the noise of LTSM's target. If all posteriors were Gaussian
with information I, then E‖s‖² = tr I(σ² I + α²)⁻¹ at every t, and the target variances would be

    d v_DSM = d/σ² − E‖s‖²
    d v_MIX = d j/(σ² j + α²) − E‖s‖²     with the scalar gate, j = tr J/d
    d v_MIX = tr J(σ² J + α²)⁻¹ − E‖s‖²   with the matrix gate

In one dimension v_MIX/v_DSM = (1 − I/J) w*(t): MIX wins where latents add little, and at small t. The table
gives the ratio of the averages over t of σ² v.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ...methods.score.moments import moment_matrix
from ...methods.score.schedule import alpha_sigma
from ...tasks.seeding import derive_seed
from ...tasks.task import Task
from ..metrics.truth import TIMES

SIMULATIONS = 4_000


class Information(NamedTuple):
    """The scores of a task in numbers; those that need a marginal score are None where there is none.

    Attributes:
        dim: d.
        joint: tr J/d.
        condition: largest over smallest eigenvalue of J.
        posterior: tr I/d.
        scalar: predicted variance of MIX over DSM's, averaged over t, with the scalar gate.
        matrix: the same with the matrix gate.
    """

    dim: int
    joint: float
    condition: float
    posterior: float | None = None
    scalar: float | None = None
    matrix: float | None = None


def information_of(task: Task, n: int = SIMULATIONS) -> Information:
    """Measure J and I on n simulations of a task with a joint score."""
    exact = "marginal_score" in task.capabilities
    simulations = task.simulate(n, derive_seed("information", task.label), marginal_score=exact)
    assert simulations.joint_score is not None
    joint = moment_matrix(simulations.joint_score.double())
    values = torch.linalg.eigvalsh(joint)
    known = (task.dim_theta, float(values.mean()), float(values[-1] / values[0]))
    if simulations.marginal_score is None:
        return Information(*known)
    marginal = torch.linalg.eigvalsh(moment_matrix(simulations.marginal_score.double()))
    alpha, sigma = alpha_sigma(torch.tensor(TIMES, dtype=torch.float64))
    dsm = 1 / sigma**2 - _mean_over(marginal, alpha, sigma)
    scalar = _mean_over(values.mean().expand(1), alpha, sigma) - _mean_over(marginal, alpha, sigma)
    matrix = _mean_over(values, alpha, sigma) - _mean_over(marginal, alpha, sigma)
    ratios = [
        float(torch.trapezoid(sigma**2 * v, alpha.new_tensor(TIMES)))
        / float(torch.trapezoid(sigma**2 * dsm, alpha.new_tensor(TIMES)))
        for v in (scalar, matrix)
    ]
    return Information(*known, float(marginal.mean()), *ratios)


def as_markdown(rows: Iterable[tuple[str, Information]]) -> str:
    """Write a Markdown table, the tasks that MIX should help most first."""
    lines = [
        "| task | d | tr J/d | tr I/d | J/I | condition of J | MIX/DSM, scalar gate | MIX/DSM, matrix gate |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, own in sorted(rows, key=lambda row: (row[1].scalar is None, row[1].scalar)):
        ratio = None if own.posterior is None else own.joint / own.posterior
        numbers = (own.joint, own.posterior, ratio, own.condition, own.scalar, own.matrix)
        shown = " | ".join("" if number is None else f"{number:.3g}" for number in numbers)
        lines.append(f"| {name} | {own.dim} | {shown} |")
    return "\n".join(lines)


def _mean_over(eigenvalues: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Give tr M(σ² M + α²)⁻¹/d at every t for a matrix M with these eigenvalues."""
    column = eigenvalues.unsqueeze(1)
    return (column / (sigma**2 * column + alpha**2)).mean(0)
