"""Maximum likelihood through bridges, against closed forms where every bridge is exact."""

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from graybench.methods.bridge import inference
from graybench.methods.bridge.inference import Likelihood, UnknownErrorsWarning, maximise
from graybench.methods.bridge.likelihood import BridgeSampler, Estimate
from graybench.methods.bridge.shape_likelihood import ShapeLikelihood
from graybench.tasks.errors import NotFiniteError, UserError
from graybench.tasks.landmarks.diffusion import LandmarkDiffusion
from graybench.tasks.sde.brownian import BrownianMotion
from graybench.tasks.sde.sde import SDE, TimeGrid
from graybench.tests.methods.bridge.models import (
    DoubleWell,
    double_well,
    end_points,
    landmarks,
    moved_shapes,
    normals,
    number,
    scheme_density,
)

GRID, SHAPES, DIM = TimeGrid(1.0, 10), 30, 3
X_0 = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
Y = X_0 + 0.4 + 0.8 * normals(1, SHAPES, DIM)


def drifting(theta: Tensor) -> SDE:
    return BrownianMotion(theta[0], theta[1].exp())


def still(theta: Tensor) -> SDE:
    return BrownianMotion(number(0.0), theta[0].exp())


def test_parameters_of_brownian_motion_and_their_errors_in_closed_form() -> None:
    likelihood = Likelihood(drifting, Y, GRID, BridgeSampler(particles=2), 1)
    fit = maximise(likelihood, torch.zeros(2, dtype=torch.float64), X_0)
    moved = Y - X_0
    sigma = float((moved - moved.mean()).square().mean().sqrt())
    assert fit.converged
    assert float(fit.theta[0]) == pytest.approx(float(moved.mean()), abs=1e-4)
    assert float(fit.theta[1]) == pytest.approx(math.log(sigma), abs=1e-4)
    assert float(fit.theta_stderr[0]) == pytest.approx(sigma / (SHAPES * DIM) ** 0.5, rel=1e-3)
    assert float(fit.theta_stderr[1]) == pytest.approx(1 / (2 * SHAPES * DIM) ** 0.5, rel=1e-3)
    exact = torch.distributions.Normal(moved.mean(), sigma).log_prob(moved).sum()
    assert fit.log_likelihood == pytest.approx(float(exact), abs=1e-4)
    assert float(likelihood.normal(fit.theta, X_0).sum()) == pytest.approx(fit.log_likelihood, rel=1e-9)
    assert fit.x_0.equal(X_0)
    assert fit.x_0_stderr.isnan().all()


def test_a_climb_that_ends_at_an_infinite_likelihood_has_not_converged() -> None:
    """L-BFGS takes −∞ for the end of its line, and says that it has converged."""

    class Cut(Likelihood):
        def estimate(self, theta: Tensor, x_0: Tensor, rows: slice, noise: Any) -> Estimate:
            found = super().estimate(theta, x_0, rows, noise)
            return found._replace(value=torch.where(theta[0] < 0.1, found.value, -math.inf))

    start = torch.zeros(2, dtype=torch.float64)
    parts = drifting, Y, GRID, BridgeSampler(particles=2), 1
    assert float(maximise(Likelihood(*parts), start, X_0).theta[0]) > 0.1
    assert not maximise(Cut(*parts), start, X_0).converged


def test_the_diffusion_mean_of_brownian_motion_is_the_sample_mean() -> None:
    likelihood = Likelihood(still, Y, GRID, BridgeSampler(particles=2), 1)
    theta = number(math.log(0.8)).view(1)
    fit = maximise(likelihood, theta, torch.zeros(DIM, dtype=torch.float64), free=("x_0",))
    torch.testing.assert_close(fit.x_0, Y.mean(0), rtol=0, atol=1e-4)
    expected = torch.full((DIM,), 0.8 / SHAPES**0.5, dtype=torch.float64)
    torch.testing.assert_close(fit.x_0_stderr, expected, rtol=1e-3, atol=0)
    assert fit.theta.equal(theta)


def test_start_and_scale_of_brownian_motion_together() -> None:
    likelihood = Likelihood(still, Y, GRID, BridgeSampler(particles=2), 1)
    start = torch.zeros(1, dtype=torch.float64), torch.zeros(DIM, dtype=torch.float64)
    fit = maximise(likelihood, *start, free=("theta", "x_0"))
    sigma = float((Y - Y.mean(0)).square().mean().sqrt())
    torch.testing.assert_close(fit.x_0, Y.mean(0), rtol=0, atol=1e-3)
    assert float(fit.theta[0]) == pytest.approx(math.log(sigma), abs=1e-3)
    assert float(fit.theta_stderr[0]) == pytest.approx(1 / (2 * SHAPES * DIM) ** 0.5, rel=1e-2)


