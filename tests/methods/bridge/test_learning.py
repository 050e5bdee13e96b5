"""Learned scores against exact ones, what each objective learns, and when a network is not used."""

import math

import pytest
import torch
from torch import Tensor

from graybench.methods.bridge.bases import ExactBase, LinearisedBase, NoBase
from graybench.methods.bridge.learning import ScoreTraining, learn
from graybench.methods.bridge.likelihood import BridgeSampler
from graybench.tasks.errors import UserError
from graybench.tasks.sde.sde import SDE, TimeGrid
from graybench.tests.methods.bridge.models import brownian, end_points, geometric, reverting

GRID = TimeGrid(1.0, 20)
SHORT = ScoreTraining(paths=5_000, steps=600, batch=512, width=32, depth=2)


def test_a_plain_network_learns_the_score_of_brownian_motion() -> None:
    sde, x_0 = brownian(0.0, 1.0), torch.zeros(1, dtype=torch.float64)
    learned = learn(NoBase(sde, x_0, GRID), SHORT, 1)
    assert learned.used
    assert learned.held_out[0] < -10 * learned.held_out[1]
    x = torch.linspace(-1.0, 1.0, 9, dtype=torch.float64).unsqueeze(1)
    for k in (5, 10, 20):
        t = k * GRID.dt
        states = x * t**0.5
        # bounded noise of training; a score of 0, or of the wrong sign, is off by 1 and more in these units
        assert (learned.pull(k, states, sde.at(states)) * t**0.5 + x).abs().max() < 0.15


@pytest.mark.parametrize("objective", ["corrected", "explicit", "paper"])
def test_every_objective_gives_the_same_pull(objective: str) -> None:
    """On geometric Brownian motion the pull at the median of X_t is σ² x (−1.5 + 2), whatever was learned."""
    sde, x_0 = geometric(mu=0.0), torch.ones(1, dtype=torch.float64)
    training = ScoreTraining(objective, paths=5_000, steps=600, batch=512, width=32, depth=2)
    learned = learn(NoBase(sde, x_0, GRID), training, 2)
    exact = ExactBase(sde, x_0, GRID)
    x = torch.tensor([[0.8], [1.0], [1.2]], dtype=torch.float64)
    here = sde.at(x)
    for k in (10, 20):
        # div Σ counted twice, or not at all, would be off by 2 σ² x = 0.4 or more
        torch.testing.assert_close(learned.pull(k, x, here), exact.pull(k, x, here), rtol=0, atol=0.15)
    # but the paper's network holds Σ⁻¹ div Σ = 2/x beside the score's −1.5/x
    score = learned.residual(torch.tensor([20]), torch.ones(1, 1, dtype=torch.float64))
    assert float(score) == pytest.approx(0.5 if objective == "paper" else -1.5, abs=0.25)


def test_learned_bridges_give_the_likelihood() -> None:
    sde, x_0 = reverting(), torch.zeros(1, dtype=torch.float64)
    training = ScoreTraining(paths=10_000, steps=1_500, batch=512, width=32, depth=2)
    learned = learn(NoBase(sde, x_0, GRID), training, 3)
    y = end_points(sde, x_0, GRID, 20, 4)
    with torch.no_grad():
        found = BridgeSampler(particles=500).estimate(sde, x_0, y, GRID, 5, learned)
        exact = BridgeSampler(particles=500).estimate(sde, x_0, y, GRID, 5)
    law = LinearisedBase(sde, x_0, GRID).log_density(20, y, sde.at(y))
    assert found.ess_fraction.mean() > 0.93 * exact.ess_fraction.mean()
    assert (found.value - law).abs().mean() < 0.02


@pytest.mark.parametrize(
    ("sde", "x_0", "grid"),
    [
        (brownian(sigma=1.4), torch.zeros(1, dtype=torch.float64), GRID),
        (reverting(), torch.zeros(1, dtype=torch.float64), GRID),
        (brownian(), torch.ones(1, dtype=torch.float64), GRID),
        (brownian(), torch.zeros(1, dtype=torch.float64), TimeGrid(2.0, 20)),
    ],
)
def test_a_learned_score_refuses_another_model_start_and_grid(sde: SDE, x_0: Tensor, grid: TimeGrid) -> None:
    zero = torch.zeros(1, dtype=torch.float64)
    training = ScoreTraining(paths=20, steps=1, width=4, depth=1)
    learned = learn(NoBase(brownian(), zero, GRID), training, 1)
    assert learned(brownian(), zero, GRID) is learned
    with pytest.raises(UserError, match="for another model, start or grid"):
        learned(sde, x_0, grid)


def test_a_network_that_does_not_help_is_not_used() -> None:
    """Few paths, many steps, and a base that is exact already: there is nothing to learn but noise."""
    sde, x_0 = reverting(), torch.zeros(5, dtype=torch.float64)
    base = LinearisedBase(sde, x_0, GRID)
    learned = learn(base, ScoreTraining(paths=100, steps=500, batch=256), 6)
    assert not learned.used
    assert learned.held_out[0] > 0
    y = end_points(sde, x_0, GRID, 3, 7)
    assert learned.pull(10, y, sde.at(y)).equal(base.pull(10, y, sde.at(y)))


def test_a_seed_gives_the_same_network() -> None:
    base = NoBase(brownian(), torch.zeros(1, dtype=torch.float64), GRID)
    training = ScoreTraining(paths=200, steps=20, width=8, depth=1)
    one, same, other = (learn(base, training, seed).held_out for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match="did you mean corrected"):
        ScoreTraining(objective="correct")
    for option, least in {"paths": 15, "steps": 1, "batch": 1, "width": 1, "depth": 1}.items():
        for wrong in (least - 1, least + 0.5):
            sentence = f"scores: {option} must be a whole number from {least} up, but is {wrong}"
            with pytest.raises(UserError, match=sentence):
                ScoreTraining(**{option: wrong})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="rate must be above 0, but is 0"):
        ScoreTraining(rate=0)


def test_the_least_training_that_is_allowed_has_a_standard_error() -> None:
    base = NoBase(brownian(), torch.zeros(1, dtype=torch.float64), GRID)
    mean, stderr = learn(base, ScoreTraining(paths=15, steps=1, batch=1, width=1, depth=1), 1).held_out
    assert math.isfinite(mean)
    assert stderr > 0
