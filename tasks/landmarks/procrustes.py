"""Procrustes alignment: landmarks without their position, size and orientation.

A specimen is a matrix x (n, m) with one of n landmarks per row, in m = 2 or 3 dimensions. C = I − 11ᵀ/n
centres it, c(x) = ‖C x‖ is its centroid size and z(x) = C x/c(x) its pre-shape. Reflections are never used,
so that left and right stay apart.

Source: I. L. Dryden and K. V. Mardia, Statistical Shape Analysis, 2nd edition, Wiley 2016, chapters 4 and 7.
"""

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from ..errors import UserError

TOLERANCE = 1e-12
MOST_ROUNDS = 10_000
FEWEST_LANDMARKS = 3  # two landmarks have no shape: all pairs of points are similar


@dataclass(frozen=True, eq=False)
class Alignment:
    """A generalized Procrustes alignment, see `align`. All float64.

    Attributes:
        shapes: the aligned specimens, centred, of unit centroid size, (S, n, m).
        mean: the mean shape μ, centred, of unit centroid size, (n, m).
        centroid_sizes: the sizes of the original specimens, in the unit of their coordinates, (S,).
    """

    shapes: Tensor
    mean: Tensor
    centroid_sizes: Tensor


def centroid_size(x: Tensor) -> Tensor:
    """Return ‖C x‖ in the Frobenius norm, (...), in the unit of the coordinates, for x (..., n, m)."""
    return torch.linalg.matrix_norm(_centred(x))


def preshape(x: Tensor) -> Tensor:
    """Return C x/‖C x‖, (..., n, m), float64, for x (..., n, m).

    Raises:
        UserError: m is not 2 or 3, n is below 3, a coordinate is not finite, or all landmarks of a specimen
            coincide up to rounding.
    """
    _require_landmarks(x)
    size = centroid_size(x)
    # Landmarks that coincide far from the origin still leave the rounding errors of their mean.
    coincide = size <= TOLERANCE * x.to(torch.float64).abs().amax((-2, -1))
    if coincide.any():
        rows = coincide.nonzero().tolist()
        which = f"specimen {', '.join(map(str, rows[0]))} (counted from 0)" if rows[0] else "the specimen"
        raise UserError(f"{which} has no shape, as all its landmarks coincide; remove it.")
    return _centred(x) / size[..., None, None]


def rigid_moves(x: Tensor) -> Tensor:
    """Return the directions (..., q, n m) in which landmarks x (..., n, m) move as a whole, float64.

    They are the m translations and the rotations in the planes of axes i < j, at the position and size of x:
    x_i e_j − x_j e_i for each landmark. q is 3 in 2-D and 6 in 3-D.
    """
    units = torch.eye(x.shape[-1], dtype=torch.float64)
    moves = [unit.expand_as(x) for unit in units]
    for i, j in combinations(range(x.shape[-1]), 2):
        moves.append(x[..., [i]] * units[j] - x[..., [j]] * units[i])
    return torch.stack([move.flatten(-2) for move in moves], -2)


def rotation(x: Tensor, onto: Tensor) -> Tensor:
    """Return the rotation R about the origin, without reflection, that brings x closest to another shape.

    R(x, y) = argmin over R ∈ SO(m) of ‖x R − y‖ = U diag(1, …, 1, |U Vᵀ|) Vᵀ with xᵀ y = U S Vᵀ. It is unique
    unless the two smallest singular values of xᵀ y are both 0, or are equal while the best orthogonal map is
    a reflection; then R is one of several minimisers.

    Source: W. Kabsch, Acta Crystallographica A 32 (1976) and A 34 (1978).

    Args:
        x: landmarks, (..., n, m); not centred here.
        onto: landmarks y, (..., n, m); the leading dimensions broadcast.

    Returns:
        R, (..., m, m), float64, which acts from the right: x @ R.
    """
    u, _, vt = torch.linalg.svd(x.to(torch.float64).mT @ onto.to(torch.float64))
    flip = torch.ones(u.shape[:-1], dtype=torch.float64)
    flip[..., -1] = torch.linalg.det(u @ vt).sign()
    return (u * flip.unsqueeze(-2)) @ vt


