"""Outlines thinned by arc length, against a square, a circle and an ellipse."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import ellipeinc

from graybench.tasks.errors import UserError
from graybench.tasks.landmarks.outlines import thinned


def points(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def close(found, expected, atol):
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def circle(n):
    angle = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    return torch.stack([angle.cos(), angle.sin()], 1)


def test_a_square_is_divided_wherever_its_corners_are():
    """The first side has corners close together, one of them twice; the last side is implied."""
    square = points([0, 0], [0.1, 0], [0.1, 0], [0.3, 0], [2, 0], [2, 2], [0, 2], [0, 1.5])
    two = torch.stack([square, 10 * square + 3])
    eighths = points([0, 0], [1, 0], [2, 0], [2, 1], [2, 2], [1, 2], [0, 2], [0, 1])
    close(thinned(two, 8), torch.stack([eighths, 10 * eighths + 3]), 1e-13)
    close(thinned(two, 3)[0], points([0, 0], [2, 2 / 3], [2 / 3, 2]), 1e-14)


def test_an_outline_that_repeats_its_first_point_is_the_same():
    outline = circle(9) * torch.tensor([2.0, 1.0])
    closed = torch.cat([outline, outline[:1]])
    close(thinned(closed[None], 5), thinned(outline[None], 5), 0)


def test_a_regular_polygon_keeps_every_fifth_corner():
    turned = circle(100).roll(-7, 0)
    close(thinned(turned[None], 20)[0], turned[::5], 1e-13)


def test_all_points_of_equal_sides_stay():
    close(thinned(circle(12)[None], 12)[0], circle(12), 1e-14)


def test_an_ellipse_is_divided_by_its_elliptic_integral():
    """The length of (cos φ, ½ sin φ) from 0 to φ is E(φ + π/2 | ¾) − E(π/2 | ¾).

    The 5,000 corners are unevenly spaced, and the polygon is within 2e-6 of the curve.
    """

    def length(phi):
        return ellipeinc(phi + math.pi / 2, 0.75) - ellipeinc(math.pi / 2, 0.75)

    angle = torch.arange(5000, dtype=torch.float64) * 2 * math.pi / 5000
    angle = angle + 0.5 * angle.sin()
    corners = torch.stack([angle.cos(), 0.5 * angle.sin()], 1)
    targets = np.arange(20) / 20 * length(2 * math.pi)
    phi = np.array([brentq(lambda p, t=t: length(p) - t, 0, 2 * math.pi, xtol=1e-14) for t in targets])
    expected = torch.from_numpy(np.stack([np.cos(phi), 0.5 * np.sin(phi)], 1))
    close(thinned(corners[None], 20)[0], expected, 5e-6)


@pytest.mark.parametrize("count", [2, 13, -1])
def test_too_few_or_too_many_points_are_refused(count):
    with pytest.raises(UserError, match=rf"^points must be from 3 to 12, .* but is {count}\.$"):
        thinned(circle(12)[None], count)