def well(theta: Tensor) -> SDE:
    return DoubleWell(theta[0].exp(), theta[1].exp())


def test_a_rough_likelihood_gives_no_standard_errors() -> None:
    """Of the double well over a long time. Differences over 1e-3 said ±0.001 for log θ, which is ±0.5."""
    grid, x_0 = TimeGrid(4.0, 60), number(-1.0).view(1)
    y = end_points(double_well(), x_0, grid, 20, 3)
    likelihood = Likelihood(well, y, grid, BridgeSampler(base="midpoint", particles=16), 1)
    with pytest.warns(UnknownErrorsWarning, match="standard errors are unknown"):
        fit = maximise(likelihood, torch.tensor([0.0, -0.4], dtype=torch.float64), x_0)
    assert not fit.converged
    assert fit.theta_stderr.isnan().all()
    # Where all bridges to an end point overflow, there is no slope to climb.
    with pytest.raises(NotFiniteError, match="no bridge reaches end point 17, as all overflow: leave it out"):
        maximise(likelihood, torch.tensor([1.0, 0.0], dtype=torch.float64), x_0)


def test_standard_errors_of_the_double_well_are_those_of_the_exact_likelihood() -> None:
    """Differences of the scheme's exact density over a quarter of a standard error."""
    grid, x_0 = TimeGrid(1.0, 25), number(-1.0).view(1)
    y = end_points(double_well(), x_0, grid, 40, 4)
    start = torch.zeros(2, dtype=torch.float64)
    fit = maximise(Likelihood(well, y, grid, BridgeSampler(particles=64), 1), start, x_0)
    steps = 0.25 * torch.diag(fit.theta_stderr)

    def negative(moves: Tensor) -> float:
        theta = fit.theta + moves @ steps
        return -float(scheme_density(well(theta), -1.0, y[:, 0], grid, -4.0, 4.0).log().sum())

    near = {(a, b): negative(torch.tensor([a, b]).double()) for a in (-1, 0, 1) for b in (-1, 0, 1)}
    own = [near[1, 0] + near[-1, 0] - 2 * near[0, 0], near[0, 1] + near[0, -1] - 2 * near[0, 0]]
    mixed = (near[1, 1] + near[-1, -1] - near[1, -1] - near[-1, 1]) / 4
    hessian = torch.tensor([[own[0], mixed], [mixed, own[1]]], dtype=torch.float64)
    exact = 0.25 * fit.theta_stderr * torch.linalg.inv(hessian).diagonal().sqrt()
    torch.testing.assert_close(fit.theta_stderr, exact, rtol=0.1, atol=0)
    slope = torch.tensor([near[1, 0] - near[-1, 0], near[0, 1] - near[0, -1]], dtype=torch.float64) / 2
    assert float(slope @ torch.linalg.solve(hessian, slope)) < 0.3**2  # standard errors from its maximum


def make_landmarks(theta: Tensor) -> SDE:
    return LandmarkDiffusion(theta[0], theta[1], 2, 1e-3)


def test_landmarks_are_recovered_within_their_errors() -> None:
    sde, grid = landmarks(a=0.1), TimeGrid(1.0, 30)
    x_0, y = moved_shapes(sde, 6, 24, 5)
    truth = torch.stack([sde.log_a, sde.log_length])
    likelihood = Likelihood(make_landmarks, y, grid, BridgeSampler(particles=4), 6)
    fit = maximise(likelihood, truth + torch.tensor([0.5, -0.4], dtype=torch.float64), x_0)
    assert fit.converged
    assert (fit.theta_stderr < 0.15).all()
    assert ((fit.theta - truth).abs() < 4 * fit.theta_stderr).all()  # fails once in 8,000 times
    assert fit.estimate.ess_fraction.mean() > 0.8


