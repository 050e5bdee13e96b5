"""The paper's network, where the score is known: landmarks so far apart that each is a Brownian motion."""

import math

import pytest
import torch
from torch import Tensor

from graybench.methods.bridge.learned.paper import PaperTraining, learn_paper
from graybench.tasks.errors import UserError
from graybench.tasks.landmarks.diffusion import LandmarkDiffusion
from graybench.tasks.sde.sde import TimeGrid
from graybench.tasks.seeding import generator
from graybench.tests.methods.bridge.models import brownian, normals

START = torch.tensor([0.0, 0.0, 9.0, 0.0], dtype=torch.float64)
GRID = TimeGrid(1.0, 10)


def law(n: int, seed: int) -> tuple[LandmarkDiffusion, Tensor]:
    u = 0.3 * torch.randn(n, 1, generator=generator(seed), dtype=torch.float64)
    return LandmarkDiffusion(u, torch.zeros(n, 1, dtype=torch.float64), 2, 1e-3), START


def test_the_minimiser_is_the_score_for_every_variance() -> None:
    found = learn_paper(law, GRID, PaperTraining(steps=1_500, batch=32, width=32, rate=3e-3), 1)
    for log_a in (-0.3, 0.3):
        sde = LandmarkDiffusion(torch.tensor(log_a), torch.tensor(0.0), 2, 1e-3)
        for k in (3, 10):
            variance = math.exp(2 * log_a) * 1.001 * k * GRID.dt
            x = START + math.sqrt(variance) * normals(2, 500, 4)
            here = sde.at(x)
            pull = found(sde, START, GRID).pull(k, x, here)
            exact = here.times(-(x - START) / variance)
            # learned from 48,000 paths; a score of 0 has the error 1
            assert (pull - exact).square().mean().sqrt() < 0.5 * exact.square().mean().sqrt()


def test_scores_refuse_another_model_start_or_grid() -> None:
    found = learn_paper(law, GRID, PaperTraining(steps=1, batch=2, width=4), 1)
    sde, _ = law(1, 1)
    with pytest.raises(UserError, match="for landmarks, not for a BrownianMotion"):
        found(brownian(), START, GRID)
    for start, grid in ((START + 1, GRID), (START, TimeGrid(1.0, 11))):
        with pytest.raises(UserError, match="another start or grid"):
            found(sde, start, grid)
