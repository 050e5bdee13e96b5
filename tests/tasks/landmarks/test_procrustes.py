"""Procrustes alignment: known motions undone, SciPy, direct minimisation in the plane, and morphops."""

import math

import morphops
import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from graybench.tasks.errors import UserError
from graybench.tasks.landmarks.files import read_landmarks
from graybench.tasks.landmarks.procrustes import (
    align,
    align_to,
    centroid_size,
    preshape,
    procrustes_distance,
    rotation,
)

SAMPLES = {"2-D": "apes", "3-D": "macaques"}
TRIANGLE = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(0.75)]], dtype=torch.float64)


@pytest.fixture(params=SAMPLES.values(), ids=list(SAMPLES), scope="module")
def coordinates(request):
    return read_landmarks(request.param).coordinates


@pytest.fixture(scope="module")
def gorillas():
    apes = read_landmarks("apes")
    return apes.select([group == "gorf" for group in apes.labels["group"]]).coordinates


def rng(seed):
    return np.random.default_rng(seed)


def turns(count, m, seed=0):
    """Rotations of the plane or of space, (count, m, m), from SciPy."""
    if m == 3:
        return torch.from_numpy(Rotation.random(count, rng(seed)).as_matrix())
    about_z = Rotation.from_rotvec(rng(seed).uniform(-np.pi, np.pi, (count, 1)) * [[0, 0, 1]])
    return torch.from_numpy(about_z.as_matrix()[:, :2, :2].copy())


def moved(x, seed=0):
    """Specimens (S, n, m), each rotated, scaled and shifted independently, and the scales."""
    scale = torch.from_numpy(rng(seed + 1).uniform(0.1, 10.0, len(x)))
    shift = torch.from_numpy(rng(seed + 2).normal(0.0, 100.0, (len(x), 1, x.shape[-1])))
    return scale[:, None, None] * x @ turns(len(x), x.shape[-1], seed) + shift, scale


def normal(*shape, seed=0):
    return torch.from_numpy(rng(seed).standard_normal(shape))


def sum_of_squares(shapes, mean):
    return float((shapes - mean).square().sum())


def test_rotation_in_space_is_the_one_that_scipy_finds():
    x, onto = normal(20, 6, 3), normal(20, 6, 3, seed=1)
    # align_vectors finds R with onto_i ≈ R x_i for columns, so its transpose acts on our rows.
    expected = [
        Rotation.align_vectors(b, a)[0].as_matrix().T for a, b in zip(x.numpy(), onto.numpy(), strict=True)
    ]
    torch.testing.assert_close(rotation(x, onto), torch.from_numpy(np.stack(expected)), rtol=0, atol=1e-10)


def test_rotation_in_the_plane_is_the_phase_of_the_complex_inner_product():
    x, onto = normal(20, 5, 2), normal(20, 5, 2, seed=1)
    z, w = torch.view_as_complex(x), torch.view_as_complex(onto)
    phase = torch.sgn((z.conj() * w).sum(-1))
    turned = torch.view_as_real(phase[:, None] * z)
    torch.testing.assert_close(x @ rotation(x, onto), turned, rtol=0, atol=1e-12)


@pytest.mark.parametrize("m", [2, 3])
def test_rotation_never_reflects(m):
    x = normal(50, 6, m)
    found = rotation(x, x * torch.tensor([-1.0] + [1.0] * (m - 1)))
    torch.testing.assert_close(torch.linalg.det(found), torch.ones(50, dtype=torch.float64))
    torch.testing.assert_close(found.mT @ found, torch.eye(m, dtype=torch.float64).expand(50, m, m))


@pytest.mark.parametrize("m", [2, 3])
def test_rotation_broadcasts_and_undoes_a_turn(m):
    x, turn = normal(6, m), turns(10, m).reshape(2, 5, m, m)
    torch.testing.assert_close(rotation(x @ turn, x), turn.mT, rtol=0, atol=1e-12)


def test_centroid_size_of_a_triangle():
    # Each corner of an equilateral triangle of side 1 is 1/√3 from its centre.
    torch.testing.assert_close(centroid_size(7 * TRIANGLE + 1e3), torch.tensor(7.0, dtype=torch.float64))


