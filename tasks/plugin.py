"""What tasks and methods share: a name, a version, and options with defaults.

A task or a method is a frozen dataclass. Its fields are its options; an instance equals, hashes and pickles
by them, and `settings` writes those that differ from the defaults in one canonical short form.
"""

import dataclasses
import difflib
import operator
from abc import ABC
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

from .errors import UserError


@dataclass(frozen=True)
class Plugin(ABC):
    """A named, versioned thing with options: the base of `Task` and `Method`.

    `version` grows whenever results change for the same options, so that old results are not mistaken for
    new ones. `summary` is the line that `graybench tasks` and `graybench methods` print.
    """

    required: ClassVar[tuple[str, ...]] = ("name", "version", "summary")

    name: ClassVar[str]
    version: ClassVar[int]
    summary: ClassVar[str]

    def options(self) -> dict[str, Any]:
        """Give every option with its value, in the order of the fields.

        Equal options are the same here: 10 for a float is 10.0, and a whole number of numpy is one of Python.
        """
        fields = dataclasses.fields(self)
        return {field.name: _canonical(getattr(self, field.name), field.default) for field in fields}

    @property
    def settings(self) -> str:
        """The options that differ from their defaults, as `gate=learned recipe=plain`; empty if none do."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        changed = {name: value for name, value in self.options().items() if value != defaults[name]}
        return " ".join(f"{name}={_short(changed[name])}" for name in sorted(changed))

    @property
    def label(self) -> str:
        """The name, with the settings in brackets if there are any: `galton`, `galton(balls=10)`."""
        return f"{self.name}({self.settings.replace(' ', ', ')})" if self.settings else self.name


def _canonical(value: Any, default: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, Integral):
        return value
    return float(value) if isinstance(default, float) else int(value)


def _short(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def require_whole(what: str, value: Any, least: int) -> int:
    """Give `value` as an int; raise `UserError` unless it is a whole number, of any type, from `least` up."""
    try:
        whole = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        whole = None
    if whole is None or whole < least:
        raise UserError(f"{what} must be a whole number from {least} up, but is {value!r}.")
    return whole


def nearest(name: str, names: Iterable[str]) -> str:
    """Say which of `names` are close to `name`, or list them all: the end of an error sentence."""
    names = sorted(names)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names)}."
