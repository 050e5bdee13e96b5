"""Pieces of a long computation: each result is stored whole, and a rerun computes only what is missing.

    DIR/work/<name>-<key>.json    the result of one piece, such as the fit of a group

The key is a hash of everything that can change the result: the function, the arguments, and the source of the
modules behind both. Several processes may work in one folder. Numbers are read back exactly, so a table made
from stored pieces equals, byte for byte, a table made at once.
"""

import hashlib
import inspect
import json
import re
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from rich.console import Console
from torch import Tensor

from ...methods.bridge.likelihood import LowEffectiveSizeWarning
from ...methods.progress import listening
from ...tasks.errors import UserError
from ...tasks.task import Task
from .progress import bars, say
from .source import source_of
from .writing import StoreError, make_folder, write_whole

Result = dict[str, Any]
T = TypeVar("T")


class Pieces:
    """The pieces of one result folder, as a context that shows their progress.

    Ctrl-C inside the context ends the program with one sentence and status 1.

    Args:
        folder: the result folder; it is made if it does not exist.
        console: where progress is shown.
        total: the number of pieces.

    Raises:
        UserError: the folder cannot be written.
    """

    def __init__(self, folder: Path, console: Console, total: int) -> None:
        self.folder, self.console, self.total = folder / "work", console, total
        self.done = 0
        make_folder(self.folder)
        try:
            write_whole(self.folder / ".probe", b"")
            (self.folder / ".probe").unlink(missing_ok=True)
        except StoreError as error:
            raise UserError(str(error)) from error
        self._bars = bars(console)
        self._all = self._bars.add_task("all", total=total, stage="")

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bars.stop()
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            print(
                f"graybench: interrupted with {self.done} of {self.total} pieces finished; "
                "run the same command again to finish.",
                file=sys.stderr,
            )
            raise SystemExit(1)

    def get(self, name: str, compute: partial[T]) -> T:
        """Return the stored result of a piece, or compute and store it.

        Args:
            name: the name of the piece for people.
            compute: a function with its arguments, of kinds that `key_of` accepts. It returns what JSON can
                hold, but not None.

        Returns:
            The result as read from JSON, whether it was stored before or not.
        """
        stem = re.sub(r"[^\w.+-]+", "_", name)
        path = self.folder / f"{stem}-{key_of(compute)}.json"
        result: T | None = _read(path)
        if result is None:
            begun = time.monotonic()
            content = json.dumps(self._compute(name, compute))
            write_whole(path, content.encode())
            result = json.loads(content)
            told = f"in {time.monotonic() - begun:.1f} s"
        else:
            told = "finished before"
        self.done += 1
        self._bars.update(self._all, completed=self.done)
        say(self.console, f"[{self.done}/{self.total}] {name}: {told}")
        return result

    def _compute(self, name: str, compute: partial[T]) -> T:
        bar = self._bars.add_task(name, total=None, stage="")

        def heard(stage: str, done: int, total: int) -> None:
            # How many evaluations a maximisation takes is not known before it ends.
            self._bars.update(bar, stage=stage, completed=done, total=None if done == total else total)

        try:
            with listening(heard), warnings.catch_warnings():
                # The tables hold the ESS of every number, and `graybench shapes` reports low ones at its end.
                warnings.simplefilter("ignore", LowEffectiveSizeWarning)
                return compute()
        finally:
            self._bars.remove_task(bar)


def key_of(compute: partial[Any]) -> str:
    """Return the first 16 hex digits of the SHA-256 of a function, its arguments and the source behind them.

    Raises:
        TypeError: an argument is of a kind whose value cannot be read.
    """
    text = json.dumps([_plain(part) for part in (compute.func, compute.args, compute.keywords)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it; different values differ, and code is represented by its source."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        content = hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
        return ["tensor", str(value.dtype), list(value.shape), content]
    if isinstance(value, dict):
        return ["dict", [[_plain(key), _plain(own)] for key, own in value.items()]]
    if type(value) in (list, tuple):
        return ["list", [_plain(own) for own in value]]
    if inspect.isfunction(value):
        return _named(value)
    if is_dataclass(value):
        data = value.data_digest() if isinstance(value, Task) else ""
        return [*_named(type(value)), data, [_plain(getattr(value, field.name)) for field in fields(value)]]
    if isinstance(value, tuple):  # a named one
        return [*_named(type(value)), [_plain(own) for own in value]]
    raise TypeError(f"a piece cannot depend on a {type(value).__qualname__}, whose value cannot be read.")


def _named(kind: Callable[..., Any]) -> list[str]:
    return [kind.__module__, kind.__qualname__, source_of(kind.__module__)]


def _read(path: Path) -> Any:
    """Return a stored result; None if there is none or it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
