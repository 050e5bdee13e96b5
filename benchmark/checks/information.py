"""The value of a task's joint score before any training."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ...methods.score.gates.moments import moment_matrix
from ...methods.score.schedule import alpha_sigma
from ...tasks.seeding import derive_seed
from ...tasks.task import Task
from ..metrics.truth import TIMES

SIMULATIONS = 4_000


class Information(NamedTuple):
    """The size of a task's scores, and the predicted advantage of MIX over DSM.

    J = E[g gᵀ] and I = E[m mᵀ] are the second moments of the joint and the marginal score. I is the
    information of the posterior; J − I is the noise that the latents add to LTSM's target. If all posteriors
    were Gaussian with information I, then E‖s‖² = tr I(σ² I + α²)⁻¹ at every t, and the target variances
    would be

        d v_DSM = d/σ² − E‖s‖²
        d v_MIX = d j/(σ² j + α²) − E‖s‖²     with the scalar gate, j = tr J/d
        d v_MIX = tr J(σ² J + α²)⁻¹ − E‖s‖²   with the matrix gate.

    In one dimension v_MIX/v_DSM = (1 − I/J) w*(t): MIX wins where latents add little noise, and at small t.

    Attributes:
        dim: d.
        joint: tr J/d.
        condition: the largest divided by the smallest eigenvalue of J.
        posterior: tr I/d; None without a marginal score.
        scalar: the average over t of σ² v_MIX with the scalar gate, divided by the average of σ² v_DSM; None
            without a marginal score.
        matrix: the same with the matrix gate.
    """

    dim: int
    joint: float
    condition: float
    posterior: float | None = None
    scalar: float | None = None
    matrix: float | None = None


def information_of(task: Task, n: int = SIMULATIONS) -> Information:
    """Estimate J and I from n simulations.

    Args:
        task: a task with a joint score.
        n: number of simulations.
    """
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
    """Return a Markdown table of named rows, sorted by the scalar gate's ratio: the best for MIX first."""
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
    """Return tr M(σ² M + α²)⁻¹/d at every t for a matrix M with the given eigenvalues."""
    column = eigenvalues.unsqueeze(1)
    return (column / (sigma**2 * column + alpha**2)).mean(0)
