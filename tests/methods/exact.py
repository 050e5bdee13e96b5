"""Exact conditional variances of the Galton board's targets, by quadrature and a second-moment recursion.

For one ball and a final position x, on a grid over u = θ:

    pmf p(x | u), first moment E[S; x | u] and second moment E[S²; x | u] of the mined score S

follow from one forward recursion. With the posterior weights p(u | x) and the kernel of u_t = α u + σ ε, the
variance of a target given (u_t, x) is then an integral over u, and its mean over u_t and x another. So are
the second moments that a gate W(u_t, x, t) is judged by.
"""

from collections.abc import Iterator

import torch

from graybench.tasks.classic.galton import Galton

GRID = torch.linspace(-6, 6, 1201, dtype=torch.float64)
U_T = torch.linspace(-7, 7, 1401, dtype=torch.float64)


def score_moments(task: Galton) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return p, E[S; x] and E[S²; x] on the grid, each (G, bins); row 0 of the recursion is position 15."""
    places = torch.arange(task.nails + 1).double()
    zeroth = (places == task.nails // 2).double().expand(len(GRID), -1).clone()
    first, second = torch.zeros_like(zeroth), torch.zeros_like(zeroth)
    for row in range(task.rows):
        left, slope = task._left(row, GRID.unsqueeze(1), places)
        moved = []
        for p, derivative, shift in (
            (left, slope, 0 if row % 2 == 0 else -1),
            (1 - left, -slope, 1 if row % 2 == 0 else 0),
        ):
            s = torch.where(p > 0, derivative / p.clamp_min(1e-300), torch.zeros_like(p))
            parts = (zeroth, first + s * zeroth, second + 2 * s * first + s**2 * zeroth)
            moved.append([torch.roll(p * part, shift, 1) for part in parts])
        zeroth, first, second = (a + b for a, b in zip(*moved, strict=True))
    return zeroth[:, : task.bins], first[:, : task.bins], second[:, : task.bins]


def given_x(task: Galton, alpha: float, sigma: float) -> Iterator[tuple]:
    """Yield x, p(u, u_t, x) on both grids, (1401, G), y_DSM there, and E[g | u, x] and E[g² | u, x], (G,)."""
    p, first, second = score_moments(task)
    joint = torch.exp(-(GRID**2) / 2).unsqueeze(1) * p
    joint = joint / joint.sum()
    kernel = torch.exp(-((U_T.unsqueeze(1) - alpha * GRID) ** 2) / (2 * sigma**2))
    kernel = kernel / kernel.sum(0)
    y_d = (alpha * GRID - U_T.unsqueeze(1)) / sigma**2
    for x in range(task.bins):
        if joint[:, x].sum() == 0:
            continue
        mean = first[:, x] / p[:, x].clamp_min(1e-300)
        square = second[:, x] / p[:, x].clamp_min(1e-300)
        yield x, kernel * joint[:, x], y_d, mean - GRID, square - 2 * mean * GRID + GRID**2


def second_moments(task: Galton, alpha: float, sigma: float) -> dict[int, torch.Tensor]:
    """Return E[y_D²], E[y_D y_L] and E[y_L²] for each x at u_t on the grid, times p(u_t, x): (3, 1401)."""
    return {
        x: torch.stack([(weight * y).sum(1) for y in (y_d**2, y_d * g / alpha, g_square / alpha**2)])
        for x, weight, y_d, g, g_square in given_x(task, alpha, sigma)
    }


def variances(task: Galton, alpha: float, sigma: float) -> dict[str, float]:
    """Return E Var(y | u_t, x) of the DSM, TSM and LTSM targets, and the parts of that of MIX in w."""
    totals = dict.fromkeys(("dsm", "tsm", "ltsm", "cross", "j"), 0.0)
    for _, weight, y_d, g, g_square in given_x(task, alpha, sigma):
        mass = weight.sum(1)
        seen = mass > 1e-300

        def average(values, weight=weight, mass=mass, seen=seen):
            return torch.where(seen, (weight * values).sum(1) / mass.clamp_min(1e-300), 0.0)

        y_t = (g / alpha).expand_as(y_d)
        s = average(y_d)
        totals["dsm"] += float((mass * (average(y_d**2) - s**2)).sum())
        totals["tsm"] += float((mass * (average(y_t**2) - s**2)).sum())
        totals["ltsm"] += float((mass * (average((g_square / alpha**2).expand_as(y_d)) - s**2)).sum())
        totals["cross"] += float((mass * (average(y_d * y_t) - s**2)).sum())
        totals["j"] += float((weight * g_square).sum())
    return totals


def assert_nearer_than_the_prior(samples, exact):
    """Samples (n, d) are nearer to the exact posterior's than to N(0, I): the mean, at most half as far away
    as the prior's, and every standard deviation, on a log scale. The prior fails both.
    """
    assert (samples.mean(0) - exact.mean(0)).norm() < 0.5 * exact.mean(0).norm()
    ratio = torch.log(samples.std(0) / exact.std(0)).abs()
    assert (ratio < 0.5 * torch.log(exact.std(0)).abs()).all(), ratio
