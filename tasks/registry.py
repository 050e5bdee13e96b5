"""Finds tasks and methods by name: built-in ones, those of other packages, and a user's own files."""

import importlib
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from .errors import UserError
from .plugin import Plugin, nearest, option_fields

P = TypeVar("P", bound=Plugin)


class Registry(Generic[P]):
    """Finds plug-ins by name: an explicit table, the entry points of a group, and `module:Class`.

    Args:
        kind: "task" or "method", the word used in messages.
        base: the class that every entry must extend.
        table: name to `module:Class`.
        group: the entry-point group by which other packages add names.
    """

    def __init__(self, kind: str, base: type[P], table: Mapping[str, str], group: str) -> None:
        self.kind, self.base, self.table, self.group = kind, base, dict(table), group

    def names(self) -> list[str]:
        """Give every known name, the built-in ones first."""
        return [*self.table, *(name for name in sorted(self._entry_points) if name not in self.table)]

    def hidden(self) -> list[str]:
        """Tell of each entry point that cannot be seen because its name is taken: one sentence each."""
        return [
            f"{self.kind} {point.name} of {point.value} is hidden by {seen}: rename the former's entry point."
            for point in entry_points(group=self.group)
            if (seen := self.table.get(point.name, self._entry_points[point.name].value)) != point.value
        ]

    def load(self, name: str) -> type[P]:
        """Import the class behind `name`; raise `UserError` if there is none or it is not a plug-in."""
        points = self._entry_points
        if ":" in name:
            target = name
        elif name in self.table:
            target = self.table[name]
        elif name in points:
            target = points[name].value
        else:
            raise UserError(f"there is no {self.kind} {name!r}: {nearest(name, self.names())}")
        module, _, attribute = target.partition(":")
        try:
            loaded = getattr(importlib.import_module(module), attribute)
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # somebody else's module may raise anything
            where = "the current folder and the environment" if target == name else module
            raise UserError(f"{self.kind} {name} cannot be imported from {where}: {_told(error)}.") from error
        if not (isinstance(loaded, type) and issubclass(loaded, self.base)):
            raise UserError(f"{target} is not a {self.kind}: it must extend {self.base.__name__}.")
        for attribute in loaded.required:
            if not hasattr(loaded, attribute):
                raise UserError(
                    f"{self.kind} {target} must set {', '.join(loaded.required)}: no {attribute}."
                )
        return loaded

    def get(self, name: str, /, **options: Any) -> P:
        """Make the plug-in `name` with `options`; an unknown name or option is answered with the nearest."""
        loaded = self.load(name)
        known = {field.name for field in option_fields(loaded)}
        for option in options:
            if option not in known:
                hint = nearest(option, known) if known else "it has no options."
                raise UserError(f"{self.kind} {name!r} has no option {option!r}: {hint}")
        for option, value in options.items():
            if len(str(value).split()) != 1:  # settings are written with spaces between them
                raise UserError(f"{self.kind} {name!r}: {option} must have no spaces, but is {value!r}.")
        try:
            return loaded(**options)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{self.kind} {name!r} cannot be made: {_told(error)}.") from error

    @cached_property
    def _entry_points(self) -> dict[str, EntryPoint]:
        """What other packages add; looking through all that is installed takes milliseconds."""
        return {point.name: point for point in entry_points(group=self.group)}


def _told(error: BaseException) -> str:
    """Give the type and the message of an error on one line, to which a full stop is still to be added."""
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".:")
