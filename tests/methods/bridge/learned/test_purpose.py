"""Scores refined on bridges: weights of fixed paths by their definition, and gains in effective samples."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from graybench.methods.bridge.learned.purpose import (
    HELD_ENDS,
    BridgeTraining,
    FixedBridges,
    effective_fraction,
    refine,
)
from graybench.methods.bridge.learned.scores import LearnedScores
from graybench.methods.bridge.learned.training import Paths, ScoreTraining, learn, one_point
from graybench.methods.bridge.likelihood import BridgeSampler
from graybench.tasks.errors import NotFiniteError, UserError
from graybench.tasks.sde.sde import SDE, TimeGrid, log_euler_path
from graybench.tests.methods.bridge.learned.test_training import wells
from graybench.tests.methods.bridge.models import DoubleWell, brownian, double_well, number, uniforms

GRID, UNEVEN = TimeGrid(1.0, 10), TimeGrid.at([(k / 10) ** 1.5 for k in range(11)])
NOTHING = ScoreTraining(base="midpoint", paths=500, steps=0, width=16, depth=1)
START = torch.tensor([-1.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def untrained() -> LearnedScores:
    return learn(wells, GRID, NOTHING, 1)


@pytest.mark.parametrize("grid", [GRID, UNEVEN], ids=["equal", "uneven"])
def test_weights_of_paths_drawn_earlier_are_their_density_over_the_proposal_s(grid: TimeGrid) -> None:
    """The network changes after the bridges are drawn; both densities are computed from the paths."""
    sde = double_well()
    law = one_point(sde, START)
    scores = learn(law, grid, NOTHING, 1)
    scores.used = True
    sampler, y = BridgeSampler(particles=2), Paths.draw(law, grid, 3, 5).x[:, -1]
    noise = sampler.noise(grid, y.shape[:1], 1, 5)
    with torch.no_grad():
        path = sampler.bridges(sde, START, y, grid, noise, base=scores, keep_paths=True).paths
        fixed = FixedBridges.draw(scores, law, 3, 2, 5)
        for parameter in scores.network.mlp.parameters():
            parameter.add_(0.1)
        found = fixed.log_weights_with(scores.network, torch.tensor([2, 0, 1]))[[1, 2, 0]]
        assert path is not None
        base, log_q = scores(sde, START, grid), torch.zeros(3, 2, dtype=torch.float64)
        for k in range(1, grid.steps):
            dt, r = grid.step(k), grid.time(k) / grid.time(k + 1)
            after = path[..., k + 1, :]
            here = sde.at(after)
            mean = after + (base.pull(k + 1, after, here) - here.drift) * dt
            log_q += here.log_normal(path[..., k, :] - mean, dt * r)
    torch.testing.assert_close(found, log_euler_path(sde, path, grid) - log_q, rtol=1e-5, atol=1e-5)
    assert (found - fixed.log_weights).abs().min() > 1e-3


@pytest.mark.parametrize(("objective", "gain"), [("variance", 0.03), ("divergence", 0.005)])
def test_training_on_bridges_gives_more_effective_samples(objective: str, gain: float) -> None:
    """From the midpoint base alone, with the same end points and noise before and after."""
    law = one_point(double_well(), START)
    scores = learn(law, GRID, NOTHING, 1)
    training = BridgeTraining(objective, 1_000, 4, 1_000, 16, 1e-2)
    before, after = (
        effective_fraction(each, law, 100, 64, 3) for each in (scores, refine(scores, law, training, 2))
    )
    assert after > before + gain
    assert scores.network.mlp.weights[-1].abs().max() == 0  # what it began with is as it was


def test_what_is_worse_is_not_returned() -> None:
    """The exact score of Brownian motion makes all weights equal."""
    law = one_point(brownian(), START)
    scores = learn(law, GRID, replace(NOTHING, base="exact"), 1)
    for objective in ("variance", "divergence"):
        assert refine(scores, law, BridgeTraining(objective, 40, 4, 40, 4, 0.1), 2) is scores


@pytest.mark.parametrize("objective", ["variance", "divergence"])
def test_lost_bridges_do_not_end_the_training(objective: str) -> None:
    """Of the bridges of the linearised base, a few overflow, and others have a log w of −1e10 and less."""
    law, sampler = one_point(double_well(), START), BridgeSampler(particles=4)
    scores = learn(law, TimeGrid(1.0, 20), replace(NOTHING, base="linearised"), 1)
    sde, x_0 = law(1, 1)
    y = Paths.draw(law, scores.grid, 64, 1).ends
    noise = sampler.noise(scores.grid, y.shape[:1], 1, 1)
    drawn = sampler.bridges(sde, x_0, y, scores.grid, noise, base=scores)
    assert drawn.lost.sum() > 0
    refined = refine(scores, law, BridgeTraining(objective, 500, 4, 40, 16, 1e-3), 2)
    assert all(p.isfinite().all() for p in refined.network.parameters())


def test_paths_that_overflow_are_left_out() -> None:
    """With steps of ½, Euler paths of a wide double well oscillate and overflow."""

    def law(n: int, seed: int) -> tuple[SDE, Tensor]:
        sigma = torch.where(uniforms(seed, n, 1) < 0.2, 5.0, 0.5).double()
        return DoubleWell(number(1.0), sigma), START

    grid = TimeGrid(5.0, 10)
    paths = Paths.draw(law, grid, 500, 1)
    assert 0.7 < paths.kept.double().mean() < 0.9
    scores = learn(law, grid, replace(NOTHING, steps=20), 1)
    assert math.isfinite(scores.held_out[0])
    assert scores.network.most.isfinite().all()
    refined = refine(scores, law, BridgeTraining("variance", 40, 4, 40, 4), 2)
    assert all(p.isfinite().all() for p in refined.network.parameters())
    with pytest.raises(NotFiniteError, match="every path overflows"):
        learn(one_point(double_well(sigma=50.0), START), grid, NOTHING, 1)


def test_simulations_are_counted(untrained: LearnedScores) -> None:
    """Each end point needs a path and its bridges; the law is asked for as many θ as there are end points."""
    asked: list[int] = []

    def law(n: int, seed: int) -> tuple[SDE, Tensor]:
        asked.append(n)
        return wells(n, seed)

    for objective in ("variance", "divergence"):
        training = BridgeTraining(objective, 32, 2, 8, 8)
        refine(untrained, law, training, 1)
        judged = 2 * HELD_ENDS
        assert training.simulations == 3 * (sum(asked) - judged)
        asked.clear()


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match="did you mean variance"):
        BridgeTraining("varience")
    for option, least in {"ends": 4, "bridges": 2, "steps": 4, "batch": 1}.items():
        sentence = f"refining scores: {option} must be a whole number from {least} up, but is {least - 1}"
        with pytest.raises(UserError, match=sentence):
            BridgeTraining(**{option: least - 1})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="rate must be a finite number above 0, but is 0"):
        BridgeTraining(rate=0)
