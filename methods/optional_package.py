"""Packages that only some methods need, imported when such a method is used."""

import importlib
from types import ModuleType

from tasks.errors import UserError


def import_for(method: str, module: str) -> ModuleType:
    """Import `module` of sbi or zuko for the method of that name.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"method {method} needs the package {module.partition('.')[0]}: pip install 'graybench[sbi]'."
        ) from error
