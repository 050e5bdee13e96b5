"""Finds tasks and methods by name: built-in ones, those of other packages, and a user's own files."""

import importlib
import os
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Generic, TypeVar

from .errors import UserError
from .files import SUFFIX, module_of
from .plugin import Plugin, nearest, option_fields

P = TypeVar("P", bound=Plugin)

_LOADED_FROM: dict[type[Plugin], set[str]] = {}


class Registry(Generic[P]):
    """Finds plug-ins by name: a table, the entry points of a group, `module:Class` and `file.py:Class`.

    Args:
        kind: "task" or "method", the word used in messages.
        base: the class that every entry must extend, as `module:Class`; it is imported with the first entry.
        table: name to `module:Class`.
        group: the entry-point group by which other packages add names.
    """

    def __init__(self, kind: str, base: str, table: Mapping[str, str], group: str) -> None:
        self.kind, self.base, self.table, self.group = kind, base, dict(table), group

    def names(self) -> list[str]:
        """Return every known name, the built-in names first."""
        return [*self.table, *(name for name in sorted(self._entry_points) if name not in self.table)]

    @property
    def extended(self) -> bool:
        """Whether other packages add names."""
        return bool(self._entry_points)

    def hidden(self) -> list[str]:
        """Return one sentence for each entry point whose name is taken, so that it cannot be found."""
        return [
            f"{self.kind} {point.name} of {point.value} is hidden by {seen}: rename its entry point."
            for point in entry_points(group=self.group)
            if (seen := self.table.get(point.name, self._entry_points[point.name].value)) != point.value
        ]

    def load(self, name: str) -> type[P]:
        """Import the class behind `name`; raise `UserError` if there is none or it is not a plug-in."""
        target = self._target(name)
        place, _, attribute = target.rpartition(":")
        if place.endswith(SUFFIX) and not Path(place).expanduser().is_file():
            raise UserError(f"{self.kind} {name}: there is no file {place}.")
        module = module_of(place)
        try:
            found = importlib.import_module(module)
            loaded = getattr(found, attribute, None)
        except (UserError, KeyboardInterrupt):
            raise
        except BaseException as error:  # somebody else's module may raise anything
            named = target == name and module == place
            where = "the current folder and the environment" if named else place
            raise UserError(f"{self.kind} {name} cannot be imported from {where}: {_told(error)}.") from error
        if loaded is None:
            raise UserError(
                f"{self.kind} {name}: {_lack(place, attribute, getattr(found, '__file__', None))}"
            )
        base: type[P] = resolve_name(self.base)
        if not (isinstance(loaded, type) and issubclass(loaded, base)):
            raise UserError(f"{target} is not a {self.kind}: it must extend {base.__name__}.")
        for required in loaded.required:
            if not hasattr(loaded, required):
                raise UserError(f"{self.kind} {target} must set {', '.join(loaded.required)}: no {required}.")
        _LOADED_FROM.setdefault(loaded, set()).add(module)
        return loaded

    def _target(self, name: str) -> str:
        """Return the `module:Class` or `file.py:Class` behind `name`."""
        if ":" in name:
            return name
        if name in self.table:
            return self.table[name]
        if name in self._entry_points:
            return self._entry_points[name].value
        raise UserError(f"there is no {self.kind} {name!r}: {nearest(name, self.names())}")

    def get(self, name: str, /, **options: Any) -> P:
        """Make the plug-in `name` with `options`; an unknown name or option is answered with the nearest."""
        loaded = self.load(name)
        known = {field.name for field in option_fields(loaded)}
        for option in options:
            if option not in known:
                hint = nearest(option, known) if known else "it has no options."
                raise UserError(f"{self.kind} {name!r} has no option {option!r}: {hint}")
        for option, value in options.items():
            words = len(str(value).split())
            if words != 1:  # settings are written with spaces between them
                what = "have no spaces" if words else "not be empty"
                raise UserError(f"{self.kind} {name!r}: {option} must {what}, but is {value!r}.")
        try:
            return loaded(**options)
        except (UserError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise UserError(f"{self.kind} {name!r} cannot be made: {_told(error)}.") from error

    @cached_property
    def _entry_points(self) -> dict[str, EntryPoint]:
        """What other packages add; looking through all that is installed takes milliseconds."""
        return {point.name: point for point in entry_points(group=self.group)}


def modules_behind(plugin: Plugin) -> set[str]:
    """Return the modules that define the class of `plugin`: its own, and every module it was loaded from.

    They differ if the module it was loaded from imports the class and changes it, or calls a function of
    another module that makes it.
    """
    return {type(plugin).__module__, *_LOADED_FROM.get(type(plugin), ())}


def _lack(place: str, attribute: str, file: str | None) -> str:
    """Return the end of a message: what a module lacks, and what to write if the module hides a file here."""
    sentence = f"{file or f'the built-in module {place}'} has no {attribute}"
    here = place.replace(".", "/") + SUFFIX
    hidden = not place.endswith(SUFFIX) and os.path.isfile(here) and os.path.abspath(here) != file
    return f"{sentence}; write {here}:{attribute} for the file in this folder." if hidden else f"{sentence}."


def _told(error: BaseException) -> str:
    """Return the type and the message of an error on one line, without a full stop."""
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".:")
