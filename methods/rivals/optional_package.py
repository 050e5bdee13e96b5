"""Packages that only some methods need, imported when such a method is used.

Importing sbi draws from Python's global generator, so an import counts as work that puts generators back.
"""

import importlib
from types import ModuleType

from ...tasks.errors import UserError
from .private_randomness import private_randomness


def import_for(user: str, module: str) -> ModuleType:
    """Import `module` of sbi or zuko for a user, such as "method sally", who is named if it is missing.

    Raises:
        UserError: it is not installed.
    """
    try:
        with private_randomness(0):
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{user} needs the package {module.partition('.')[0]}: pip install 'graybench[sbi]' ({error})."
        ) from error
