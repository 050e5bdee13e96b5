"""Procrustes alignment: what is left of landmarks when position, size and orientation are taken away.

A specimen is a matrix x (n, m) of n landmarks in m = 2 or 3 dimensions, one a row. With C = I − 11ᵀ/n,

    centroid size    c(x) = ‖C x‖, the Frobenius norm
    pre-shape        z(x) = C x / c(x)
    rotation         R(x, y) = argmin over R ∈ SO(m) of ‖x R − y‖ = U diag(1, …, 1, |U Vᵀ|) Vᵀ,  xᵀ y = U S Vᵀ
    distance         d(x, y) = min over R ∈ SO(m) of ‖z(x) R − z(y)‖, from 0 to √2

d is the partial Procrustes distance: both sizes are held at 1. Reflections are never used, so that left and
right stay apart. The generalized alignment of x_1 … x_S is the mean μ of unit centroid size and the rotations
R_s that minimise Σ_s ‖z(x_s) R_s − μ‖². It alternates between the two, each given the other,

    R_s = R(z(x_s), μ),    μ ∝ Σ_s z(x_s) R_s,    from μ = z(x_1),

until ‖Δμ‖ < 1e-12. No step raises the sum, but where the shapes are very far from each other it may have
several minima. The problem leaves the orientation of μ open: we turn its principal axes onto the coordinate
axes, the longest first, and make the first landmark that lies far out on an axis positive there; the last
axis then follows, as a rotation does not reflect. So neither the orientation of a specimen nor their order
matters, unless two principal axes of μ are of equal length: within their plane its orientation is arbitrary.

Source: I. L. Dryden and K. V. Mardia, Statistical Shape Analysis, 2nd edition, Wiley 2016, chapters 4 and 7;
the rotation: W. Kabsch, Acta Crystallographica A 32 (1976) and A 34 (1978).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UserError

TOLERANCE = 1e-12
MOST_ROUNDS = 10_000
FEWEST_LANDMARKS = 3  # any two pairs of points are similar: two landmarks have no shape


@dataclass(frozen=True, eq=False)
class Alignment:
    """A generalized Procrustes alignment; see the module. All float64.

    Args:
        shapes: the aligned specimens, centred, of unit centroid size, (S, n, m).
        mean: the mean shape μ, centred, of unit centroid size, (n, m).
        centroid_sizes: of the specimens as they were given, in the unit of their coordinates, (S,).
    """

    shapes: Tensor
    mean: Tensor
    centroid_sizes: Tensor


def centroid_size(x: Tensor) -> Tensor:
    """Give ‖C x‖ for x (..., n, m): (...), in the unit of the coordinates."""
    return torch.linalg.matrix_norm(_centred(x))


def preshape(x: Tensor) -> Tensor:
    """Give C x / ‖C x‖, float64, for x (..., n, m) of the same shape.

    Raises:
        UserError: m is not 2 or 3, n is below 3, a coordinate is not finite, or the landmarks of a specimen
            coincide, up to rounding.
    """
    _require_landmarks(x)
    size = centroid_size(x)
    # Landmarks that coincide far from the origin still leave the rounding errors of their mean.
    coincide = size <= TOLERANCE * x.to(torch.float64).abs().amax((-2, -1))
    if coincide.any():
        rows = coincide.nonzero().tolist()
        which = f"specimen {', '.join(map(str, rows[0]))} (counted from 0)" if rows[0] else "the specimen"
        raise UserError(f"{which} has no shape, as all its landmarks coincide; leave it out.")
    return _centred(x) / size[..., None, None]


def rotation(x: Tensor, onto: Tensor) -> Tensor:
    """Give the rotation R about the origin, without reflection, that takes x closest to another shape.

    R minimises ‖x R − onto‖, see the module. It is unique unless the two smallest singular values of xᵀ onto
    are both 0, or are equal while the best orthogonal map is a reflection; then it is one of the minimisers.

    Args:
        x: landmarks, (..., n, m); not centred here.
        onto: landmarks, (..., n, m); the leading dimensions broadcast.

    Returns:
        R, (..., m, m), float64, which acts from the right: x @ R.
    """
    u, _, vt = torch.linalg.svd(x.to(torch.float64).mT @ onto.to(torch.float64))
    flip = torch.ones(u.shape[:-1], dtype=torch.float64)
    flip[..., -1] = torch.linalg.det(u @ vt).sign()
    return (u * flip.unsqueeze(-2)) @ vt


def align(coordinates: Tensor) -> Alignment:
    """Align specimens by generalized Procrustes analysis; see the module.

    Args:
        coordinates: landmarks, (S, n, m), S ≥ 2, n ≥ 3, m = 2 or 3.

    Raises:
        UserError: there are fewer than two specimens; the coordinates are not of that shape, are not finite,
            or coincide within a specimen; or the iteration does not converge.
    """
    if coordinates.dim() != 3:
        raise UserError(f"align takes coordinates (S, n, m), not of shape {tuple(coordinates.shape)}.")
    if len(coordinates) < 2:
        raise UserError(
            f"align needs 2 specimens or more to find a mean, but was given {len(coordinates)}; "
            "align_to puts a specimen onto a mean that is known."
        )
    shapes = preshape(coordinates)
    mean = shapes[0]
    for _ in range(MOST_ROUNDS):
        before, mean = mean, preshape((shapes @ rotation(shapes, mean)).mean(0))
        if torch.linalg.matrix_norm(mean - before) < TOLERANCE:
            break
    else:
        raise UserError(
            f"the Procrustes mean of these {len(coordinates)} specimens has not settled after {MOST_ROUNDS} "
            "rounds; check that landmark i is the same point on each of them."
        )
    mean = mean @ _onto_principal_axes(mean)
    return Alignment(shapes @ rotation(shapes, mean), mean, centroid_size(coordinates))


def align_to(mean: Tensor, coordinates: Tensor) -> Tensor:
    """Put specimens onto a given mean, each by itself: z(x) R(z(x), μ), ordinary Procrustes at unit size.

    The shapes of `align` are `align_to` of its mean, so held-out specimens are treated as those were.

    Args:
        mean: μ, (n, m); its position and size do not matter.
        coordinates: landmarks, (..., n, m).

    Returns:
        Centred shapes of unit centroid size, (..., n, m), float64.

    Raises:
        UserError: as `preshape`, or the numbers of landmarks or dimensions differ.
    """
    _require_alike(mean, coordinates)
    shapes = preshape(coordinates)
    return shapes @ rotation(shapes, preshape(mean))


def procrustes_distance(a: Tensor, b: Tensor) -> Tensor:
    """Give the partial Procrustes distance d between a and b (..., n, m), which broadcast: (...), float64.

    Raises:
        UserError: as `align_to`.
    """
    _require_alike(a, b)
    # Not √(2 − 2 tr S), which loses half of the digits of a small distance.
    return torch.linalg.matrix_norm(align_to(b, a) - preshape(b))


def _centred(x: Tensor) -> Tensor:
    x = x.to(torch.float64)
    return x - x.mean(-2, keepdim=True)


def _onto_principal_axes(mean: Tensor) -> Tensor:
    """Give the rotation (m, m) that turns the principal axes of a centred mean as the module says."""
    axes = torch.linalg.eigh(mean.T @ mean).eigenvectors.flip(-1)
    along = mean @ axes
    # Not the landmark that is farthest out, as in a symmetric shape rounding would choose between two.
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
        raise UserError("landmarks must be finite, but some are NaN or infinite; leave those specimens out.")


def _require_alike(a: Tensor, b: Tensor) -> None:
    if a.shape[-2:] != b.shape[-2:]:
        raise UserError(
            f"shapes must have the same landmarks and dimensions, but are {tuple(a.shape[-2:])} "
            f"and {tuple(b.shape[-2:])}."
        )
