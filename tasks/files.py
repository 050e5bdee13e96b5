"""Python files as modules, named by their path: `methods/mine.py` without any change to `sys.path`.

A folder is a package here, named by its absolute path, and the modules in it are its files:

    /home/me/methods/mine.py   is   graybench.tasks.files./home/me/methods.mine

So two files of one name in two folders are two modules, a relative import finds the neighbours of a file, a
name that another package has as well is no obstacle, and a class is pickled by the name of its module alone:
a process that reads it imports this module first, which finds the rest.
"""

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

SUFFIX = ".py"
PREFIX = f"{__name__}."

__path__: list[str] = []  # Python imports modules below this one, as it has a search path


def module_of(place: str) -> str:
    """Return the name of the module at `place`, the path of a Python file or already the name of a module."""
    if not place.endswith(SUFFIX):
        return place
    folder, file = os.path.split(os.path.abspath(Path(place).expanduser()))
    return f"{PREFIX}{_quoted(folder)}.{_quoted(file.removesuffix(SUFFIX))}"


def name_without_folder(module: str) -> str:
    """Return the name of a module, without the folder if it is from a file, which may be moved."""
    return module.rpartition(".")[2] if module.startswith(PREFIX) else module


def _quoted(text: str) -> str:
    """Return `text` without dots, which separate packages in the name of a module."""
    return text.replace("%", "%25").replace(".", "%2E")


class _Finder(MetaPathFinder):
    """Finds the packages that stand for folders, and the files in them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(PREFIX):
            return None
        folder, _, stem = fullname.removeprefix(PREFIX).partition(".")
        if not stem:
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [unquote(folder)]
            return spec
        file = Path(unquote(folder), unquote(stem) + SUFFIX)
        return spec_from_file_location(fullname, file) if file.is_file() else None  # else it is a package


sys.meta_path.insert(0, _Finder())  # before Python's own, which prefers the folder mine/ to the file mine.py
