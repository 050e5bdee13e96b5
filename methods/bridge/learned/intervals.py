"""Learned scores for `bridge_is`, for all θ of the prior and all starts of intervals between observations."""

import torch
from torch import Tensor

from ....tasks.errors import UserError
from ....tasks.sde.diffusion_task import DiffusionModel
from ....tasks.sde.sde import SDE, TimeGrid
from ....tasks.seeding import derive_seed, generator
from ..bases import Base
from .scores import LearnedScores
from .training import FEWEST_PATHS, Law, ScoreTraining, learn


class IntervalScores:
    """A factory of bases from scores that were learned on each grid.

    Args:
        scores: the scores of each grid.
    """

    def __init__(self, scores: dict[TimeGrid, LearnedScores]) -> None:
        self.scores = scores

    def __call__(self, sde: SDE, x_0: Tensor, grid: TimeGrid) -> Base:
        return self.scores[grid](sde, x_0, grid)


def learn_intervals(model: DiffusionModel, u: Tensor, starts: Tensor, seed: int) -> IntervalScores:
    """Learn the scores of a diffusion from n Euler paths, for n parameters.

    Each path has one of the parameters, and begins where one of the intervals with these parameters does.
    Different grids of intervals have a network each, and an equal share of the paths.

    Args:
        model: the diffusion, with m intervals.
        u: parameters (n, d).
        starts: the starts of the intervals (n, m, 1, D).
        seed: names the random numbers.

    Raises:
        UserError: there are fewer than 15 paths for each network.
    """
    grids = list(dict.fromkeys(model.grids))
    paths, found = len(u) // len(grids), {}
    if paths < FEWEST_PATHS:
        raise UserError(
            f"method bridge_is: learned scores need a budget of {2 * FEWEST_PATHS * len(grids)} or more, "
            "half of it for learning."
        )
    for k, grid in enumerate(grids):
        law = _law(model, u, starts[:, [i for i, other in enumerate(model.grids) if other == grid]])
        found[grid] = learn(law, grid, ScoreTraining(paths=paths), derive_seed(seed, "grid", k))
    return IntervalScores(found)


def _law(model: DiffusionModel, u: Tensor, starts: Tensor) -> Law:
    """Return the law that draws a row of u and one of its starts."""

    def law(n: int, seed: int) -> tuple[SDE, Tensor]:
        random = generator(seed)
        row, interval = (torch.randint(size, (n,), generator=random) for size in starts.shape[:2])
        return model.at(u[row].unsqueeze(1)), starts[row, interval]

    return law