def test_the_gradient_is_that_of_the_sum() -> None:
    sde, grid = landmarks(a=0.1), TimeGrid(1.0, 5)
    x_0, y = moved_shapes(sde, 3, 4, 7)
    likelihood = Likelihood(make_landmarks, y, grid, BridgeSampler(particles=2), 8)
    theta = torch.stack([sde.log_a, sde.log_length])
    value, in_theta, in_x_0 = likelihood.gradient(theta, x_0)
    assert value == pytest.approx(float(likelihood(theta, x_0).value.sum()))
    step = 1e-5
    for k in range(2):
        unit = step * torch.eye(2, dtype=torch.float64)[k]
        ends = (float(likelihood(theta + s * unit, x_0).value.sum()) for s in (1, -1))
        ahead, behind = ends
        assert float(in_theta[k]) == pytest.approx((ahead - behind) / (2 * step), rel=1e-4, abs=1e-4)
    unit = step * torch.eye(6, dtype=torch.float64)[2]
    ahead, behind = (float(likelihood(theta, x_0 + s * unit).value.sum()) for s in (1, -1))
    assert float(in_x_0[2]) == pytest.approx((ahead - behind) / (2 * step), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("kind", ["points", "shapes", "shapes with a start each"])
def test_a_gradient_in_portions_is_that_of_all_end_points(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sde, grid = landmarks(a=0.1), TimeGrid(1.0, 5)
    x_0, y = moved_shapes(sde, 3, 7, 7)
    theta, sampler = torch.stack([sde.log_a, sde.log_length]), BridgeSampler(particles=2)
    if kind == "points":
        likelihood = Likelihood(make_landmarks, y, grid, sampler, 8)
    else:
        likelihood = ShapeLikelihood(make_landmarks, y, grid, sampler, 8, 2, False, x_0, 0.1)
    if kind == "shapes with a start each":
        likelihood = replace(likelihood, reference=None)
        x_0 = x_0 + 0.01 * torch.arange(7, dtype=torch.float64)[:, None, None]
    once, of_rows, portions = likelihood.gradient(theta, x_0), type(likelihood).estimate, []

    def estimate(self: Likelihood, theta: Tensor, x_0: Tensor, rows: slice, noise: Any) -> Estimate:
        portions.append(rows)
        return of_rows(self, theta, x_0, rows, noise)

    monkeypatch.setattr(type(likelihood), "estimate", estimate)
    monkeypatch.setattr(inference, "PORTION", 3 * 5 * 2 * 6**2)
    for part, whole in zip(likelihood.gradient(theta, x_0), once, strict=True):
        np.testing.assert_allclose(part, whole, rtol=1e-10, atol=1e-10)
    assert portions == [slice(0, 3), slice(3, 6), slice(6, 9)]


@pytest.mark.parametrize(
    ("y", "sigma", "cause"),
    [
        (1e5, 0.7, "end point 1, as it is over 1,000 standard deviations away: leave it out"),
        (math.inf, 0.7, "end point 1, as the end point is not finite: leave it out"),
        (0.0, 0.0, "end point 0, as Σ at the start is singular: correct the model or leave it out"),
        (0.0, math.nan, "end point 0, as Σ at the start is singular: correct the model or leave it out"),
    ],
)
def test_an_end_point_that_no_path_reaches_is_told(y: float, sigma: float, cause: str) -> None:
    """From an estimate as a warning, beside the other likelihoods, and from `maximise` as an error."""
    ends, x_0, theta = torch.tensor([[-0.5], [y]]), number(-1.0).view(1), number(sigma).view(1)

    def make(theta: Tensor) -> SDE:
        return DoubleWell(number(1.0), theta[0])

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = BridgeSampler(particles=16).estimate(make(theta), x_0, ends.double(), GRID, 1)
    told = [str(warning.message) for warning in caught]
    assert [sentence for sentence in told if f"no bridge reaches {cause}." in sentence] == told
    assert found.value.isfinite()[0] == (sigma > 0)
    likelihood = Likelihood(make, ends.double(), GRID, BridgeSampler(particles=16), 1)
    with pytest.raises(NotFiniteError, match=f"with the initial θ and x_0 no bridge reaches {cause}"):
        maximise(likelihood, theta, x_0)


def test_mistakes_are_told() -> None:
    likelihood = Likelihood(drifting, Y, GRID, BridgeSampler(particles=2), 1)
    with pytest.raises(UserError, match="free must be theta, x_0 or both"):
        maximise(likelihood, torch.zeros(2, dtype=torch.float64), X_0, free=("x0",))
    resampling = Likelihood(drifting, Y, GRID, BridgeSampler(particles=2, threshold=0.5), 1)
    with pytest.raises(UserError, match="no gradient"):
        maximise(resampling, torch.zeros(2, dtype=torch.float64), X_0)
