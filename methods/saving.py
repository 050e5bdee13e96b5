"""Files of saved posteriors. Tensors and a description run no code when they are read; a pickle does.

posterior.json           a `Description`
posterior.safetensors    the tensors
posterior.pickle         in place of the two, where that was asked for
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue, PositiveInt, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..tasks.errors import UserError

DESCRIPTION, TENSORS, PICKLED = "posterior.json", "posterior.safetensors", "posterior.pickle"


class Description(BaseModel):
    """What is said of a saved posterior: all but its tensors.

    Attributes:
        method: the name of the method that made it.
        options: those of the method.
        dims: (d, dim_x).
        facts: whatever else it is restored from.
    """

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    method: str
    options: dict[str, bool | int | float | str | None]
    dims: tuple[PositiveInt, PositiveInt]
    facts: dict[str, JsonValue]


def write(
    folder: Path,
    method: str,
    options: dict[str, Any],
    dims: tuple[int, int] | None,
    facts: dict[str, Any],
    tensors: Mapping[str, Tensor],
) -> None:
    """Write a `Description` and tensors into `folder`, in place of a posterior that was saved there.

    Raises:
        UserError: the dims are None, the options or the facts are no JSON, or the folder cannot be
            written to.
    """
    try:
        content = {"method": method, "options": options, "dims": dims, "facts": facts}
        description = Description.model_validate(content)
    except ValidationError as error:
        raise UserError(f"a posterior of {method} cannot be saved: {_first(error)}.") from error
    _clear(folder)
    (folder / DESCRIPTION).write_text(description.model_dump_json(indent=2) + "\n", encoding="utf-8")
    own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    save_file(own, folder / TENSORS)


def read(folder: Path) -> tuple[Description, dict[str, Tensor]]:
    """Read what `write` wrote, and run no code of it.

    Raises:
        UserError: a file is missing or malformed.
    """
    path = folder / DESCRIPTION
    try:
        description = Description.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} does not describe a saved posterior: {error.strerror}.") from error
    except ValidationError as error:
        raise UserError(f"{path} does not describe a saved posterior: {_first(error)}.") from error
    path = folder / TENSORS
    try:
        return description, load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} holds no tensors that can be read: {error}.") from error


def write_pickle(folder: Path, posterior: object) -> None:
    """Pickle a posterior into `folder`, in place of one that was saved there.

    Raises:
        UserError: it holds something that cannot be pickled, or the folder cannot be written to.
    """
    try:
        pickled = pickle.dumps(posterior)
    except Exception as error:  # pickling runs the code of whatever is pickled
        name = type(posterior).__name__
        raise UserError(f"{name} cannot be pickled, so give it a `state`: {error}.") from error
    _clear(folder)
    (folder / PICKLED).write_bytes(pickled)


def read_pickle(folder: Path) -> object:
    """Unpickle what `write_pickle` wrote, which runs the code that it names.

    Raises:
        UserError: it cannot be unpickled.
    """
    path = folder / PICKLED
    try:
        return pickle.loads(path.read_bytes())
    except Exception as error:  # unpickling runs the code of whatever was pickled
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path} cannot be read: {told}.") from error


def is_pickle(folder: Path) -> bool:
    """Say whether a pickle is all that `folder` holds of a posterior."""
    return (folder / PICKLED).exists() and not (folder / DESCRIPTION).exists()


def _clear(folder: Path) -> None:
    """Make the folder, and remove a posterior that was saved there before."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (DESCRIPTION, TENSORS, PICKLED):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot hold a posterior: {error.strerror}.") from error


def _first(error: ValidationError) -> str:
    """Say on one line where the first thing is that is wrong, and what it is."""
    first = error.errors()[0]
    return ": ".join(part for part in (".".join(map(str, first["loc"])), first["msg"]) if part)
