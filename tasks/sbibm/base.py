"""Common parts of the tasks of sbibm 1.1.0.

sbibm ships ten observations per task, their true parameters, and 10,000 draws of each posterior. These files
are read without importing sbibm, which needs old versions of other packages. The simulators are written anew
and report scores.

Source: Lueckmann et al., Benchmarking simulation-based inference, AISTATS 2021.
"""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..errors import UserError
from ..frozen import FrozenTask
from ..likelihood import LikelihoodTask
from ..sampled_reference import SampledReference
from ..simulations import Observations
from ..task import Outcome


class SbibmFiles(FrozenTask):
    """A task with sbibm's observations and reference draws.

    Attributes:
        folder: the name of the task's folder in sbibm.
        observed: the name of the file with an observation.

    Raises:
        UserError: sbibm is not installed.
    """

    folder: ClassVar[str]
    observed: ClassVar[str] = "observation.csv"

    def __post_init__(self) -> None:
        shipped_file(self.folder)

    def observations(self) -> Observations:
        """Return sbibm's ten observations with their true parameters."""
        files = (self.observed, "true_parameters.csv")
        x, theta = (
            torch.cat([_numbers(self.folder, o, file) for o in range(self.n_observations)]) for file in files
        )
        return Observations(x, theta, self.prior.to_u(theta))

    def stored_reference(self, o: int) -> SampledReference:
        """Return sbibm's draws of the posterior of observation o, counted from 0."""
        return _reference(self, o)


class SbibmTask(SbibmFiles, LikelihoodTask):
    """A task of sbibm with a tractable likelihood.

    Without latents besides x, the joint score is the marginal score ∇_θ log p(x | θ).
    """

    def without_latents(self, theta: Tensor, x: Tensor) -> Outcome:
        """Return the outcome for x ~ p(x | θ), whose joint score is the marginal score."""
        return Outcome(x, self.marginal_score(theta, x), latents=())

    def log_joint(self, theta: Tensor, x: Tensor, latents: Any) -> Tensor:
        """Return log p(x | θ), (n,), as there are no latents."""
        return self.log_likelihood(theta, x)


def shipped_file(*parts: str) -> Path:
    """Return the path of a file in sbibm's folder of tasks.

    Raises:
        UserError: sbibm is not installed.
    """
    spec = find_spec("sbibm")
    if spec is None or spec.origin is None:
        raise UserError("the tasks of sbibm need its files: run `pip install --no-deps sbibm==1.1.0`.")
    return Path(spec.origin).parent.joinpath("tasks", *parts)


@lru_cache(maxsize=256)
def _numbers(folder: str, observation: int, file: str) -> Tensor:
    """Return a table of observation `observation`, counted from 0: sbibm's float32 numbers, in float64."""
    path = shipped_file(folder, "files", f"num_observation_{observation + 1}", file)
    return torch.from_numpy(pd.read_csv(path).to_numpy(np.float32)).double()


@lru_cache(maxsize=32)
def _reference(task: SbibmFiles, observation: int) -> SampledReference:
    theta = _numbers(task.folder, observation, "reference_posterior_samples.csv.bz2")
    u = task.prior.to_u(theta)
    if "marginal_score" not in task.capabilities:
        return SampledReference(u, None)
    x = _numbers(task.folder, observation, task.observed).expand(len(u), -1)
    return SampledReference(u, task.prior.score_in_u(u, task.marginal_score(theta, x)))
