"""Hashes of the source that can change the numbers of a plug-in or metric.

The hash covers the module itself and every module that it imports directly or indirectly, also inside
functions, if that module belongs to graybench or to the user. It covers the packages of a user's module too,
because Python runs their `__init__`. It leaves out the standard library and installed packages, except the
plug-in's own top-level package. A module whose name is built at run time is not seen.

The syntax tree of each module is hashed without docstrings. Comments, line breaks, the encoding, a byte-order
mark and the locale have no effect.
"""

import ast
import hashlib
import json
import re
import site
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from importlib.util import decode_source, resolve_name, spec_from_file_location
from pathlib import Path
from types import ModuleType

from ... import _HOME
from ...tasks.errors import UserError
from ...tasks.files import module_of, name_without_folder

ROOT = __name__.partition(".")[0]
REGISTRIES = (f"{ROOT}.tasks", f"{ROOT}.methods")  # groups of entry points have the same names
PLUGIN = re.compile(r"([\w./~ -]+):[A-Za-z_]\w*")  # `module:Class` or `folder/file.py:Class`
IMPORTERS = ("import_module", "__import__")


@cache
def source_of(*modules: str) -> str:
    """Return the SHA-256 of the source of `modules` and of the modules that they import.

    Raises:
        UserError: one of `modules` has no source, such as a notebook.
    """
    own = {module.partition(".")[0] for module in modules} | {ROOT}
    for module in modules:
        if _counted(module, own) is None:
            raise UserError(f"module {module}: its source is not found; put the class into a file.")
    digests: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        spec = _counted(waiting.pop(), own)
        if spec is None or spec.name in digests:
            continue
        digests[spec.name], imports = _read(spec.name)
        waiting += imports
        if spec.name in REGISTRIES:  # code that uses the registry may use any plug-in
            added = [point.module for point in entry_points(group=spec.name)]
            own |= {module.partition(".")[0] for module in added}
            waiting += added
        elif spec.name.partition(".")[0] != ROOT:
            waiting.append(spec.name.rpartition(".")[0])
            waiting += _held(spec.name)
    named = sorted((name_without_folder(name), digest) for name, digest in digests.items())
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


def _held(module: str) -> Iterator[str]:
    """Yield the modules that the variables of a loaded module are or come from, however it imported them."""
    for value in list(vars(sys.modules[module]).values()) if module in sys.modules else ():
        name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if isinstance(name, str):
            yield name


def digest_of(module: str) -> str:
    """Return the SHA-256 of the source of one module, without its imports."""
    return _read(module)[0]


def _counted(name: str, own: Iterable[str]) -> ModuleSpec | None:
    """Return the module that `name` is or is in, as `task` for `task.Task`; None if it does not enter."""
    top, _, rest = name.partition(".")
    if top == ROOT and (public := rest.partition(".")[0]) in _HOME:
        name = f"{ROOT}.{_HOME[public]}.{public}"
    while name and (spec := _find(name)) is None:
        name = name.rpartition(".")[0]
    if not name or spec is None or spec.name == ROOT:  # the top package only says where names are
        return None
    return spec if top in own or not _installed(spec) else None


@cache
def _find(name: str) -> ModuleSpec | None:
    """Find a module as Python does, without importing it or its packages."""
    if module := sys.modules.get(name):
        file = getattr(module, "__file__", None)
        return module.__spec__ or (spec_from_file_location(name, file) if file else None)
    path = None
    if parent := name.rpartition(".")[0]:
        package = sys.modules.get(parent)
        path = (
            getattr(package, "__path__", None)
            if package
            else getattr(_find(parent), "submodule_search_locations", None)
        )
        if path is None:
            return None
    try:
        specs = (finder.find_spec(name, path) for finder in sys.meta_path)
        return next((spec for spec in specs if spec is not None), None)
    except ImportError:  # a finder of somebody else's knows the name, and that it cannot be imported
        return None


def _installed(spec: ModuleSpec) -> bool:
    """Return whether a module is built in, in the standard library, or in an installed package."""
    places = [spec.origin] if spec.has_location else list(spec.submodule_search_locations or ())
    paths = [Path(place).resolve() for place in places if place]
    return all(not _library().isdisjoint(path.parents) for path in paths)


@cache
def _library() -> frozenset[Path]:
    """Return the folders of the standard library and of packages, those of other environments included."""
    paths = [sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    paths += [*site.getsitepackages(), site.getusersitepackages()]
    paths += [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    return frozenset(Path(path).resolve() for path in paths)


@cache
def _read(module: str) -> tuple[str, tuple[str, ...]]:
    """Return the SHA-256 of a module's source, or of its bytes if it is compiled, and what it imports."""
    spec = _find(module)
    content = b""
    if spec is not None and spec.has_location and spec.origin:
        content = spec.loader.get_data(spec.origin) if spec.loader else b""  # type: ignore[attr-defined]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(decode_source(content))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return hashlib.sha256(content).hexdigest(), ()
    _remove_docstrings(tree)
    package = spec.parent if spec is not None and spec.parent else ""
    return hashlib.sha256(ast.dump(tree).encode("utf-8", "surrogatepass")).hexdigest(), tuple(
        _imports(tree, package)
    )


def _remove_docstrings(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            del node.body[: ast.get_docstring(node, clean=False) is not None]


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    """Yield the full name of everything that a source in `package` imports: modules, and names in modules."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
                if any(alias.name.partition(".")[0] == ROOT for alias in names):  # graybench.Task
                    yield from (f"{ROOT}.{n.attr}" for n in ast.walk(tree) if isinstance(n, ast.Attribute))
            case ast.ImportFrom(module=module, names=names, level=level):
                base = _absolute("." * level + (module or ""), package)
                given = [alias.name for alias in names]
                public = list(_HOME) if base == ROOT and given == ["*"] else given
                yield from (f"{base}.{name}" for name in public)
            case ast.Call(
                func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(str(name)), *_]
            ) if called in IMPORTERS:
                yield _absolute(name, package)
            case ast.Constant(str(text)) if (match := PLUGIN.fullmatch(text)) is not None:
                yield module_of(match[1])


def _absolute(name: str, package: str) -> str:
    try:
        return resolve_name(name, package)
    except ImportError:  # it leaves the top package and raises when run
        return ""
