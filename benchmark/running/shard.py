"""One of several parts of a sweep that run separately, for clusters without Dask."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from ...tasks.errors import UserError
from .cell import Cell


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, counted from 1.

    Part i holds the cells k = 0, 1, … of the sweep with k + ⌊k/n⌋ ≡ i − 1 (mod n), n = `count`. Each part has
    one of every n cells, and its position shifts by one from each n cells to the next. Expensive methods,
    tasks and budgets are thus spread over all parts.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a part such as `2/8`.

        Raises:
            UserError: the text is not I/N with I from 1 to N.
        """
        match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        shard = cls(*map(int, match.groups())) if match else None
        if shard is None or not 1 <= shard.index <= shard.count:
            raise UserError(f"--shard {text}: a shard is I/N with I from 1 to N, such as 2/8.")
        return shard

    def of(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return the cells of this part, in their order."""
        return [c for k, c in enumerate(cells) if (k + k // self.count) % self.count == self.index - 1]
