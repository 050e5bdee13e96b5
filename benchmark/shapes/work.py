"""The units of work of `graybench shapes`: each is stored whole, and a rerun does only what is missing.

    DIR/work/<name>-<hash>.json    the result of one unit, such as the fit of a group

The hash is that of everything the result depends on: the numbers that go in, the options, graybench's version
and `REVISION`. Numbers are written so that they are read back exactly; a table made from stored units is the
same, byte for byte, as one made at once.
"""

import hashlib
import json
import re
import time
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import pandas as pd
from rich.console import Console
from torch import Tensor

from ...methods.bridge.likelihood import LowEffectiveSizeWarning
from ...methods.progress import listening
from ...tasks.errors import UserError
from ..running.progress import bars, say
from ..running.store import StoreError, write_whole

REVISION = 1  # grows whenever a unit gives other results for the same inputs
Result = dict[str, Any]


class Units:
    """The units of one result folder, with their progress.

    Args:
        folder: the result folder, made if there is none.
        console: where to tell what is finished.
        total: how many units there are.

    Raises:
        UserError: the folder cannot be written.
    """

    def __init__(self, folder: Path, console: Console, total: int) -> None:
        self.folder, self.console, self.total = folder / "work", console, total
        self.done = 0
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / "probe", b"")
            (self.folder / "probe").unlink()
        except (OSError, StoreError) as error:
            raise UserError(f"{folder}: this folder cannot be written: {error}") from error
        self._bars = bars(console)
        self._all = self._bars.add_task("shapes", total=total, stage="")

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def get(self, name: str, inputs: Mapping[str, Any], compute: Callable[[], Result]) -> Result:
        """Give the result of a unit: the stored one, or else what `compute` gives, stored.

        Args:
            name: of the unit, for people.
            inputs: all that the result depends on: numbers, texts, tuples of them, and tensors.
            compute: gives the result, of what JSON can hold.
        """
        stem = re.sub(r"[^\w.+-]+", "_", name)
        path = self.folder / f"{stem}-{digest(inputs)}.json"
        result = _read(path)
        if result is None:
            begun = time.monotonic()
            result = self._compute(name, compute)
            write_whole(path, json.dumps(result).encode())
            told = f"in {time.monotonic() - begun:.1f} s"
        else:
            told = "finished before"
        self.done += 1
        self._bars.update(self._all, completed=self.done)
        say(self.console, f"[{self.done}/{self.total}] {name}: {told}")
        return result

    def _compute(self, name: str, compute: Callable[[], Result]) -> Result:
        bar = self._bars.add_task(name, total=None, stage="")

        def heard(stage: str, done: int, total: int) -> None:
            # The number of evaluations of a maximisation is not known before it ends.
            self._bars.update(bar, stage=stage, completed=done, total=None if done == total else total)

        try:
            with listening(heard), warnings.catch_warnings():
                # The ESS of every number is in the tables, and the command tells of low ones at its end.
                warnings.simplefilter("ignore", LowEffectiveSizeWarning)
                return compute()
        finally:
            self._bars.remove_task(bar)


def digest(inputs: Mapping[str, Any]) -> str:
    """Give 16 hexadecimal digits of the SHA-256 of the inputs, graybench's version and `REVISION`."""
    parts = {key: _plain(value) for key, value in inputs.items()}
    text = json.dumps([version("graybench"), REVISION, parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_table(folder: Path, name: str, table: pd.DataFrame) -> Path:
    """Write DIR/<name>.csv whole, with six significant digits."""
    path = folder / f"{name}.csv"
    write_whole(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode())
    return path


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        content = hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
        return [str(value.dtype), list(value.shape), content]
    return value


def _read(path: Path) -> Result | None:
    """Give a stored result; None if there is none, or if it is damaged and must be made anew."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return result if isinstance(result, dict) else None