def align(coordinates: Tensor) -> Alignment:
    """Align specimens x_1 … x_S by generalized Procrustes analysis.

    The result is the mean μ of unit centroid size and the rotations R_s that minimise Σ_s ‖z(x_s) R_s − μ‖².
    The steps

        R_s = R(z(x_s), μ),    μ ∝ Σ_s z(x_s) R_s,    from μ = z(x_1),

    alternate until ‖Δμ‖ < 1e-12. No step increases the sum, but for very different shapes it may have several
    minima. The orientation of μ is free and is set as follows: its principal axes are the coordinate axes,
    the longest first, and the first landmark that lies far out on an axis is positive there, except for the
    last axis, whose sign follows because a rotation does not reflect. The result therefore does not depend on
    the orientation or the order of the specimens, unless two principal axes of μ have equal length.

    Args:
        coordinates: landmarks, (S, n, m), S ≥ 2, n ≥ 3, m = 2 or 3.

    Raises:
        UserError: the coordinates have another shape, are not finite, or coincide within a specimen; there
            are fewer than two specimens; or the iteration does not converge.
    """
    if coordinates.dim() != 3:
        raise UserError(f"align takes coordinates of shape (S, n, m), not {tuple(coordinates.shape)}.")
    if len(coordinates) < 2:
        raise UserError(
            f"align needs 2 specimens or more, but got {len(coordinates)}; "
            "to align to a known mean, use align_to."
        )
    shapes = preshape(coordinates)
    mean = shapes[0]
    for _ in range(MOST_ROUNDS):
        before, mean = mean, preshape((shapes @ rotation(shapes, mean)).mean(0))
        if torch.linalg.matrix_norm(mean - before) < TOLERANCE:
            break
    else:
        raise UserError(
            f"the Procrustes mean of {len(coordinates)} specimens has not settled after {MOST_ROUNDS} "
            "rounds; check that landmark i is the same point on every specimen."
        )
    mean = mean @ _onto_principal_axes(mean)
    return Alignment(shapes @ rotation(shapes, mean), mean, centroid_size(coordinates))


def align_to(mean: Tensor, coordinates: Tensor) -> Tensor:
    """Align each specimen to a given mean, z(x) R(z(x), μ): ordinary Procrustes analysis at unit size.

    Given the mean of `align`, its own specimens get the shapes of `align`; other specimens are treated alike.

    Args:
        mean: μ, (n, m); its position and size do not matter.
        coordinates: landmarks, (..., n, m).

    Returns:
        Centred shapes of unit centroid size, (..., n, m), float64.

    Raises:
        UserError: for the reasons of `preshape`, or if the numbers of landmarks or dimensions differ.
    """
    _require_alike(mean, coordinates)
    shapes = preshape(coordinates)
    return shapes @ rotation(shapes, preshape(mean))


def procrustes_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the partial Procrustes distance, min over R ∈ SO(m) of ‖z(a) R − z(b)‖, (...), from 0 to √2.

    Args:
        a: landmarks, (..., n, m).
        b: landmarks, (..., n, m); the leading dimensions broadcast.

    Raises:
        UserError: for the reasons of `align_to`.
    """
    _require_alike(a, b)
    # The formula √(2 − 2 tr S) would lose half of the digits of a small distance.
    return torch.linalg.matrix_norm(align_to(b, a) - preshape(b))


def _centred(x: Tensor) -> Tensor:
    x = x.to(torch.float64)
    return x - x.mean(-2, keepdim=True)


def _onto_principal_axes(mean: Tensor) -> Tensor:
    """Return the rotation, (m, m), that orients a centred mean as `align` describes."""
    axes = torch.linalg.eigh(mean.T @ mean).eigenvectors.flip(-1)
    along = mean @ axes
    # Not the farthest landmark: in a symmetric shape, rounding would choose between two.
    far_out = along.abs() >= along.abs().amax(0) / 2
    first = far_out.to(torch.uint8).argmax(0, keepdim=True)
    axes = axes * torch.where(along.gather(0, first) < 0, -1.0, 1.0)
    axes[:, -1] *= torch.linalg.det(axes).sign()
    return axes


def _require_landmarks(x: Tensor) -> None:
    if x.dim() < 2 or x.shape[-1] not in (2, 3) or x.shape[-2] < FEWEST_LANDMARKS:
        raise UserError(
            f"landmarks must be of shape (..., n, m) with n ≥ {FEWEST_LANDMARKS} and m = 2 or 3, "
            f"but are of shape {tuple(x.shape)}."
        )
    if not bool(torch.isfinite(x).all()):
        raise UserError("landmarks must be finite, but some are NaN or infinite; remove those specimens.")


def _require_alike(a: Tensor, b: Tensor) -> None:
    if a.shape[-2:] != b.shape[-2:]:
        raise UserError(
            f"shapes must have the same landmarks and dimensions, but are {tuple(a.shape[-2:])} "
            f"and {tuple(b.shape[-2:])}."
        )
