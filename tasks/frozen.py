"""Frozen references: stored draws of the posteriors of a task's own observations, where these take long.

A file tasks/data/<name>.npz holds, for the m observations of the task,

    x, u              the observations, (m, dim_x), and the parameters they were simulated from, (m, d)
    draws             of u, (m, n, d); the first and the second half of the n are independent of each other
    scores            at the draws, (m, n, d): ∇_u log p(u | x_o), or unbiased estimates of it
    effective_size    how many independent draws the stored ones are worth, (m,)
    ess_fraction      the effective sample size of the importance draws behind them, over their number, (m,)

and what else the script that made it has to say of its quality. Estimated scores do no harm but noise: their
mean over p(u_i | u_t, x_o), which `SampledReference` takes, is the same, and its W allows for their spread.
The observations come from the file as well, since another machine may round a simulation differently.
"""

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
from .sampled_reference import SampledReference
from .task import Observations, Task


class FrozenTask(Task):
    """A task with stored references, for its own observations alone.

    A subclass defines `observations`, from where they are stored, and `stored_reference`.
    """

    reference_kind: ClassVar[str] = "frozen"

    @abstractmethod
    def observations(self) -> Observations:
        """Give the stored observations."""

    @abstractmethod
    def stored_reference(self, o: int) -> SampledReference:
        """Give the reference of observation number o."""

    def reference(self, x_o: Tensor) -> SampledReference:
        """Give the stored draws of the posterior of one of the task's own observations, (dim_x,).

        Raises:
            UserError: x_o is none of them.
        """
        same = (self.observations().x == x_o.double()).all(1)
        if not same.any():
            raise UserError(
                f"task {self.label} has references for its own {len(same)} observations alone, and this is "
                "none of them; take one of `observations().x`."
            )
        return self.stored_reference(int(same.nonzero()[0]))


class StoredTask(FrozenTask):
    """A task whose observations and references are in a file tasks/data/<name>.npz, see the module."""

    def data_digest(self) -> str:
        return digest(_stored(self.name))

    def observations(self) -> Observations:
        """Give the stored observations."""
        x, u = (torch.from_numpy(load(self.name)[field]) for field in ("x", "u"))
        return Observations(x, self.prior.to_theta(u), u)

    def stored_reference(self, o: int) -> SampledReference:
        """Give the stored draws of observation number o."""
        stored = load(self.name)
        draws, scores = (torch.from_numpy(stored[field][o]) for field in ("draws", "scores"))
        return SampledReference(draws, scores, float(stored["effective_size"][o]))


@lru_cache(maxsize=4)
def load(name: str) -> dict[str, np.ndarray]:
    """Give the arrays of the file of the task `name`, see the module."""
    with as_file(_stored(name)) as path, np.load(path) as stored:
        return dict(stored)


def save(task: Task, rows: list[dict[str, Any]]) -> Path:
    """Write the file of a task, its simulated observations and a row of arrays for each; give its path."""
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
    """Give the SHA-256 of a file; empty if there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
