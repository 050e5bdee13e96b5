"""Lists of plug-ins, kept on disk, because making all plug-ins imports torch.

A list is kept in the user's cache folder with a stamp of everything that it depends on: the source of
graybench, the version of Python, and the names of all that can be imported, as some tasks need another
package. A list with another stamp is made anew. Nothing is kept if other packages add plug-ins, because the
stamp does not cover their source.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import distributions
from itertools import chain
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path
from pydantic import BaseModel, ConfigDict, ValidationError

from ...tasks.registry import Registry
from ..running.writing import StoreError, write_whole

PACKAGE = Path(__file__).parents[2]
FLOORS = ("tasks", "methods", "benchmark")
IMPORTED = (".py", ".so", ".pyd", ".pth", ".dist-info", ".egg-info")
TICK = 2_000_000_000  # the coarsest clock of a file system, in nanoseconds

Source = dict[str, tuple[int, int]]  # time of change and size of each file


class Listing(BaseModel):
    """A list as text: the cells of each row, and a sentence for each plug-in that cannot be made."""

    model_config = ConfigDict(strict=True, extra="forbid")

    rows: list[list[str]]
    broken: list[str]


class _Kept(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    stamp: str
    listing: Listing


def kept(registry: Registry[Any], make: Callable[[], Listing]) -> Listing:
    """Return the list of a registry: the kept one if nothing has changed, otherwise what `make` returns."""
    if registry.extended:
        return make()
    path = user_cache_path("graybench") / f"{registry.kind}s.json"
    source = _source()
    stamp = _stamp(registry, source)
    with suppress(OSError, ValidationError):
        found = _Kept.model_validate_json(path.read_bytes())
        if found.stamp == stamp:
            return found.listing
    made = make()
    newest = max((changed for changed, _ in source.values()), default=0)
    if newest < time.time_ns() - TICK:  # otherwise the next edit may have the same time
        with suppress(OSError, StoreError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, _Kept(stamp=stamp, listing=made).model_dump_json().encode())
    return made


def _source() -> Source:
    source = {}
    for path in chain(PACKAGE.glob("*.py"), *((PACKAGE / floor).rglob("*.py") for floor in FLOORS)):
        with suppress(FileNotFoundError):  # an editor's lock is a link to nowhere
            status = path.stat()
            source[str(path)] = status.st_mtime_ns, status.st_size
    return source


def _stamp(registry: Registry[Any], source: Source) -> str:
    versions = [sys.version, *(own.version for own in distributions(name="graybench"))]
    names = set[str]().union(*map(_importable, sys.path))
    content = json.dumps([registry.table, versions, source, sorted(names)], sort_keys=True)
    return sha256(content.encode()).hexdigest()


def _importable(folder: str) -> set[str]:
    """Return the names of the modules, packages and installations in a folder."""
    try:
        names = os.listdir(folder or ".")
    except OSError:
        return set()
    return {n for n in names if n.endswith(IMPORTED) or os.path.isfile(Path(folder, n, "__init__.py"))}
