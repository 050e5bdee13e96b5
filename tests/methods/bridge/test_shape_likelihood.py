"""Likelihoods of shapes: of the tangent space for small movements, and the same however a shape lies."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import chi2
from torch import Tensor

from graybench.benchmark.shapes import fits as shapes
from graybench.benchmark.shapes.specimens import aligned
from graybench.methods.bridge.inference import maximise
from graybench.methods.bridge.likelihood import BridgeSampler
from graybench.methods.bridge.shape_likelihood import ShapeLikelihood
from graybench.tasks.landmarks.diffusion import LandmarkDiffusion
from graybench.tasks.landmarks.procrustes import align_to
from graybench.tasks.landmarks.task import ellipse
from graybench.tasks.sde.brownian import BrownianMotion
from graybench.tasks.sde.sde import TimeGrid, euler_path
from graybench.tasks.seeding import generator

QUICK = shapes.Settings(particles=4, steps=12)
A, LENGTH = 0.1, 0.5


def diffuse(start: Tensor, count: int, seed: int, *, a: float = A, time: float = 1.0) -> Tensor:
    """Draw shapes at the end of finely resolved diffusions from start, (n, m) or (count, n, m)."""
    n, m = start.shape[-2:]
    theta = torch.tensor([a, LENGTH], dtype=torch.float64).log()
    sde = LandmarkDiffusion(theta[0], theta[1], m, QUICK.nugget)
    noise = torch.randn((60, count, n * m), generator=generator(seed), dtype=torch.float64)
    return euler_path(sde, start.flatten(-2), TimeGrid(time, 60), noise)[..., -1, :].unflatten(-1, (n, m))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_alignment_does_not_change_a_and_length(dimensions: int) -> None:
    # Two numbers within 4 standard errors: a correct fit fails one seed in 8,000; the seed is fixed.
    start = ellipse(8, dimensions)
    radius = float(start.square().sum(1).mean().sqrt())
    shapes_of, _ = aligned(diffuse(start, 40, 3, a=0.05), False)
    found = shapes.fit(shapes_of, QUICK, "fit", ("theta",))
    off = np.array(found["theta"]) - np.log([0.05 / radius, LENGTH / radius])
    assert (np.abs(off) < 4 * np.array(found["theta_stderr"])).all()
    assert max(found["theta_stderr"]) < 0.15
    assert found["ess_least"] > 0.5
    # The ablation is off by far more than that: the movement as a whole is gone from the data.
    ablation = shapes.fit(shapes_of, replace(QUICK, as_aligned=True), "fit", ("theta",))
    assert ablation["theta"][1] - math.log(LENGTH / radius) < -0.25


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("keep_size", [False, True])
def test_the_likelihood_of_a_shape_is_that_of_its_tangent_space_for_small_movements(
    dimensions: int, keep_size: bool
) -> None:
    a, start = 1e-3, ellipse(6, dimensions) - ellipse(6, dimensions).mean(0)
    ends = diffuse(start, 5, 4, a=a)
    settings = replace(QUICK, keep_size=keep_size, particles=16)
    likelihood = shapes.likelihood_of(ends, settings, "test")
    assert isinstance(likelihood, ShapeLikelihood)
    theta = torch.tensor([a, LENGTH], dtype=torch.float64).log()
    found = likelihood(theta, start.flatten())
    units = torch.eye(6 * dimensions, dtype=torch.float64)
    covariance = torch.stack([likelihood.make(theta).at(start.flatten()).times(unit) for unit in units])
    away = likelihood._directions(start.flatten())
    across = torch.linalg.svd(away)[2][len(away) :]
    law = torch.distributions.MultivariateNormal(
        torch.zeros(len(across), dtype=torch.float64), across @ covariance @ across.T
    )
    expected = law.log_prob((ends.flatten(1) - start.flatten()) @ across.T)
    # The volume of the directions: ∫ over places c, not over distances along them.
    expected = expected - 0.5 * torch.logdet(away @ away.T)
    # Curvature is of the order of a, the Monte Carlo error of a, too.
    assert found.value.numpy() == pytest.approx(expected.numpy(), abs=0.05)
    assert float(found.ess_fraction.min()) > 0.99
    np.testing.assert_allclose(likelihood.normal(theta, start.flatten()), expected, rtol=1e-9)
    # The information about x_0 in what is across, and that of the penalty along directions of length 1.
    held = replace(likelihood, reference=start.flatten(), slack=3.0)
    known = held.start_information(theta, start.flatten())
    inside = across.T @ torch.linalg.inv(across @ covariance @ across.T) @ across
    along = torch.nn.functional.normalize(away, dim=1)
    assert known is not None
    np.testing.assert_allclose(known, 5 * inside + along.T @ along / 9, rtol=1e-8, atol=1e-4)
    assert likelihood.start_information(theta, start.flatten()) is None


class Measured(ShapeLikelihood):
    """The same likelihood, whose information about x_0 is measured."""

    def start_information(self, theta: Tensor, x_0: Tensor) -> None:
        return None


def test_errors_in_closed_form_are_those_of_the_observed_information() -> None:
    # a/ℓ is 0.1. The errors of 16 coordinates agree to 1 %, and those of a and ℓ, to which x_0 is orthogonal.
    start, a = ellipse(8, 2), 0.05
    y = aligned(diffuse(start, 12, 3, a=a), False)[0]
    mean, theta = y.mean(0).flatten(), torch.tensor([a, LENGTH], dtype=torch.float64).log()
    known = shapes.likelihood_of(y, replace(QUICK, particles=4), "fit", reference=mean, slack=a / 12**0.5)
    measured = Measured(**{field.name: getattr(known, field.name) for field in fields(known)})
    one, other = (maximise(each, theta, mean, ("theta", "x_0")) for each in (known, measured))
    assert one.converged
    assert other.converged
    assert one.evaluations < other.evaluations / 2
    assert ((one.x_0 - other.x_0).abs() < 0.01 * other.x_0_stderr).all()
    np.testing.assert_allclose(one.x_0_stderr, other.x_0_stderr, rtol=0.01)
    np.testing.assert_allclose(one.theta_stderr, other.theta_stderr, rtol=0.01)


def test_the_start_of_an_outline_is_within_its_errors() -> None:
    # d M Q d of the error d is of χ² with 36 degrees of freedom: a correct fit fails one seed in 1,000.
    start = ellipse(20, 2)
    start = start * math.sqrt(20) / torch.linalg.matrix_norm(start)
    y = aligned(diffuse(start, 8, 5, a=0.04), False)[0]
    mean, theta = y.mean(0).flatten(), torch.tensor([0.04, LENGTH], dtype=torch.float64).log()
    likelihood = shapes.likelihood_of(y, QUICK, "fit", reference=mean, slack=0.04 / 8**0.5)
    found = maximise(likelihood, theta, mean, ("x_0",))
    assert isinstance(likelihood, ShapeLikelihood)
    known = replace(likelihood, slack=1e6).start_information(theta, found.x_0)
    assert known is not None
    truth = align_to(found.x_0.unflatten(0, (-1, 2)), start).flatten() * math.sqrt(20)
    error = truth - found.x_0
    assert float(error @ known @ error) < chi2.ppf(0.999, 36)
    assert float(error @ known @ error) > chi2.ppf(0.001, 36)


def test_the_likelihood_of_a_shape_does_not_see_how_it_lies() -> None:
    start, ends = ellipse(6, 2), diffuse(ellipse(6, 2), 6, 4)
    turn = torch.tensor([[0.6, 0.8], [-0.8, 0.6]], dtype=torch.float64)
    sampler = replace(QUICK, keep_size=True, particles=256)
    theta = torch.tensor([A, LENGTH], dtype=torch.float64).log()
    placed = aligned(ends, True)[0] * float(
        torch.linalg.matrix_norm(ends - ends.mean(1, keepdim=True)).mean()
    )
    placed = placed / math.sqrt(6)
    one = shapes.likelihood_of(ends, sampler, "one")(theta, start.flatten())
    # x_0 and the ends are now in another frame, and the ends aligned in it, each by itself.
    other = shapes.likelihood_of(placed @ turn, sampler, "two")(theta, (start @ turn + 3).flatten())
    error = (one.stderr.square() + other.stderr.square()).sqrt()
    # Six numbers within 5 standard errors: a correct estimate fails one seed in 10⁵; the seed is fixed.
    assert ((one.value - other.value).abs() < 5 * error).all()


@pytest.mark.parametrize("sigma", [0.3, 2.0, 5.0])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_rotation_is_counted_once_however_far_the_landmarks_move(dimensions: int, sigma: float) -> None:
    """Of Brownian motion from a cross P of 2m points to itself, whose bridges have exact weights, by
    quadrature over the angle of R:

    ∫ N(P R + τ; P, σ² I) dτ dR = (2πσ²)^{−(2m − 1) m/2} (2m)^{−m/2} ∫ exp(2 (tr R − m)/σ²) dR

    Up to two thirds of the places are beyond a half turn. Within 4.5 standard errors: a correct estimate
    fails one seed in 150,000; the seed is fixed.
    """
    m, units = dimensions, torch.eye(dimensions, dtype=torch.float64)
    cross = torch.cat([units, -units]).flatten()

    def integrand(angle: float) -> float:
        haar = 2.0 if m == 2 else 4 * math.pi * (2 * math.sin(angle / 2)) ** 2
        return haar * math.exp(4 * (math.cos(angle) - 1) / sigma**2)

    expected = math.log(quad(integrand, 0, math.pi)[0]) - m / 2 * math.log(2 * m)
    expected -= (2 * m - 1) * m / 2 * math.log(2 * math.pi * sigma**2)
    theta = torch.tensor(sigma, dtype=torch.float64).log().requires_grad_()
    likelihood = ShapeLikelihood(
        lambda at: BrownianMotion(torch.zeros_like(at), at.exp()),
        cross.unsqueeze(0),
        TimeGrid(1.0, 2),
        BridgeSampler(particles=20_000),
        3,
        m,
        True,
    )
    found = likelihood(theta, cross)
    (slope,) = torch.autograd.grad(found.value.sum(), theta)
    assert slope.isfinite()
    value, stderr = float(found.value.detach()), float(found.stderr)
    assert stderr < 0.03
    assert abs(value - expected) < 4.5 * stderr


def test_parameters_that_overflow_have_no_finite_likelihood_and_raise_nothing() -> None:
    start = ellipse(6, 2)
    likelihood = shapes.likelihood_of(diffuse(start, 3, 4), QUICK, "test")
    found = likelihood(torch.tensor([400.0, 0.0], dtype=torch.float64), start.flatten())
    assert not found.value.isfinite().any()
