"""Diffusions without a tractable likelihood, with frozen references for their default options."""

from typing import ClassVar

from ..frozen import StoredTask
from .diffusion_task import EquidistantDiffusion


class StoredDiffusion(EquidistantDiffusion, StoredTask):
    """A diffusion with stored observations and references, which it has for its default options only."""

    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score", "sde_path", "reference"})

    def __post_init__(self) -> None:
        super().__post_init__()
        StoredTask.__post_init__(self)
