"""Specimens for `graybench shapes`: their groups, and how they are aligned and scaled.

All specimens are aligned by generalized Procrustes analysis, then scaled to a root mean square radius of 1,
that is, a centroid size of √n, so that a and ℓ are in units of the shape's size. With sizes kept, one factor
scales all specimens to a mean size of 1. Held-out specimens do not enter the alignment: the training
specimens are aligned first, and each held-out specimen is then rotated onto their mean, as `align` does with
its own.

The alignment only decides the frame of the means and the unit of size. The likelihoods integrate position,
orientation and size out, see `methods.bridge.shape_likelihood`.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from ...tasks.errors import UserError
from ...tasks.landmarks.procrustes import align, align_to, centroid_size
from ...tasks.landmarks.sample import LandmarkSample
from ...tasks.plugin import nearest

FEWEST = 4  # specimens of a group, as fewer leave no spread to estimate when a fold is held out
UNLABELLED = "all"


@dataclass(frozen=True, eq=False)
class Specimens:
    """Specimens with their groups, aligned or not.

    Args:
        shapes: (S, n, m).
        names: the name of each specimen.
        groups: the group of each.
    """

    shapes: Tensor
    names: tuple[str, ...]
    groups: tuple[str, ...]

    @property
    def group_names(self) -> list[str]:
        return list(dict.fromkeys(self.groups))

    def rows(self, group: str) -> list[int]:
        """Return the positions of a group's specimens."""
        return [row for row, own in enumerate(self.groups) if own == group]

    def of(self, group: str) -> Tensor:
        """Return a group's shapes, (M, n, m)."""
        return self.shapes[self.rows(group)]


def label_of(sample: LandmarkSample, column: str) -> tuple[str, ...]:
    """Return the value of a label for each specimen.

    Raises:
        UserError: the sample has no such label, or a specimen has no value.
    """
    if column not in sample.labels:
        known = nearest(column, sample.labels) if sample.labels else "it has no labels."
        raise UserError(f"there is no column {column!r} in this sample: {known}")
    values = sample.labels[column]
    if lacking := [name for name, value in zip(sample.specimens, values, strict=True) if not value]:
        more = f" and {len(lacking) - 1} more have" if len(lacking) > 1 else " has"
        raise UserError(f"specimen {lacking[0]!r}{more} no {column}; write one, or leave the specimen out.")
    return values


def specimens_of(sample: LandmarkSample, column: str | None) -> Specimens:
    """Return the specimens, not yet aligned, in the groups of a label; without a label they are one group.

    Raises:
        UserError: there is no such label, a specimen has no value, or a group has too few specimens.
    """
    groups = label_of(sample, column) if column else (UNLABELLED,) * len(sample)
    found = Specimens(sample.coordinates, sample.specimens, groups)
    for group in found.group_names:
        count = len(found.rows(group))
        if count < FEWEST:
            raise UserError(
                f"group {group!r} has {count} specimens, and a fit needs {FEWEST} or more; leave it out."
            )
    return found


def scaled(shapes: Tensor, sizes: Tensor, mean_size: Tensor | None) -> Tensor:
    """Scale shapes of centroid size 1 to rms radius 1, or, with sizes kept, to size/mean_size."""
    root = math.sqrt(shapes.shape[-2])
    return shapes * root if mean_size is None else shapes * (root * sizes / mean_size)[:, None, None]


def aligned(coordinates: Tensor, keep_size: bool, held_out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Align specimens (S, n, m), and rotate held-out ones (H, n, m) onto their mean.

    Returns:
        The aligned specimens (S, n, m) and the held-out ones (H, n, m); H = 0 if none is held out.
    """
    held_out = coordinates[:0] if held_out is None else held_out
    alignment = align(coordinates)
    mean_size = alignment.centroid_sizes.mean() if keep_size else None
    rest = align_to(alignment.mean, held_out) if len(held_out) else held_out
    return (
        scaled(alignment.shapes, alignment.centroid_sizes, mean_size),
        scaled(rest, centroid_size(held_out), mean_size),
    )
