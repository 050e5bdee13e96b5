"""Tasks with stored reference posteriors, for posteriors that take long to compute."""

import hashlib
from abc import abstractmethod
from functools import lru_cache
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from .errors import UserError
from .plugin import option_fields
from .sampled_reference import SampledReference
from .simulations import Observations
from .task import Task


class FrozenTask(Task):
    """A task with stored references, for its own observations only.

    A subclass defines `observations`, which reads them from storage, and `stored_reference`.
    """

    reference_kind: ClassVar[str] = "frozen"

    @abstractmethod
    def observations(self) -> Observations:
        """Return the stored observations."""

    @abstractmethod
    def stored_reference(self, o: int) -> SampledReference:
        """Return the reference of observation o, counted from 0."""

    def reference(self, x_o: Tensor) -> SampledReference:
        """Return the stored posterior of one of the task's own observations, (dim_x,).

        Raises:
            UserError: x_o is not one of them.
        """
        same = (self.observations().x == x_o.double()).all(1)
        if not same.any():
            raise UserError(
                f"task {self.label} has references for its own {len(same)} observations only; take one of "
                "`observations().x`."
            )
        return self.stored_reference(int(same.nonzero()[0]))


class StoredTask(FrozenTask):
    """A task with observations and references in the file tasks/data/<name>.npz.

    For the m observations of the task the file holds

        x, u              the observations, (m, dim_x), and their true parameters, (m, d)
        draws             of u, (m, n, d); the two halves of the n draws are independent of each other
        scores            ∇_u log p(u | x_o) at the draws or unbiased estimates of it, (m, n, d)
        effective_size    number of independent draws with the same information, (m,)

    and diagnostics of the script that made it: of importance sampling `ess_fraction`, the effective sample
    size divided by the number of draws, (m,); of Markov chains `r_hat` and `ess` of each parameter, (m, d).

    Estimated scores add noise but no bias: the mean over p(u_i | u_t, x_o) in `SampledReference` stays the
    same, and its W allows for their variance. Observations are stored because another machine may round a
    simulation differently.

    The file is for the default options. With others the task has no references and simulates its
    observations. A subclass with a `__post_init__` of its own calls this one.

    Attributes:
        same_posterior: options that change neither the data nor their posterior.
    """

    same_posterior: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        if not self._is_stored():
            object.__setattr__(self, "capabilities", self.capabilities - {"reference"})

    def _is_stored(self) -> bool:
        defaults = {field.name: field.default for field in option_fields(self)}
        return all(
            value == defaults[name] or name in self.same_posterior for name, value in self.options().items()
        )

    def data_digest(self) -> str:
        return digest(_stored(self.name)) if self._is_stored() else ""

    def observations(self) -> Observations:
        """Return the stored observations, or simulated ones if the options are not the defaults."""
        if not self._is_stored():
            return Task.observations(self)
        x, u = (torch.from_numpy(load(self.name)[field]) for field in ("x", "u"))
        return Observations(x, self.prior.to_theta(u), u)

    def reference(self, x_o: Tensor) -> SampledReference:
        """Return the stored posterior of one of the task's own observations, (dim_x,).

        Raises:
            UserError: x_o is not one of them, or the options are not the defaults.
        """
        if not self._is_stored():
            raise UserError(f"task {self.label} has references for the default options only.")
        return super().reference(x_o)

    def stored_reference(self, o: int) -> SampledReference:
        """Return the stored draws of observation o, counted from 0."""
        stored = load(self.name)
        draws, scores = (torch.from_numpy(stored[field][o]) for field in ("draws", "scores"))
        return SampledReference(draws, scores, float(stored["effective_size"][o]))


@lru_cache(maxsize=4)
def load(name: str) -> dict[str, np.ndarray]:
    """Return the arrays of the file of the task `name`; `StoredTask` lists them."""
    with as_file(_stored(name)) as path, np.load(path) as stored:
        return dict(stored)


def save(task: Task, rows: list[dict[str, Any]]) -> Path:
    """Write the file of a task and return its path.

    Args:
        task: the task, whose observations are simulated here.
        rows: the arrays of each observation, by name.
    """
    observed = Task.observations(task)
    arrays: dict[str, Any] = {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}
    for name in ("draws", "scores"):
        arrays[name] = arrays[name].astype(np.float32)
    path = Path(__file__).with_name("data") / f"{task.name}.npz"
    np.savez_compressed(path, x=observed.x.numpy(), u=observed.u.numpy(), **arrays)
    return path


def _stored(name: str) -> Traversable:
    return files("graybench.tasks.data") / f"{name}.npz"


def digest(path: Traversable) -> str:
    """Return the SHA-256 of a file, or an empty string if there is no file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
