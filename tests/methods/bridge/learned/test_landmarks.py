"""Scores of landmarks learned by attention: symmetries, the objective by hand, and what training gains."""

import math
from functools import cache

import pytest
import torch
from torch import Tensor

from graybench.methods.bridge.bases import MidpointBase
from graybench.methods.bridge.learned.landmarks import (
    FIELDS,
    LandmarkScores,
    LandmarkTraining,
    _states,
    describe,
    learn_landmarks,
    untrained,
)
from graybench.methods.bridge.likelihood import BridgeSampler
from graybench.tasks.errors import UserError
from graybench.tasks.landmarks.diffusion import LandmarkDiffusion
from graybench.tasks.landmarks.task import ellipse
from graybench.tasks.sde.sde import TimeGrid, euler_path
from graybench.tasks.seeding import derive_seed, generator
from graybench.tests.methods.bridge.models import brownian, landmarks, moved_shapes, normals

N, GRID = 8, TimeGrid(1.0, 20)
UNEVEN = TimeGrid.at([(k / 20) ** 1.5 for k in range(21)])
SMALL = LandmarkTraining(paths=40, steps=1, width=16, heads=2)


def law(n: int, seed: int) -> tuple[LandmarkDiffusion, Tensor]:
    """Amplitudes around 0.4 and length-scales around 0.5: eight landmarks that move far."""
    u = 0.2 * torch.randn(n, 1, 2, generator=generator(seed), dtype=torch.float64)
    return LandmarkDiffusion(math.log(0.4) + u[..., 0], math.log(0.5) + u[..., 1], 2, 1e-3), ellipse(
        N, 2
    ).flatten()


def scores(seed: int) -> LandmarkScores:
    """Untrained scores, with coefficients that are not 0."""
    states = _states(law, GRID, 20, seed)
    network = untrained(states, SMALL, seed)
    torch.nn.init.normal_(network.coefficients.weight, std=2.0, generator=generator(seed))
    network.requires_grad_(False)
    return LandmarkScores(2, 1e-3, 1.0, network)


@pytest.mark.parametrize("k", [1, 7, 20])
@torch.no_grad()
def test_a_permutation_of_the_landmarks_permutes_the_pull(k: int) -> None:
    sde, found = landmarks(a=0.4), scores(1)
    x_0, x = moved_shapes(sde, N, 5, 2)
    order = torch.randperm(N, generator=generator(3))

    def permuted(v: Tensor) -> Tensor:
        return v.unflatten(-1, (N, 2))[..., order, :].flatten(-2)

    pull = found(sde, x_0, GRID).pull(k, x, sde.at(x))
    moved = permuted(x)
    other = found(sde, permuted(x_0), GRID).pull(k, moved, sde.at(moved))
    residual = pull - MidpointBase(sde, x_0, GRID).pull(k, x, sde.at(x))
    assert residual.norm() > 0.05 * pull.norm()
    torch.testing.assert_close(other, permuted(pull), rtol=0, atol=1e-4 * float(residual.abs().max()))


def test_a_translation_leaves_the_pull_as_it_is() -> None:
    sde, found = landmarks(a=0.4), scores(1)
    x_0, x = moved_shapes(sde, N, 5, 2)
    away = torch.tensor([3.0, -2.0], dtype=torch.float64).repeat(N)
    pull = found(sde, x_0, GRID).pull(7, x, sde.at(x))
    other = found(sde, x_0 + away, GRID).pull(7, x + away, sde.at(x + away))
    torch.testing.assert_close(other, pull, rtol=0, atol=1e-4 * float(pull.abs().max()))


