"""The sizes of the joint scores of both readings of `lensing_lognormal`, before any training.

    python -m graybench.tasks.fields.lensing_readings

prints E‖g‖²/d for grids and noises, as a Markdown table. The smaller, the better a target the score is.
"""

from dataclasses import replace

import torch
from torch import Tensor

from .lensing_lognormal import READINGS, LensingLognormal

SIMULATIONS, SEED = 4_000, 7
GRIDS, NOISES = (16, 32), (0.1, 0.2, 0.4, 0.8, 1.6)


def combined(field: Tensor, whitened: Tensor) -> Tensor:
    """Return g_w + W (g_f − g_w) with W = −E[g_w dᵀ] E[d dᵀ]⁻¹ and d = g_f − g_w, (n, 2), for both scores."""
    difference = field - whitened
    weight = torch.linalg.solve(difference.T @ difference, difference.T @ whitened)
    return whitened - difference @ weight


def sizes(task: LensingLognormal) -> list[float]:
    """Return E‖g‖²/d over fresh simulations of "field", of "whitened", and of both combined."""
    scores = []
    for reading in READINGS:
        score = replace(task, reading=reading).simulate(SIMULATIONS, seed=SEED).joint_score
        assert score is not None
        scores.append(score.double())
    return [float(g.square().mean()) for g in (*scores, combined(*scores))]


def row(grid: int, noise: float) -> str:
    """Return a row of the table."""
    found = sizes(LensingLognormal("field", grid, noise))
    shown = [f"{size:.2g}" if size < 100 else f"{size:.0f}" for size in found]
    return f"| {grid} | {noise} | {' | '.join(shown)} |"


def main() -> None:
    """Print the table."""
    print("| grid | noise | `field` | `whitened` | both |\n| --- | --- | --- | --- | --- |")
    for grid in GRIDS:
        for noise in NOISES:
            print(row(grid, noise))


if __name__ == "__main__":
    main()
