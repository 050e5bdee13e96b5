"""The common base of tasks and methods: a name, a version, and options with defaults."""

import difflib
import functools
import inspect
import math
import operator
from abc import ABC
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, FrozenInstanceError, dataclass, fields
from numbers import Integral, Real
from typing import Any, ClassVar, dataclass_transform

from .errors import UserError

Guard = Callable[..., Callable[[Any], Any] | None]


@dataclass_transform(frozen_default=True)
class Plugin(ABC):
    """The base of `Task` and `Method`: a named, versioned class with options.

    A subclass writes its options as annotated fields with defaults, such as `rows: int = 20`, and annotates
    every other attribute as `ClassVar`. It becomes a frozen dataclass without a decorator: instances compare,
    hash and pickle by their options. Methods named in `guards` check their arguments before the subclass's
    own code runs.

    Attributes:
        name: the name in the registry.
        version: an integer to increase whenever results change for the same options, so that old results are
            not mistaken for new ones.
        summary: the line that `graybench tasks` and `graybench methods` print.
        required: the attributes that a subclass must set.
        guards: the check of each guarded method, see `guard_methods`.
        contract: the names that no option may have.

    Raises:
        UserError: while a subclass is defined, if an option has a name of the contract.
    """

    required: ClassVar[tuple[str, ...]] = ("name", "version", "summary")
    guards: ClassVar[Mapping[str, Guard]] = {}
    contract: ClassVar[frozenset[str]] = frozenset()

    name: ClassVar[str]
    version: ClassVar[int]
    summary: ClassVar[str]

    def __init_subclass__(cls, *, defines_contract: bool = False) -> None:
        guard_methods(cls, cls.guards)
        dataclass(frozen=True)(cls)
        # `Plugin` forbids setting. Without these two, a class can be decorated as a dataclass again.
        del cls.__setattr__, cls.__delattr__
        if defines_contract:
            cls.contract = frozenset(name for base in (cls, Plugin) for name in _public_names(base))
            return
        for field in option_fields(cls):
            if field.name in vars(cls) and vars(cls)[field.name] is not field.default:
                raise UserError(
                    f"{cls.__module__}:{cls.__qualname__}: {field.name} is an option, so that its new "
                    f"default needs an annotation: write `{field.name}: ... = {vars(cls)[field.name]!r}`."
                )
            if field.name in cls.contract:
                raise UserError(
                    f"{cls.__module__}:{cls.__qualname__}: {field.name} is a name of the contract and cannot "
                    "be an option: annotate it as ClassVar, or define it as a property."
                )

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"{self.name}: cannot assign to {name!r} after it was made")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"{self.name}: cannot delete {name!r}")

    def options(self) -> dict[str, Any]:
        """Return every option with its value, in the order of the fields.

        Equal options have equal values here: 10 becomes 10.0 if the default is a float, and whole numbers of
        numpy become Python's.
        """
        fields = option_fields(self)
        return {field.name: _canonical(getattr(self, field.name), field.default) for field in fields}

    @property
    def settings(self) -> str:
        """The options that differ from their defaults, as `gate=learned recipe=plain`; empty without any."""
        defaults = {field.name: field.default for field in option_fields(self)}
        changed = {name: value for name, value in self.options().items() if value != defaults[name]}
        return " ".join(f"{name}={_short(changed[name])}" for name in sorted(changed))

    @property
    def label(self) -> str:
        """The name, followed by the settings in brackets: `galton`, `galton(balls=10)`."""
        return f"{self.name}({self.settings.replace(' ', ', ')})" if self.settings else self.name


def option_fields(plugin: Any) -> tuple[Field[Any], ...]:
    """Return the options of a plug-in, or of its class, as dataclass fields."""
    return fields(plugin)


def guard_methods(cls: type, guards: Mapping[str, Guard]) -> None:
    """Make the methods that `cls` defines check their arguments first.

    Args:
        cls: a class. Inherited methods stay as they are: the class that defines them has guarded them.
        guards: the check of each method, by name. A check receives the method's own arguments and raises an
            error for wrong ones. If it returns a function, that function receives the method's result.
    """
    for name, guard in guards.items():
        method = vars(cls).get(name)
        if callable(method) and not getattr(method, "__isabstractmethod__", False):
            setattr(cls, name, _guarded(method, guard))


def _guarded(method: Callable[..., Any], guard: Guard) -> Callable[..., Any]:
    signature = inspect.signature(method)

    @functools.wraps(method)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        signature.bind(self, *args, **kwargs)  # a missing argument is named as the method names it
        after = guard(self, *args, **kwargs)
        result = method(self, *args, **kwargs)
        if after is not None:
            after(result)
        return result

    return checked


def _public_names(cls: type) -> set[str]:
    return {name for name in (*vars(cls), *vars(cls).get("__annotations__", {})) if not name.startswith("_")}


def _canonical(value: Any, default: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, Integral):
        return value
    return float(value) if isinstance(default, float) else int(value)


def _short(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def require_whole(what: str, value: Any, least: int) -> int:
    """Return `value` as an int.

    Args:
        what: the name of the value in the message.
        value: a whole number of any type.
        least: the smallest value allowed.

    Raises:
        UserError: `value` is not a whole number, or is below `least`.
    """
    try:
        whole = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        whole = None
    if whole is None or whole < least:
        raise UserError(f"{what} must be a whole number from {least} up, but is {value!r}.")
    return whole


def require_flag(what: str, value: Any) -> None:
    """Raise unless a value is True or False.

    Args:
        what: the name of the value in the message.
        value: what must be a bool.

    Raises:
        UserError: it is anything else; text such as "false" would count as true.
    """
    if not isinstance(value, bool):
        raise UserError(f"{what} must be true or false, but is {value!r}.")


def require_positive(what: str, value: Any) -> None:
    """Raise unless a value is a finite number above 0.

    Args:
        what: the name of the value in the message.
        value: what must be a number of any real type.

    Raises:
        UserError: it is not a number, is not above 0, or is infinite.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
        raise UserError(f"{what} must be a finite number above 0, but is {value!r}.")


def require_choice(where: str, option: str, value: Any, choices: Iterable[str]) -> None:
    """Raise unless an option is one of some names.

    Args:
        where: what has the option, as in "method mix".
        option: the name of the option.
        value: its value.
        choices: the names.

    Raises:
        UserError: it is none of them; the message names the nearest ones.
    """
    known = list(choices)
    if value not in known:
        raise UserError(f"{where}: there is no {option} {value!r}: {nearest(str(value), known)}")


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the names close to `name`, or all names, as the end of an error sentence."""
    names = sorted(names)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names)}."
