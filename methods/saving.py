"""Files of saved posteriors.

    posterior.json           a `Description`
    posterior.safetensors    the tensors
    posterior.pickle         in place of these two, on request

Reading tensors and a description runs no code; reading a pickle does.
"""

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue, PositiveInt, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ..tasks.errors import UserError

DESCRIPTION, TENSORS, PICKLED = "posterior.json", "posterior.safetensors", "posterior.pickle"


class Description(BaseModel):
    """The description of a saved posterior: everything but its tensors.

    Attributes:
        method: the name of the method that fitted it.
        options: the method's options.
        dims: (d, dim_x).
        facts: further values that the method restores it from.
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
    """Write a `Description` and tensors into `folder`, in place of a posterior saved there before.

    Raises:
        UserError: the dims are None, the options or facts are not JSON, or the folder cannot be written to.
    """
    try:
        content = {"method": method, "options": options, "dims": dims, "facts": facts}
        description = Description.model_validate(content)
    except ValidationError as error:
        raise UserError(f"a posterior of {method} cannot be saved: {_first(error)}.") from error
    packed = save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()})
    with _emptied(folder):
        (folder / DESCRIPTION).write_text(description.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (folder / TENSORS).write_bytes(packed)


def read(folder: Path) -> tuple[Description, dict[str, Tensor]]:
    """Return the description and the tensors in `folder`, without running any code of theirs.

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
        raise UserError(f"{path} holds no readable tensors: {error}.") from error


def write_pickle(folder: Path, posterior: object) -> None:
    """Pickle a posterior into `folder`, in place of a posterior saved there before.

    Raises:
        UserError: the posterior cannot be pickled, or the folder cannot be written to.
    """
    try:
        pickled = pickle.dumps(posterior)
    except Exception as error:  # pickling runs code of the pickled objects
        name = type(posterior).__name__
        raise UserError(f"{name} cannot be pickled ({error}): define `state`.") from error
    with _emptied(folder):
        (folder / PICKLED).write_bytes(pickled)


def read_pickle(folder: Path) -> object:
    """Return the object that is pickled in `folder`; unpickling runs the code that the file names.

    Raises:
        UserError: the file cannot be unpickled.
    """
    path = folder / PICKLED
    try:
        return pickle.loads(path.read_bytes())
    except Exception as error:  # unpickling runs code of the pickled objects
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path} cannot be read: {told}.") from error


def is_pickle(folder: Path) -> bool:
    """Return whether `folder` holds a pickle and no description."""
    return (folder / PICKLED).exists() and not (folder / DESCRIPTION).exists()


@contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    """Create the folder and remove a posterior saved there before; the block writes the new one.

    Raises:
        UserError: the folder cannot be created or written to, in the block as well.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (DESCRIPTION, TENSORS, PICKLED):
            (folder / name).unlink(missing_ok=True)
        yield
    except OSError as error:
        raise UserError(f"{folder} cannot hold a posterior: {error.strerror}.") from error


def _first(error: ValidationError) -> str:
    """Return the place and the message of the first error, on one line."""
    first = error.errors()[0]
    return ": ".join(part for part in (".".join(map(str, first["loc"])), first["msg"]) if part)
