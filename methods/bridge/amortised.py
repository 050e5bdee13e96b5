"""Learned scores for `bridge_is`, for all θ of the prior and all starts of intervals between observations."""

import torch
from torch import Tensor

from ...tasks.errors import UserError
from ...tasks.sde.diffusion_task import DiffusionModel
from ...tasks.sde.sde import SDE, TimeGrid
from ...tasks.seeding import derive_seed, generator
from ...tasks.task import Simulations
from .bases import Base
from .learned import LearnedScores
from .learning import FEWEST_PATHS, Law, ScoreTraining, learn


class IntervalScores:
    """A factory of bases from scores that were learned on each grid.

    Args:
        scores: the scores of each grid.
    """

    def __init__(self, scores: dict[TimeGrid, LearnedScores]) -> None:
        self.scores = scores

    def __call__(self, sde: SDE, x_0: Tensor, grid: TimeGrid) -> Base:
        return self.scores[grid](sde, x_0, grid)


def learn_intervals(simulations: Simulations, seed: int) -> IntervalScores:
    """Learn the scores of a diffusion from as many Euler paths as there are simulations.

    Each path has the θ of a simulation and begins at the start of one of its intervals: at the model's x_0,
    or at the observation before. Different grids of intervals have a network each, and an equal share of
    paths.

    Raises:
        UserError: there are fewer than 15 paths for each network.
    """
    model, found = simulations.model, {}
    assert isinstance(model, DiffusionModel)
    grids = list(dict.fromkeys(model.grids))
    paths = len(simulations) // len(grids)
    if paths < FEWEST_PATHS:
        raise UserError(
            f"method bridge_is: learned scores need a budget of {2 * FEWEST_PATHS * len(grids)} or more, "
            "half of it for learning."
        )
    for k, grid in enumerate(grids):
        law = _law(simulations, model, grid)
        found[grid] = learn(law, grid, ScoreTraining(paths=paths), derive_seed(seed, "grid", k))
    return IntervalScores(found)


def _law(simulations: Simulations, model: DiffusionModel, grid: TimeGrid) -> Law:
    """Return the law of θ and of starts of the intervals with this grid."""
    m, equal = len(model.grids), [i for i, other in enumerate(model.grids) if other == grid]
    observed = simulations.x.double().unflatten(1, (m, -1))
    first = model.x_0.expand(len(observed), 1, -1)
    starts = torch.cat([first, observed[:, :-1]], 1)[:, equal]

    def law(n: int, seed: int) -> tuple[SDE, Tensor]:
        random = generator(seed)
        row = torch.randint(len(starts), (n,), generator=random)
        interval = torch.randint(len(equal), (n,), generator=random)
        return model.at(simulations.u[row].double().unsqueeze(1)), starts[row, interval].unsqueeze(1)

    return law
