"""Specimens for `graybench shapes`: their groups, and how they are aligned and scaled.

Generalized Procrustes over all specimens; then all are scaled to a root mean square radius of 1, that is, a
centroid size of √n, so that a and ℓ are in units of the shape's size. With sizes kept, one factor scales all:
the mean size is then 1. Held-out specimens have no part in the alignment: the training specimens are aligned
by themselves, and each held-out one is put onto their mean (`align_to`), which is what `align` does with its
own.

Alignment decides in which frame means are reported and what size is the unit. The likelihoods integrate
position, orientation and size out, see `methods.bridge.shape_likelihood`.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from ...tasks.errors import UserError
from ...tasks.landmarks.files import LandmarkSample
from ...tasks.landmarks.procrustes import align, align_to, centroid_size
from ...tasks.plugin import nearest

FEWEST = 4  # specimens of a group: fewer leave no spread to estimate from when one fold is held out
UNLABELLED = "all"


@dataclass(frozen=True, eq=False)
class Specimens:
    """Specimens with their groups, aligned or not.

    Args:
        shapes: (S, n, m).
        names: of the specimens.
        groups: the group of each.
    """

    shapes: Tensor
    names: tuple[str, ...]
    groups: tuple[str, ...]

    @property
    def group_names(self) -> list[str]:
        return list(dict.fromkeys(self.groups))

    def rows(self, group: str) -> list[int]:
        """Give the positions of a group's specimens."""
        return [row for row, own in enumerate(self.groups) if own == group]

    def of(self, group: str) -> Tensor:
        """Give a group's shapes, (M, n, m)."""
        return self.shapes[self.rows(group)]


def label_of(sample: LandmarkSample, column: str) -> tuple[str, ...]:
    """Give the values of a label.

    Raises:
        UserError: the sample has no such label.
    """
    if column not in sample.labels:
        known = nearest(column, sample.labels) if sample.labels else "there are no labels in it."
        raise UserError(f"there is no column {column!r} in this sample: {known}")
    return sample.labels[column]


def specimens_of(sample: LandmarkSample, column: str | None) -> Specimens:
    """Give the specimens, not yet aligned, in the groups of a label; without one they are one group.

    Raises:
        UserError: there is no such label, or a group has too few specimens.
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
    """Align specimens (S, n, m), and put held-out ones (H, n, m) onto their mean; see the module.

    Returns:
        The two, (S, n, m) and (H, n, m); H = 0 without any held out.
    """
    held_out = coordinates[:0] if held_out is None else held_out
    alignment = align(coordinates)
    mean_size = alignment.centroid_sizes.mean() if keep_size else None
    rest = align_to(alignment.mean, held_out) if len(held_out) else held_out
    return (
        scaled(alignment.shapes, alignment.centroid_sizes, mean_size),
        scaled(rest, centroid_size(held_out), mean_size),
    )