@pytest.mark.parametrize("grid", [GRID, UNEVEN], ids=["equal", "uneven"])
def test_the_objective_is_the_divergence_of_the_proposal_by_hand(grid: TimeGrid) -> None:
    """The gain of a path is log q of midpoint less log q of the scores, summed over its steps."""
    found, paths = scores(4), 3
    states = _states(law, grid, paths, 5)
    gains = states.gain(found.network).view(paths, -1).sum(1)
    drawn = torch.zeros(paths, dtype=torch.float64)
    sde, x_0, path = redrawn(grid, paths, 5)
    bases = found(sde, x_0, grid), MidpointBase(sde, x_0, grid)
    for k in range(2, grid.steps + 1):
        x, before, dt = path[..., k, :], path[..., k - 1, :], grid.step(k - 1)
        here, variance = sde.at(x), dt * grid.time(k - 1) / grid.time(k)
        learned, plain = (
            here.log_normal(before - x - base.pull(k, x, here) * dt, variance).squeeze(1) for base in bases
        )
        drawn += plain - learned
    torch.testing.assert_close(gains.double(), drawn, rtol=1e-3, atol=1e-2)
    assert float(drawn.abs().max()) > 1


def redrawn(grid: TimeGrid, paths: int, seed: int) -> tuple[LandmarkDiffusion, Tensor, Tensor]:
    """Return the law's draw and the paths (paths, 1, K + 1, D) that `_states` has drawn from this seed."""
    own = derive_seed(seed, 0)
    sde, x_0 = law(paths, derive_seed(own, "law"))
    noise = normals(derive_seed(own, "paths"), grid.steps, paths, 1, 2 * N)
    return sde, x_0, euler_path(sde, x_0, grid, noise)


@cache
def trained() -> LandmarkScores:
    return learn_landmarks(law, GRID, LandmarkTraining(paths=1_500, steps=300, batch=256, width=32), 6)


def test_training_lowers_the_held_out_divergence_and_the_variance_of_the_weights() -> None:
    found = trained()
    mean, error = found.held_out
    assert found.used
    assert mean < -3 * error  # by chance: once in 700 times, as below
    sde = landmarks(a=0.4)
    x_0, y = moved_shapes(sde, N, 30, 7)
    sampler = BridgeSampler(base="midpoint", particles=32)
    noise = sampler.noise(GRID, y.shape[:-1], y.shape[-1], 8)
    with torch.no_grad():
        plain, learned = (
            sampler.bridges(sde, x_0, y, GRID, noise, base=base).log_weights.var(-1)
            for base in (MidpointBase, found)
        )
    lower = learned.log() - plain.log()
    assert float(lower.mean()) < -3 * float(lower.std()) / len(lower) ** 0.5


def test_scores_serve_other_numbers_of_landmarks_and_steps() -> None:
    sde, finer = landmarks(a=0.4), TimeGrid(1.0, 50)
    x_0, y = moved_shapes(sde, 11, 2, 9)
    base = trained()(sde, x_0, finer)
    assert base.pull(30, y, sde.at(y)).shape == y.shape


@pytest.mark.parametrize(
    ("sde", "grid", "sentence"),
    [
        (brownian(), GRID, "for landmarks, not for a BrownianMotion"),
        (landmarks(nugget=1e-2), GRID, "learn scores of this diffusion"),
        (landmarks(dimensions=3), GRID, "learn scores of this diffusion"),
        (landmarks(), TimeGrid(2.0, 20), "learn scores of this diffusion"),
    ],
)
def test_scores_refuse_another_diffusion(sde, grid: TimeGrid, sentence: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=sentence):
        scores(1)(sde, ellipse(N, 2).flatten(), grid)


@pytest.mark.parametrize("options", [{"width": 30}, {"paths": 3}, {"rate": 0.0}])
def test_settings_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match="landmark scores"):
        LandmarkTraining(**options)  # type: ignore[arg-type]


def test_the_description_has_a_vector_for_each_field() -> None:
    sde = landmarks(a=0.4)
    x_0, x = moved_shapes(sde, N, 5, 2)
    base, here = MidpointBase(sde, x_0, GRID), sde.at(x)
    pull = base.pull(7, x, here)
    seen = describe(base, torch.tensor(7), x, here, pull)
    assert seen.fields.shape == (5, N, FIELDS, 2)
    # the first field is the base's own Σ ∇log p, in units of √(k_ii/t)
    unit = (here.kernel[..., 0, 0] / 0.35).sqrt()[:, None]
    own = (pull - here.divergence) / unit
    own = own.unflatten(-1, (N, 2))
    shortened = own / (1 + own.square().sum(-1, keepdim=True) / 100).sqrt()
    torch.testing.assert_close(seen.fields[..., 0, :], shortened)
