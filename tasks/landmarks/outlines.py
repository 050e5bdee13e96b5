"""Outlines: landmarks that are points along a closed curve, one after another."""

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from .procrustes import FEWEST_LANDMARKS


def thinned(outlines: Tensor, points: int) -> Tensor:
    """Return K points at equal arc length along closed polygons, starting at their first points.

    Point k lies at k/K of the perimeter, on the side that it falls on; the last side leads back to the first
    point.

    Args:
        outlines: the corners of the polygons, (S, n, m).
        points: K, from 3 to n.

    Returns:
        The points, (S, K, m), float64.

    Raises:
        UserError: K is below 3 or above n.
    """
    corners = outlines.shape[1]
    if not FEWEST_LANDMARKS <= points <= corners:
        raise UserError(
            f"points must be from {FEWEST_LANDMARKS} to {corners}, the number of landmarks, but is {points}."
        )
    closed = torch.cat([outlines, outlines[:, :1]], 1).to(torch.float64)
    lengths = torch.linalg.vector_norm(closed.diff(dim=1), dim=-1)
    along = np.hstack([np.zeros((len(outlines), 1)), lengths.numpy().cumsum(1)])
    share = np.arange(points) / points
    thin = [
        np.stack([np.interp(share * way[-1], way, axis) for axis in curve.T], 1)
        for way, curve in zip(along, closed.numpy(), strict=True)
    ]
    return torch.from_numpy(np.stack(thin))