def test_preshape_is_centred_and_of_unit_size(coordinates):
    shape = preshape(coordinates.float())
    assert shape.dtype == torch.float64
    torch.testing.assert_close(shape.sum(-2), torch.zeros_like(shape[:, 0]), rtol=0, atol=1e-12)
    torch.testing.assert_close(shape.square().sum((-2, -1)), torch.ones(len(shape), dtype=torch.float64))


@pytest.mark.parametrize("m", [2, 3])
def test_align_undoes_similarities_of_one_specimen(m):
    x = normal(7, m)
    specimens, scale = moved(x.expand(30, 7, m))
    alignment = align(specimens)
    torch.testing.assert_close(alignment.shapes, alignment.mean.expand(30, 7, m), rtol=0, atol=1e-12)
    torch.testing.assert_close(alignment.centroid_sizes, scale * centroid_size(x))
    distances = torch.cdist(alignment.mean, alignment.mean)
    torch.testing.assert_close(distances, torch.cdist(x, x) / centroid_size(x))


def test_align_does_not_depend_on_position_size_orientation_or_order(coordinates):
    order = torch.from_numpy(rng(3).permutation(len(coordinates)))
    specimens, scale = moved(coordinates[order])
    before, after = align(coordinates), align(specimens)
    torch.testing.assert_close(after.mean, before.mean, rtol=0, atol=1e-10)
    torch.testing.assert_close(after.shapes, before.shapes[order], rtol=0, atol=1e-10)
    torch.testing.assert_close(after.centroid_sizes, scale * before.centroid_sizes[order])


def test_orientation_of_a_shape_that_is_symmetric_in_both_axes():
    angles = torch.arange(6, dtype=torch.float64) * math.pi / 3
    hexagon = torch.stack([2 * angles.cos(), angles.sin()], dim=-1)
    # Rounding must not decide between the two ends of an axis, whichever way the specimens lie.
    means = [align(moved(hexagon.expand(2, 6, 2), seed)[0]).mean for seed in range(40)]
    torch.testing.assert_close(torch.stack(means), means[0].expand(40, 6, 2), rtol=0, atol=1e-12)


def test_mean_lies_in_its_principal_axes(coordinates):
    mean = align(coordinates).mean
    moments = mean.T @ mean
    torch.testing.assert_close(moments, torch.diag(moments.diagonal()), rtol=0, atol=1e-12)
    assert (moments.diagonal().diff() < 0).all()
    torch.testing.assert_close(moments.trace(), torch.tensor(1.0, dtype=torch.float64))


def test_mean_and_shapes_are_a_fixed_point(coordinates):
    alignment = align(coordinates)
    torch.testing.assert_close(preshape(alignment.shapes.mean(0)), alignment.mean, rtol=0, atol=1e-11)
    # At the best rotation x'y is symmetric, and its two smallest eigenvalues have a sum that is not negative.
    product = alignment.shapes.mT @ alignment.mean
    torch.testing.assert_close(product, product.mT, rtol=0, atol=1e-12)
    assert (torch.linalg.eigvalsh(product)[:, :2].sum(-1) >= 0).all()


def test_align_finds_the_minimum_in_the_plane(gorillas):
    # In the plane the best rotation is a phase, so that Σ ‖z R − μ‖² = Σ 2 − 2 |z* μ| has μ alone to vary.
    z = torch.view_as_complex(preshape(gorillas)).numpy()
    n = z.shape[1]

    def objective(flat):
        mu = flat[:n] + 1j * flat[n:]
        mu = mu - mu.mean()
        return float(np.sum(2 - 2 * np.abs(z.conj() @ mu) / np.linalg.norm(mu)))

    found = minimize(objective, rng(0).standard_normal(2 * n), tol=1e-14)
    alignment = align(gorillas)
    assert sum_of_squares(alignment.shapes, alignment.mean) == pytest.approx(found.fun, rel=1e-9)
    mean = torch.from_numpy(np.stack([found.x[:n], found.x[n:]], axis=-1))
    assert procrustes_distance(mean, alignment.mean) < 1e-5


