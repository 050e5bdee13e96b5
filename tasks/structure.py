"""The structure of data: what a row of x, (dim_x,), is made of.

    Vector(10)                                  10 numbers
    Items(200, independent=True)                200 exchangeable numbers
    Items(50, Items(4), independent=True)       50 exchangeable groups of 4 exchangeable numbers
    Items(3, regressors=((1.0,), (2.0,), (3.0,)), independent=True)
                                                3 readings, each with a number that describes it
    Series(100)                                 100 times
    Series(10, channels=2)                      10 times of 2 numbers
    Field((32, 32))                             a grid

x holds one item, time or grid point after another. `unflatten` brings it into its form.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .errors import UserError
from .plugin import require_whole


class Structure(ABC):
    """The structure of data x, (..., size)."""

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of components of x."""

    @abstractmethod
    def unflatten(self, x: Tensor) -> Tensor:
        """Return x, (..., size), in its form, with channels or components last."""

    @property
    def effective(self) -> "Structure":
        """The structure that a network can use: one item alone has the structure of the item."""
        return self


@dataclass(frozen=True)
class Vector(Structure):
    """Numbers without further structure.

    Args:
        length: their number.

    Raises:
        UserError: the number is below 1.
    """

    length: int

    def __post_init__(self) -> None:
        require_whole("structure Vector: length", self.length, 1)

    @property
    def size(self) -> int:
        return self.length

    def unflatten(self, x: Tensor) -> Tensor:
        """Return x, (..., length), as it is."""
        return x


@dataclass(frozen=True)
class Items(Structure):
    """n exchangeable items: p(x | θ) is the same for every order of the items.

    Items with regressors are exchangeable together with them: p(x | θ, regressors) is the same if items and
    regressors are put into another order.

    Args:
        n: the number of items.
        item: the structure of an item; a number of components stands for `Vector`.
        regressors: constants that belong to each item, n tuples of equal length.
        independent: whether the items are independent of each other, given θ.

    Raises:
        UserError: a number is below 1, or the regressors are not n tuples of equal length.
    """

    n: int
    item: int | Structure = 1
    regressors: tuple[tuple[float, ...], ...] | None = field(default=None, repr=False)
    independent: bool = False

    def __post_init__(self) -> None:
        require_whole("structure Items: n", self.n, 1)
        if not isinstance(self.item, Structure):
            require_whole("structure Items: item", self.item, 1)
        if self.regressors is not None:
            _require_regressors(self.regressors, self.n)

    @property
    def each(self) -> Structure:
        """The structure of an item."""
        return self.item if isinstance(self.item, Structure) else Vector(self.item)

    @property
    def size(self) -> int:
        return self.n * self.each.size

    @property
    def effective(self) -> Structure:
        return self.each.effective if self.n == 1 else self

    def unflatten(self, x: Tensor) -> Tensor:
        """Return x, (..., size), as (..., n, k) for vectors, or as (..., n, m, k) for items of m vectors.

        Regressors are further components, after those of the data.
        """
        items = self.each.unflatten(x.unflatten(-1, (self.n, self.each.size)))
        if self.regressors is None:
            return items
        inner = items.ndim - x.ndim - 1
        constants = torch.tensor(self.regressors, dtype=items.dtype, device=items.device)
        constants = constants.unflatten(0, (self.n, *[1] * inner))
        return torch.cat([items, constants.expand(*items.shape[:-1], -1)], -1)


@dataclass(frozen=True)
class Series(Structure):
    """Channels at equidistant times.

    Args:
        steps: the number of times.
        channels: the numbers at each time.
        channels_last: whether x holds one time after another; otherwise, one channel after another.

    Raises:
        UserError: a number is below 1.
    """

    steps: int
    channels: int = 1
    channels_last: bool = True

    def __post_init__(self) -> None:
        require_whole("structure Series: steps", self.steps, 1)
        require_whole("structure Series: channels", self.channels, 1)

    @property
    def size(self) -> int:
        return self.steps * self.channels

    def unflatten(self, x: Tensor) -> Tensor:
        """Return x, (..., size), as (..., steps, channels)."""
        if self.channels_last:
            return x.unflatten(-1, (self.steps, self.channels))
        return x.unflatten(-1, (self.channels, self.steps)).transpose(-1, -2)


@dataclass(frozen=True)
class Field(Structure):
    """Channels on a regular grid.

    Args:
        shape: the number of points along each direction, the last one fastest in x.
        channels: the numbers at each point.

    Raises:
        UserError: a number is below 1, or the shape is not a tuple of numbers.
    """

    shape: tuple[int, ...]
    channels: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.shape, tuple) or not self.shape:
            raise UserError(f"structure Field: shape must be a tuple like (32, 32), but is {self.shape!r}.")
        for points in self.shape:
            require_whole("structure Field: each number of shape", points, 1)
        require_whole("structure Field: channels", self.channels, 1)

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.channels

    def unflatten(self, x: Tensor) -> Tensor:
        """Return x, (..., size), as (..., *shape, channels)."""
        return x.unflatten(-1, (*self.shape, self.channels))


def require_structure(what: str, structure: Any, dim_x: int) -> Structure:
    """Return `structure` if it describes data of dim_x components.

    Args:
        what: whose structure it is, for the message.
        structure: the structure.
        dim_x: the number of components of the data.

    Raises:
        UserError: it is not a structure, or one of another size.
    """
    kind = type(structure).__name__
    if not isinstance(structure, Structure):
        raise UserError(f"{what}: structure must be a Structure such as Items(10), but is a {kind}.")
    if structure.size != dim_x:
        raise UserError(f"{what}: the structure {kind} has size {structure.size}, but dim_x is {dim_x}.")
    return structure


def _require_regressors(regressors: Any, n: int) -> None:
    """Raise `UserError` unless regressors are n tuples of numbers, of equal length."""
    rule = f"structure Items: regressors must be a tuple of {n} tuples of numbers of equal length"
    if not isinstance(regressors, tuple) or not all(isinstance(row, tuple) and row for row in regressors):
        raise UserError(f"{rule}, one for each item.")
    if len(regressors) != n:
        raise UserError(f"{rule}, one for each item, but there are {len(regressors)}.")
    if len(lengths := {len(row) for row in regressors}) > 1:
        raise UserError(f"{rule}, but their lengths are {min(lengths)} to {max(lengths)}.")
    for i, row in enumerate(regressors):
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in row):
            raise UserError(f"{rule}, but those of item {i} are {row}.")
