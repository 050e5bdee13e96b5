"""The task of landmarks: path, templates, and refused options."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

from graybench.tasks import get_task
from graybench.tasks.errors import UserError
from graybench.tasks.landmarks.diffusion import squared_distances
from graybench.tasks.landmarks.files import SHIPPED, read_landmarks
from graybench.tasks.landmarks.procrustes import align, procrustes_distance
from graybench.tasks.landmarks.task import Landmarks, ellipse
from graybench.tasks.seeding import generator
from graybench.tests.numbers import double


def test_squared_distances_far_from_the_origin():
    """To the rounding of the positions, 1e6 times 1e-16; the squares of the positions round to 1e-4."""
    x = 1e6 + torch.randn(3, 5, 2, generator=generator(12), dtype=torch.float64)
    expected = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").square()
    torch.testing.assert_close(squared_distances(x), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    "options", [{"landmarks": 5}, {"landmarks": 4, "dimensions": 3}, {"template": "macaques"}]
)
def test_joint_score_of_landmarks_is_the_difference_of_the_path_density(options):
    task = Landmarks(steps=4, **options)
    theta = task.simulate(20, seed=11).theta
    simulations, path = task.simulate_at(theta, seed=11), task.simulator(theta, generator(11)).latents
    for i, step in enumerate(1e-5 * torch.eye(2, dtype=torch.float64)):
        ends = [task.log_path(theta + sign * step, path) for sign in (1, -1)]
        quotient = 0.3 * (ends[0] - ends[1]) / 2e-5 - simulations.u[:, i]
        torch.testing.assert_close(simulations.joint_score[:, i], quotient, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"landmarks": 5}, {"landmarks": 4, "dimensions": 3}, {"template": "macaques"}]
)
def test_path_density_of_landmarks_is_that_of_scipy(options):
    task = Landmarks(steps=3, nugget=0.01, **options)
    n, m = ellipse(task.landmarks, task.dimensions).shape if "template" not in options else (7, 3)
    drawn = task.simulate(5, seed=12).theta
    latents = task.simulator(drawn, generator(12)).latents
    expected = []
    for theta, path in zip(drawn, latents.numpy(), strict=True):
        a, length = theta.exp().tolist()
        total = 0.0
        for before, after in pairwise(path):
            shape = before.reshape(n, m)
            squared = ((shape[:, None] - shape[None]) ** 2).sum(-1)
            kernel = a**2 * (np.exp(-squared / (2 * length**2)) + 0.01 * np.eye(n))
            law = stats.multivariate_normal(before, np.kron(kernel, np.eye(m)) / 3)
            total += law.logpdf(after)
        expected.append(total)
    torch.testing.assert_close(task.log_path(drawn, latents), double(expected))


@pytest.mark.parametrize("steps", [5, 20])
def test_amplitude_of_landmarks_is_pinned_down_by_the_path(steps):
    """Σ is a² times a matrix, so that its score is a chi-square of K D degrees, less K D: of variance 2 K D.

    |z| < 4.5 for one number: a correct score fails in 1 of 150,000 seeds.
    """
    n, task = 4_000, Landmarks(landmarks=4, steps=steps)
    theta = double([math.log(0.1), math.log(0.5)]).expand(n, 2)
    squares = task.simulator(theta, generator(13)).joint_score[:, 0].square()
    assert abs(float((squares.mean() - 2 * steps * 8) / (squares.std() / math.sqrt(n)))) < 4.5


@pytest.mark.parametrize("dimensions", [2, 3])
def test_landmarks_are_a_martingale_with_the_covariance_of_its_steps(dimensions):
    """E X_T = X_0, E (X_T − X_0)(X_T − X_0)ᵀ = Σ_k E k(X_k) ⊗ I dt.

    |z| < 4.5 for the 8 or 12 means and the 10 products: correct code fails in 1 of 6,500 seeds.
    """
    n, m, rows, task = 4, dimensions, 10_000, Landmarks(landmarks=4, dimensions=dimensions, steps=8)
    theta = double([math.log(0.5), math.log(0.6)]).expand(rows, 2)
    path = task.simulator(theta, generator(14)).latents
    moved = path[:, -1] - task.start
    shapes = path[:, :-1].unflatten(-1, (n, m))
    squared = torch.cdist(shapes, shapes).square()
    kernel = 0.25 * (torch.exp(-squared / (2 * 0.36)) + 1e-3 * torch.eye(n).double())
    moved_landmarks = moved.unflatten(-1, (n, m))
    surplus = moved_landmarks @ moved_landmarks.mT - m * kernel.mean(1)
    pair = torch.triu_indices(n, n)
    for values in (moved, surplus[:, pair[0], pair[1]]):
        assert (values.mean(0) / (values.std(0) / math.sqrt(rows))).abs().max() < 4.5


@pytest.mark.parametrize("n", [5, 8, 11])
def test_ellipse_has_its_semi_axes_and_radius(n):
    x = ellipse(n, 2)
    assert x.shape == (n, 2)
    torch.testing.assert_close(x[:, 0].square() + 4 * x[:, 1].square(), torch.ones(n).double())
    torch.testing.assert_close(x[0], double([1.0, 0.0]))
    torch.testing.assert_close(x.mean(0), torch.zeros(2).double())
    torch.testing.assert_close(x.square().sum(1).mean(), double(0.5 + 0.125))
    angles = np.unwrap(torch.atan2(2 * x[:, 1], x[:, 0]).numpy())
    np.testing.assert_allclose(np.diff(angles), 2 * math.pi / n)


@pytest.mark.parametrize("n", [5, 8, 11])
def test_ellipse_in_space_has_two_waves_along_it(n):
    x = ellipse(n, 3)
    torch.testing.assert_close(x[:, :2], ellipse(n, 2))
    torch.testing.assert_close(x[:, 2], 0.25 * (x[:, 0].square() - 4 * x[:, 1].square()))
    torch.testing.assert_close(x.mean(0), torch.zeros(3).double())
    torch.testing.assert_close(x[:, 2].square().mean(), double(0.25**2 / 2))


@pytest.mark.parametrize(("n", "m"), [(6, 2), (5, 3)])
def test_landmarks_start_at_the_ellipse_one_after_the_other(n, m):
    task = Landmarks(landmarks=n, dimensions=m)
    torch.testing.assert_close(task.start, ellipse(n, m).flatten())
    assert task.dim_x == n * m


@pytest.mark.parametrize(("template", "n", "m"), [("apes", 8, 2), ("macaques", 7, 3)])
def test_shipped_sample_as_a_template_has_unit_radius(template, n, m):
    task = get_task("landmarks", template=template, steps=3)
    assert task.dim_x == n * m
    shape = task.start.reshape(n, m)
    torch.testing.assert_close(shape.mean(0), torch.zeros(m).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(shape.square().sum(1).mean(), double(1.0))
    assert procrustes_distance(shape, align(read_landmarks(template).coordinates).mean) < 1e-7
    assert task.simulate(4, seed=15).x.shape == (4, n * m)


def test_landmark_file_as_a_template_is_the_shipped_one():
    task = Landmarks(template=str(SHIPPED["apes"]))
    torch.testing.assert_close(task.start, Landmarks(template="apes").start, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"landmarks": 1}, "landmarks: landmarks must be a whole number from 2 up"),
        ({"dimensions": 4}, "landmarks: dimensions must be 2 or 3, but is 4"),
        ({"steps": 1}, "landmarks: steps"),
        (
            {"template": "apes", "landmarks": 5},
            "landmarks: a template decides landmarks and dimensions",
        ),
        ({"amplitude": 0.0}, "landmarks: amplitude must be a finite number above 0"),
        ({"length": -0.5}, "landmarks: length must be a finite number above 0, but is -0.5"),
        ({"spread": 0}, "landmarks: spread"),
        ({"nugget": math.nan}, "landmarks: nugget"),
        ({"nuggets": 0.1}, "no option 'nuggets': did you mean nugget"),
    ],
)
def test_options_that_make_no_task_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        get_task("landmarks", **options)


def test_template_that_is_neither_a_data_set_nor_a_file_is_refused():
    with pytest.raises(UserError, match=r"'macaque' are neither a data set .* did you mean macaques"):
        _ = Landmarks(template="macaque").start


@pytest.mark.parametrize(
    ("option", "value"),
    [("dimensions", 2.0), ("amplitude", math.inf), ("spread", math.inf), ("length", "long"), ("template", 3)],
)
def test_values_that_no_simulation_can_take_are_refused_by_the_name_of_the_option(option, value):
    with pytest.raises(UserError, match=option):
        _ = get_task("landmarks", **{option: value}).simulate(2, seed=20)
