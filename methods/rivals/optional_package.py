"""Packages that only some methods need: they are imported when such a method is used."""

import importlib
from types import ModuleType

from ...tasks.errors import UserError
from .private_randomness import private_randomness


def import_for(user: str, module: str, extra: str = "sbi") -> ModuleType:
    """Return the module `module` of a package that an extra of graybench installs.

    Importing sbi draws from Python's global generator, which is restored afterwards.

    Args:
        user: who needs the module, such as "method sally"; the message names it.
        module: the full name of the module.
        extra: the extra that installs its package.

    Raises:
        UserError: the package is not installed.
    """
    try:
        with private_randomness(0):
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{user} needs the package {module.partition('.')[0]}: "
            f"pip install 'graybench[{extra}]' ({error})."
        ) from error
