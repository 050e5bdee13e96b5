"""Summaries of data with structure: a few numbers, learned before the score network, that replace long x.

Short x stays beside its summary. What comes after (recipe, gate, conditioning, sampler) takes both for x.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...tasks.errors import UserError
from ...tasks.seeding import derive_seed, generator
from ...tasks.structure import Field, Items, Series, Structure, Vector, require_structure
from ..nn.fields import FieldFeatures
from ..nn.sets import UNITS, Channels, SetFeatures
from ..nn.stacking import FOLDS, Stacking
from ..nn.standardise import Standardise
from .recipes import LEAST_ROWS

AUTO, NONE = "auto", "none"
NETWORKS: dict[str, type[Structure]] = {"sets": Items, "series": Series, "fields": Field}
SUMMARIES = (AUTO, NONE, *NETWORKS)
SHORT = 20  # x of so many components stays beside its summary; measured by `benchmark.choices.summaries`
PART = 100_000  # numbers of x whose features are computed at once


class Summary(nn.Module):
    """Summaries of x: the prediction of u, after x itself if x is short.

    u is regressed on features of x, see `Features` and `Stacking`. With fewer than three simulations for each
    parameter, or fewer than five, nothing is fitted, and the prediction is 0.

    Args:
        structure: of x.
        x: data of the training simulations (R, n, dim_x).
        d: number of parameters.
        seeds: one for each replicate.
        short: the largest number of components with which x stays.
    """

    def __init__(
        self, structure: Structure, x: Tensor, d: int, seeds: Sequence[int], short: float = SHORT
    ) -> None:
        super().__init__()
        self.structure, self.seeds, self.stays = structure, seeds, structure.size <= short
        streams = [generator(derive_seed(seed, "summary")) for seed in seeds]
        self.features = Features(structure, x, streams)
        with torch.no_grad():
            few, many = self._features(x)
        self.stacking = Stacking(few, many, d, streams)

    def forward(self, x: Tensor) -> Tensor:
        """Return the summaries (R, n, d), or (R, n, dim_x + d) if x stays, of x (R, n, dim_x)."""
        with torch.no_grad():
            return self._joined(x, self.stacking(*self._features(x)))

    def fit(self, x: Tensor, u: Tensor) -> Tensor:
        """Fit the summaries to training simulations.

        Args:
            x: data (R, n, dim_x).
            u: parameters (R, n, d).

        Returns:
            The summaries of the training simulations, as `forward` has them, but each predicted without that
            simulation: otherwise the posterior would be too narrow.

        Raises:
            NotFiniteError: the regression diverged.
        """
        if u.shape[1] < max(FOLDS, LEAST_ROWS * u.shape[2]):
            return self(x)
        streams = [generator(derive_seed(seed, "summary minibatches")) for seed in self.seeds]
        with torch.no_grad():
            few, many = self._features(x)
        return self._joined(x, self.stacking.fit(few, many, u, streams))

    def _joined(self, x: Tensor, summaries: Tensor) -> Tensor:
        return torch.cat([x, summaries], -1) if self.stays else summaries

    def _features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rows = max(1, PART // (len(x) * x.shape[2]))
        few, many = zip(*(self.features(part) for part in x.split(rows, 1)), strict=True)
        return torch.cat(few, 1), torch.cat(many, 1)


class Features(nn.Module):
    """Few and many features of x by its structure.

    Sets of sets, or of fields, are sets of vectors: the plain features of each item.

    Args:
        structure: of x, not a vector.
        x: data of the training simulations (R, n, size).
        streams: a generator for each replicate.
        units: number of random nonlinear units.
    """

    def __init__(
        self, structure: Structure, x: Tensor, streams: Sequence[torch.Generator], units: int = UNITS
    ) -> None:
        super().__init__()
        self.structure = structure
        parts = self._parts(x)
        flat = parts.flatten(1, -2)
        self.nested = isinstance(structure, Items) and not isinstance(structure.each, Vector)
        if isinstance(structure, Items) and self.nested:
            self.inner = Features(structure.each, flat, streams, 0)
            self.channels: nn.Module = Standardise(self.inner.plain(flat))
        else:
            self.channels = Channels(flat, asinh=units > 0)
        first = self._channels(x[:, :1])
        self.network: SetFeatures | FieldFeatures
        if isinstance(structure, Items):
            regressors = None if structure.regressors is None else torch.tensor(structure.regressors)
            self.network = SetFeatures(first, streams, regressors, units)
        else:
            self.network = FieldFeatures(first, streams, parts.shape[-1], units)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return few and many features, (R, n, ·) each, of x (R, n, size)."""
        few, many = self.network(self._channels(x))
        return few, many

    def plain(self, x: Tensor) -> Tensor:
        """Return features (R, n, ·) without logarithms, as components of an item."""
        return self.network.plain(self._channels(x))

    def _parts(self, x: Tensor) -> Tensor:
        """Return x (R, n, size) as items (R, n, items, size of each) or as a field (R, n, *shape, C)."""
        if isinstance(self.structure, Items):  # without regressors, which `unflatten` appends
            return x.unflatten(-1, (self.structure.n, self.structure.each.size))
        return self.structure.unflatten(x)

    def _channels(self, x: Tensor) -> Tensor:
        """Return standardised channels (R, n, ..., c) of each item or point of x (R, n, size)."""
        parts = self._parts(x)
        flat = parts.flatten(1, -2)
        if self.nested:
            flat = self.inner.plain(flat)
        channels: Tensor = self.channels(flat)
        return channels.unflatten(1, parts.shape[1:-1])


def chosen_structure(who: str, option: str, structure: Structure | None) -> Structure | None:
    """Return the structure that summaries follow, or None if x needs no summary.

    Args:
        who: the method, for the message.
        option: a name in `SUMMARIES`.
        structure: declared with the simulations.

    Raises:
        UserError: the option names a network for another structure.
    """
    structure = None if structure is None else structure.effective
    if option == NONE or (option == AUTO and (structure is None or isinstance(structure, Vector))):
        return None
    declared = "Vector" if structure is None else type(structure).__name__
    if option != AUTO and declared != NETWORKS[option].__name__:
        raise UserError(
            f"{who}: summaries={option} are for data with the structure {NETWORKS[option].__name__}, but the "
            f"task declares {declared}: choose auto or none."
        )
    return structure


def structure_facts(structure: Structure) -> dict[str, Any]:
    """Return a structure as JSON."""
    facts = {key: _lists(value) for key, value in vars(structure).items()}
    return facts | {"structure": type(structure).__name__}


def restored_structure(facts: Any, dim_x: int) -> Structure:
    """Return the structure of `structure_facts`, whose content may come from anybody.

    Raises:
        UserError: the facts are malformed, or are those of data with another number of components.
    """
    return require_structure("a saved posterior", _structure(facts), dim_x)


def _structure(facts: Any) -> Structure:
    named: list[type[Structure]] = [Vector, *NETWORKS.values()]
    kinds = {kind.__name__: kind for kind in named}
    try:
        own = {key: _tuples(value) for key, value in facts.items() if key != "structure"}
        if isinstance(own.get("item"), dict):
            own["item"] = _structure(own["item"])
        return kinds[facts["structure"]](**own)
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError("its structure must name a kind with its sizes.") from error


def _lists(value: Any) -> Any:
    if isinstance(value, Structure):
        return structure_facts(value)
    return [*map(_lists, value)] if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
