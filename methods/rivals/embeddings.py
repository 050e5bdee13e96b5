"""sbi's embedding networks for the structure of data: sets for items, convolutions for series and fields."""

import math

import torch
from torch import Tensor, nn

from ...tasks.errors import UserError
from ...tasks.structure import Field, Items, Series, Structure
from .optional_package import import_for

FEATURES = 20  # what sbi's networks return by default
KERNEL, LEAST_POINTS = 5, 10  # sbi's kernel, and the fewest points that it leaves anything of
SHORT_KERNEL, SHORT_POINTS = 3, 4
DIRECTIONS = 2  # of the largest grid that sbi convolves


def embedding_net(method: str, structure: Structure | None, x: Tensor) -> nn.Module | None:
    """Return one of sbi's networks from data, (n, dim_x), to 20 features, or None if x is taken as a vector.

    That is so for a vector, for a series of fewer than 4 times, and for a field with fewer than 4 points in a
    direction.

    Items are embedded by a `PermutationInvariantEmbedding`, each of them by an `FCEmbedding` or, if it has a
    structure of its own, by the network for that; a series or a field is embedded by a `CNNEmbedding`. All
    have sbi's default sizes.

    Numbers are standardised over simulations, items, times and points together. sbi's default, each number of
    x for itself, would tell items apart.

    Args:
        method: the name of the method, for messages.
        structure: the structure of x.
        x: the training data, (n, dim_x).

    Raises:
        UserError: sbi is not installed, or has no network for the structure.
    """
    structure = None if structure is None else structure.effective
    if structure is None or not _has_form(structure):
        return None
    form = structure.unflatten(x)
    return nn.Sequential(Form(structure, form), _network(method, structure, form.shape[1:]))


def _has_form(structure: Structure) -> bool:
    """Return whether the structure says more than that of a vector, to a network."""
    if isinstance(structure, Series):
        return structure.steps >= SHORT_POINTS
    if isinstance(structure, Field):
        return min(structure.shape) >= SHORT_POINTS
    return isinstance(structure, Items)


def _network(method: str, structure: Structure, shape: torch.Size) -> nn.Module:
    """Return the network for data in their form, (n, *shape)."""
    nets = import_for(f"method {method}", "sbi.neural_nets.embedding_nets")
    if isinstance(structure, Items):
        trial = OverItems(_network(method, structure.each, shape[1:]), shape[1:])
        made = nets.PermutationInvariantEmbedding(trial, FEATURES)
        return nn.Sequential(nn.Flatten(2), made)
    if not _has_form(structure):
        return nn.Sequential(nn.Flatten(), nets.FCEmbedding(math.prod(shape)))
    *points, channels = shape
    if len(points) > DIRECTIONS:
        raise UserError(
            f"method {method}: sbi has no embedding network for a field in {len(points)} directions."
        )
    kernel = KERNEL if min(points) >= LEAST_POINTS else SHORT_KERNEL
    return nn.Sequential(
        ChannelsFirst(), nets.CNNEmbedding(tuple(points), in_channels=channels, kernel_size=kernel)
    )


class Form(nn.Module):
    """Bring x, (n, dim_x), into the form of its structure, and standardise each component.

    Args:
        structure: the structure.
        form: the training data in their form, (n, ..., k).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, structure: Structure, form: Tensor) -> None:
        super().__init__()
        self.structure = structure
        rows = form.flatten(0, -2)
        self.register_buffer("mean", rows.mean(0))
        self.register_buffer("std", rows.std(0).clamp_min(torch.finfo(rows.dtype).eps))

    def forward(self, x: Tensor) -> Tensor:
        return (self.structure.unflatten(x) - self.mean) / self.std


class OverItems(nn.Module):
    """Apply a network to each item, from (n, items, k) to (n, items, features).

    Args:
        net: the network, which takes items in their form, (·, *shape).
        shape: the form of an item, with k numbers.
    """

    def __init__(self, net: nn.Module, shape: torch.Size) -> None:
        super().__init__()
        self.net, self.shape = net, shape

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.net(x.reshape(-1, *self.shape))
        return features.unflatten(0, x.shape[:2])


class ChannelsFirst(nn.Module):
    """Move the channels from the last place to the second, where convolutions expect them."""

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(-1, 1).contiguous()