def test_align_agrees_with_morphops(coordinates):
    theirs = morphops.gpa(coordinates.numpy(), tol=1e-9, no_reflect=True, unitize_mean=True)
    alignment = align(coordinates)
    shapes, mean = (torch.from_numpy(theirs[field]) for field in ("aligned", "mean"))
    # It turns each specimen to the mean of the others, and the last time all to that without the last one.
    ours = sum_of_squares(alignment.shapes, alignment.mean)
    assert ours <= sum_of_squares(shapes, mean) * (1 + 1e-12)
    assert ours == pytest.approx(sum_of_squares(shapes, mean), rel=1e-5)
    assert procrustes_distance(mean, alignment.mean) < 1e-5
    torch.testing.assert_close(1 / alignment.centroid_sizes, torch.from_numpy(theirs["b"]))


def test_align_to_its_own_mean_gives_the_shapes(coordinates):
    alignment = align(coordinates)
    held_out = moved(coordinates, seed=5)[0]
    torch.testing.assert_close(
        align_to(3 * alignment.mean + 1, held_out), alignment.shapes, rtol=0, atol=1e-11
    )
    torch.testing.assert_close(align_to(alignment.mean, held_out[4]), alignment.shapes[4], rtol=0, atol=1e-11)


def test_distance_is_that_of_scipy(coordinates):
    # SciPy's disparity is sin²ρ, where d² = 2 − 2 cos ρ; it may reflect, which is not best for these.
    distances = procrustes_distance(coordinates[:1], coordinates[1:])
    expected = [procrustes(coordinates[0].numpy(), other.numpy())[2] for other in coordinates[1:]]
    torch.testing.assert_close(1 - (1 - distances**2 / 2) ** 2, torch.tensor(expected, dtype=torch.float64))


def test_distance_of_an_equilateral_triangle_to_its_mirror_image_is_the_largest():
    distance = procrustes_distance(TRIANGLE, TRIANGLE.flip(0))
    torch.testing.assert_close(distance, torch.tensor(2.0, dtype=torch.float64).sqrt())


def test_small_distances_keep_their_digits():
    # As complex vectors the triangle (1, w, w²)/√3 and its mirror image v are orthogonal and of length 1, so
    # that cos ρ between the triangle and triangle + εv is 1/√(1 + ε²), and d is ε up to a relative ε².
    step, corners = 1e-9, torch.exp(2j * math.pi / 3 * torch.arange(3, dtype=torch.float64)) / math.sqrt(3)
    triangle, other = (
        torch.view_as_real(z) for z in (corners, corners + step * corners.conj().resolve_conj())
    )
    distance = procrustes_distance(triangle, other)
    torch.testing.assert_close(distance, torch.tensor(step, dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("specimens", "message"),
    [
        (TRIANGLE[None], "2 specimens or more"),
        (TRIANGLE, r"\(S, n, m\)"),
        (torch.zeros(2, 5, 4), "m = 2 or 3"),
        (torch.rand(4, 2, 2), "n ≥ 3"),
        (torch.stack([TRIANGLE, TRIANGLE * torch.nan]), "NaN or infinite"),
        (torch.stack([TRIANGLE, 0 * TRIANGLE + 0.1]), "specimen 1 .* coincide"),
        (torch.stack([TRIANGLE, 1e-9 * TRIANGLE + 1e9]), "specimen 1 .* coincide"),
    ],
)
def test_specimens_without_an_alignment_are_refused(specimens, message):
    with pytest.raises(UserError, match=message):
        align(specimens)


def test_a_mean_that_does_not_settle_is_refused(monkeypatch, gorillas):
    monkeypatch.setattr("graybench.tasks.landmarks.procrustes.MOST_ROUNDS", 2)
    with pytest.raises(UserError, match="has not settled after 2 rounds"):
        align(gorillas)


def test_shapes_of_other_landmarks_are_refused():
    with pytest.raises(UserError, match=r"\(3, 2\) and \(4, 2\)"):
        procrustes_distance(TRIANGLE, torch.rand(4, 2))
    with pytest.raises(UserError, match="same landmarks"):
        align_to(TRIANGLE, torch.rand(5, 3, 3))
    with pytest.raises(UserError, match="the specimen has no shape"):
        align_to(0 * TRIANGLE, TRIANGLE)
