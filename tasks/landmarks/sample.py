"""Landmarks of specimens with their names and labels: what every reader of landmarks returns."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UserError


@dataclass(frozen=True, eq=False)
class LandmarkSample:
    """The landmarks of S specimens, n on each, in m = 2 or 3 dimensions.

    Args:
        coordinates: (S, n, m), float64, in the unit of the file.
        specimens: their S names, all different.
        labels: what else the file says of them: S values, as text, under each label's name.
    """

    coordinates: Tensor
    specimens: tuple[str, ...]
    labels: dict[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.specimens)

    def select(self, rows: Sequence[int] | Sequence[bool] | Tensor) -> "LandmarkSample":
        """Return the specimens at the positions `rows`, in that order, or where S truth values are true.

        Raises:
            UserError: `rows` selects no specimen, or one that is not in the sample.
        """
        try:
            found = torch.arange(len(self))[torch.as_tensor(rows)] if len(rows) else ()
            chosen = [int(row) for row in found]
        except (IndexError, ValueError, TypeError, RuntimeError) as error:
            raise UserError(f"rows are positions of the {len(self)} specimens, or bools: {error}.") from error
        if not chosen:
            raise UserError(f"none of the {len(self)} specimens is selected; choose at least one.")
        return LandmarkSample(
            self.coordinates[chosen],
            tuple(self.specimens[row] for row in chosen),
            {name: tuple(values[row] for row in chosen) for name, values in self.labels.items()},
        )
