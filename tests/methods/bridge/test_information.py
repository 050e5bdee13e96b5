"""Standard errors from the curvature: right where the likelihood is smooth, unknown where it is not."""

import math

import numpy as np
import pytest

from graybench.methods.bridge.information import Floats, Objective, observed_information

TOP = np.array([0.5, -1.0])
HESSIAN = np.array([[50.0, 10.0], [10.0, 4.0]])
STDERR = np.sqrt(np.linalg.inv(HESSIAN).diagonal())
FLAT = np.zeros(2)


def bowl(point: Floats) -> tuple[float, Floats]:
    moved = point - TOP
    return 0.5 * moved @ HESSIAN @ moved, HESSIAN @ moved


def with_waves(height: float, length: float) -> Objective:
    """The bowl with waves along each axis."""

    def waved(point: Floats) -> tuple[float, Floats]:
        value, slope = bowl(point)
        return value + height * np.cos(point / length).sum(), slope - height / length * np.sin(point / length)

    return waved


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_bowl_of_any_width(scale: float) -> None:
    def scaled(point: Floats) -> tuple[float, Floats]:
        value, slope = bowl(TOP + (point - TOP) / scale)
        return value, slope / scale

    found = observed_information((scaled, scaled), TOP, FLAT)
    assert found.fault == ""
    np.testing.assert_allclose(found.stderr, scale * STDERR, rtol=1e-6)


def test_the_scale_of_a_normal_sample() -> None:
    """ℓ = n (s + e^(−2s)/2) for s = log σ: the standard error is 1/√(2n)."""

    def objective(point: Floats) -> tuple[float, Floats]:
        shrunk = np.exp(-2 * point)
        return float(20 * (point + shrunk / 2).sum()), 20 * (1 - shrunk)

    found = observed_information((objective, objective), np.zeros(1), np.zeros(1))
    assert found.stderr[0] == pytest.approx(40**-0.5, rel=0.01)


def test_waves_shorter_than_the_standard_error_are_told() -> None:
    """Waves of 0.02 with length 1e-3 make second differences of up to 20,000 where 50 and 4 are right."""
    found = observed_information((bowl, with_waves(0.02, 1e-3)), TOP, FLAT)
    assert found.fault
    assert np.isnan(found.stderr).all()


def test_a_spike_of_the_climbs_own_noise_leaves_no_trace() -> None:
    """The climb ended 0.3 standard errors from the top; other bridges do not share its spike."""
    away = TOP + 0.3 * np.array([STDERR[0], 0.0]) * (1 - 10.0**2 / (50 * 4)) ** 0.5
    found = observed_information((bowl, bowl), away, FLAT)
    assert found.fault == ""
    np.testing.assert_allclose(found.stderr, STDERR, rtol=1e-6)


def test_a_maximum_that_other_bridges_do_not_share() -> None:
    found = observed_information((bowl, bowl), TOP + STDERR, FLAT)
    assert "other bridges put the maximum" in found.fault


def test_two_estimates_must_agree() -> None:
    def narrow(point: Floats) -> tuple[float, Floats]:
        value, slope = bowl(point)
        return 1.8 * value, 1.8 * slope

    found = observed_information((bowl, narrow), TOP, FLAT)
    assert found.fault == "other bridges give other standard errors"
    assert np.isnan(found.stderr).all()


def test_the_hessians_of_two_estimates_are_averaged() -> None:
    def narrow(point: Floats) -> tuple[float, Floats]:
        value, slope = bowl(point)
        return 1.2 * value, 1.2 * slope

    found = observed_information((bowl, narrow), TOP, FLAT)
    np.testing.assert_allclose(found.stderr, STDERR / 1.1**0.5, rtol=1e-6)


def test_what_is_known_is_not_measured() -> None:
    """A third coordinate that no difference may move, with information 16: its standard error is 1/4."""

    def wider(point: Floats) -> tuple[float, Floats]:
        assert point[2] == 7
        value, slope = bowl(point[:2])
        return value, np.append(slope, 0.0)

    point, known = np.append(TOP, 7.0), np.array([[16.0]])
    found = observed_information((wider, wider), point, np.zeros(3), known)
    assert found.fault == ""
    np.testing.assert_allclose(found.stderr, [*STDERR, 0.25], rtol=1e-6)
    away = observed_information((wider, wider), point, np.array([0.0, 0.0, 0.41]), known)
    assert away.fault == "the climb ended before the maximum"  # 0.41/√16 is more than 0.1 standard errors


def test_a_climb_that_ended_early() -> None:
    found = observed_information((bowl, bowl), TOP, HESSIAN @ STDERR)
    assert found.fault == "the climb ended before the maximum"


@pytest.mark.parametrize(
    ("objective", "fault"),
    [
        (lambda p: (p[0] ** 2 - p[1] ** 2, np.array([2 * p[0], -2 * p[1]])), "depends on the step"),
        (lambda p: (p[0] ** 2, np.array([2 * p[0], 0.0])), "depends on the step"),
        (
            lambda p: (p @ p + 4 * p[0] * p[1], 2 * p + 4 * p[::-1]),
            "the observed information is not positive definite",
        ),
        (lambda p: (math.inf if p[0] > 1e-4 else p @ p, 2 * p), "not finite near the maximum"),
        (lambda p: (p @ p, 6 * p), "values and its gradients do not agree"),
    ],
)
def test_saddles_ridges_edges_and_false_gradients(objective: Objective, fault: str) -> None:
    found = observed_information((objective, objective), np.zeros(2), FLAT)
    assert fault in found.fault
    assert np.isnan(found.stderr).all()
