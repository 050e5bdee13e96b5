"""Weights without determinants and without solves, against the ordinary ones."""

from functools import partial

import pytest
import torch
from torch import Tensor

from graybench.benchmark.papers.bridge.experiments.determinants import _without_determinants, free_log_weights
from graybench.methods.bridge.bases import MidpointBase, NoBase
from graybench.methods.bridge.proposals import reverse_bridges
from graybench.tasks.landmarks.diffusion import DriftingLandmarks, LandmarkDiffusion
from graybench.tasks.sde.sde import TimeGrid
from graybench.tests.methods.bridge.models import UNEVEN, landmarks, moved_shapes, normals

GRIDS = pytest.mark.parametrize("grid", [TimeGrid(1.5, 30), UNEVEN], ids=["equal", "uneven"])


class Scored(NoBase):
    """The pull of a score that is bad, and has nothing to do with a density."""

    def score(self, k: int, x: Tensor) -> Tensor:
        return (self.x_0 - x).tanh() / self.grid.time(k) + x.roll(1, -1)

    def pull(self, k, x, here):  # type: ignore[no-untyped-def]
        return here.times(self.score(k, x)) + here.divergence


@GRIDS
@pytest.mark.parametrize("base", [MidpointBase, Scored])
@pytest.mark.parametrize("velocity", [0.0, 0.3])
@torch.no_grad()
def test_steps_without_solves_have_the_same_weights(base, grid, velocity) -> None:  # type: ignore[no-untyped-def]
    """Whatever the score, and with a Σ that depends on x."""
    plain = landmarks(nugget=1e-2)
    sde = DriftingLandmarks(plain.log_a, plain.log_length, 2, 1e-2, velocity * normals(6, 10))
    x_0, y = moved_shapes(sde, 5, 3, 1)
    made, noise = base(sde, x_0, grid), normals(2, 29, 3, 4, 10)
    ordinary = reverse_bridges(made, y, noise, kernel="adjoint").log_weights
    free = free_log_weights(made, made.score, y, noise, free_end=False)
    torch.testing.assert_close(free, ordinary, rtol=1e-9, atol=1e-9)


@GRIDS
@torch.no_grad()
def test_no_solve_is_needed_at_all_where_the_covariance_is_constant(grid: TimeGrid) -> None:
    """Landmarks far from each other are Brownian motions, and every weight is the density."""
    sde = landmarks(a=0.3)
    x_0 = 100 * normals(3, 10)
    y = x_0 + 0.3 * normals(4, 3, 10)
    made, noise = MidpointBase(sde, x_0, grid), normals(5, 29, 3, 4, 10)
    free = free_log_weights(made, made.score, y, noise, free_end=True)
    exact = torch.distributions.Normal(x_0, (0.3**2 * (1 + 1e-3) * 1.5) ** 0.5).log_prob(y).sum(-1)
    torch.testing.assert_close(free, exact.unsqueeze(-1).expand(3, 4), rtol=1e-9, atol=1e-9)


def test_the_determinant_of_the_start_is_a_constant_beside_the_amplitude() -> None:
    """log det Σ(x_0) = 2 D log a + log det Σ₀(x_0), so inference of a needs no determinant."""
    x_0, _ = moved_shapes(landmarks(), 5, 1, 1)
    at = partial(LandmarkDiffusion, log_length=torch.tensor(-0.7), dimensions=2, nugget=1e-2)
    low, high = (at(torch.tensor(log_a)).at(x_0).half_log_det for log_a in (-1.5, -0.2))
    assert float(high - low) == pytest.approx(10 * 1.3, rel=1e-6)


@torch.no_grad()
def test_the_offsets_fall_with_the_step() -> None:
    """x_1 comes near x_0, of which log det is taken: the offset falls like dt, or at least like √dt."""
    coarse, fine = (_without_determinants(4, 0.3, steps)[0] for steps in (8, 128))
    for offset in ("offset", "offset_free"):
        assert abs(float(coarse[offset])) > 0.02  # type: ignore[arg-type]
        assert abs(float(fine[offset])) < abs(float(coarse[offset])) / 4  # type: ignore[arg-type]
    assert float(coarse["difference"]) < 1e-9  # type: ignore[arg-type]
