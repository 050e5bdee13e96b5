"""Folders and files, written.

`write_whole` is for files that must survive a crash of the machine, `write_text` for files that can be made
again.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from ...tasks.errors import UserError

TEMPORARY = ".tmp"


class StoreError(RuntimeError):
    """A result file cannot be written or read; the message is one sentence that names the path."""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raise a `StoreError` that names `path` in place of an `OSError`."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: it cannot be written: {error.strerror or error}.") from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that the old or the new content is there whenever the machine stops.

    Raises:
        StoreError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex}{TEMPORARY}")
    with explained(path):
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, if they do not exist.

    Raises:
        UserError: the folder cannot be made, for instance because a file is in the way.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: this folder cannot be made: {error.strerror}.") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, and make its folder.

    Raises:
        UserError: the file cannot be written, for instance because the disk is full.
    """
    make_folder(path.parent)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: this file cannot be written: {error.strerror}.") from error
