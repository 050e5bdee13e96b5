"""Folders and text files that can be made again if a write is cut short.

`running.store.write_whole` writes files that must survive a crash of the machine.
"""

from pathlib import Path

from ...tasks.errors import UserError


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
