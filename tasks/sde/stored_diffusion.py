"""Diffusions without a tractable likelihood, with frozen references for their default options."""

from typing import ClassVar

from torch import Tensor

from ..errors import UserError
from ..frozen import StoredTask
from ..sampled_reference import SampledReference
from ..task import Observations, Task
from .diffusion_task import EquidistantDiffusion


class StoredDiffusion(EquidistantDiffusion, StoredTask):
    """A diffusion with stored observations and references, which it has for its default options only."""

    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score", "sde_path", "reference"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.settings:
            object.__setattr__(self, "capabilities", self.capabilities - {"reference"})

    def data_digest(self) -> str:
        return "" if self.settings else super().data_digest()

    def observations(self) -> Observations:
        """Return the stored observations, or simulated ones if the options are not the defaults."""
        return Task.observations(self) if self.settings else super().observations()

    def reference(self, x_o: Tensor) -> SampledReference:
        """Return the stored posterior of one of the task's own observations, (dim_x,).

        Raises:
            UserError: x_o is not one of them, or the options are not the defaults.
        """
        if self.settings:
            raise UserError(f"task {self.label} has references for the default options only.")
        return super().reference(x_o)
