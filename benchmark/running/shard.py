"""One part of a sweep of several that run apart, for clusters without Dask."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from ...tasks.errors import UserError
from .cell import Cell


@dataclass(frozen=True)
class Shard:
    """The part `index` of `count`, counted from 1.

    Of every `count` cells in the order of the sweep, a shard has one, and in each next lot the next one, so
    that dear methods, tasks and budgets are spread over all shards: part i has the cells k = 0, 1, … with
    k + ⌊k/n⌋ = i − 1 modulo n.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `2/8`; raise `UserError` for anything that is no part."""
        match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        shard = cls(*map(int, match.groups())) if match else None
        if shard is None or not 1 <= shard.index <= shard.count:
            raise UserError(f"--shard {text}: a shard is I/N with I from 1 to N, such as 2/8.")
        return shard

    def of(self, cells: Sequence[Cell]) -> list[Cell]:
        """Give the cells of this part, in their order."""
        return [c for k, c in enumerate(cells) if (k + k // self.count) % self.count == self.index - 1]
