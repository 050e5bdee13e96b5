"""Folders and files of what can be made again; every error is one sentence that names the path.

What must survive a machine that stops is written by `benchmark.running.store.write_whole`.
"""

from pathlib import Path

from ...tasks.errors import UserError


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are not there.

    Raises:
        UserError: it cannot be made: a file is in the way, or it is not allowed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: this folder cannot be made: {error.strerror}.") from error


def write_text(path: Path, text: str) -> None:
    """Write a file, and make its folder.

    Raises:
        UserError: it cannot be written: a folder is in the way, or it is not allowed, or the disk is full.
    """
    make_folder(path.parent)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: this file cannot be written: {error.strerror}.") from error
