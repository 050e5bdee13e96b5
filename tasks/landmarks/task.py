"""The task of landmarks: infer how far they move, and over what range together, from one shape."""

import math
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import UserError
from ..frozen import digest
from ..plugin import require_positive, require_whole
from ..prior import Normal
from ..sde.diffusion_task import DiffusionTask
from ..sde.sde import TimeGrid
from .diffusion import LandmarkDiffusion
from .files import landmark_file, read_landmarks
from .procrustes import align


def ellipse(landmarks: int, dimensions: int) -> Tensor:
    """Return landmarks on an ellipse with semi-axes 1 and ½, (n, m).

    They are equally spaced in the angle φ; in 3-D, z = ¼ cos 2φ.
    """
    angle = 2 * math.pi * torch.arange(landmarks, dtype=torch.float64) / landmarks
    axes = [angle.cos(), 0.5 * angle.sin(), 0.25 * (2 * angle).cos()]
    return torch.stack(axes[:dimensions], 1)


def mean_shape(template: str) -> Tensor:
    """Return the Procrustes mean of a landmark file or a data set, (n, m).

    Its root mean square distance from the centre is 1.

    Raises:
        UserError: the file cannot be read, or its specimens have no mean.
    """
    return _mean_shape(template, _digest(template))


def _digest(template: str) -> str:
    return digest(landmark_file(template))


@lru_cache(maxsize=8)
def _mean_shape(template: str, content: str) -> Tensor:
    """Return the mean shape of a file. The cache also depends on the digest, as the file may change."""
    mean = align(read_landmarks(Path(template)).coordinates).mean
    return mean * math.sqrt(len(mean))


class Landmarks(DiffusionTask):
    """A shape that moves from a template up to time 1 by `LandmarkDiffusion`, with θ = (log a, log ℓ).

        prior           log a ~ N(log amplitude, spread²),   log ℓ ~ N(log length, spread²)
        latents         the path of the Euler scheme
        data            the landmarks at time 1, (n, D); a vector, as each landmark has its own start

    The path determines a and ℓ, so the variance of the joint score grows like 1/dt.

    Args:
        landmarks: the number of landmarks of the ellipse.
        dimensions: the dimension of the ellipse, 2 or 3.
        amplitude: the prior's median of a.
        length: the prior's median of ℓ.
        spread: the prior's standard deviation of log a and of log ℓ.
        nugget: the nugget of the kernel, in units of a².
        steps: number of steps of the latent path.
        template: "ellipse"; or a landmark file or the name of a data set, with its own number of landmarks
            and dimensions. The template is then the file's Procrustes mean.
    """

    name: ClassVar[str] = "landmarks"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Landmarks of a shape that move together: the diffusion of shapes."

    landmarks: int = 8
    dimensions: int = 2
    amplitude: float = 0.1
    length: float = 0.5
    spread: float = 0.3
    nugget: float = 1e-3
    steps: int = 50
    template: str = "ellipse"

    dim_theta = 2

    def __post_init__(self) -> None:
        require_whole("task landmarks: landmarks", self.landmarks, 2)
        require_whole("task landmarks: steps", self.steps, 2)
        require_whole("task landmarks: dimensions", self.dimensions, 2)
        if self.dimensions > 3:
            raise UserError(f"task landmarks: dimensions must be 2 or 3, but is {self.dimensions!r}.")
        for option in ("amplitude", "length", "spread", "nugget"):
            require_positive(f"task landmarks: {option}", getattr(self, option))
        if not isinstance(self.template, str):
            raise UserError(f"task landmarks: template must be a name or a file, but is {self.template!r}.")
        if self.template != "ellipse" and (self.landmarks, self.dimensions) != (8, 2):
            raise UserError("task landmarks: a template decides landmarks and dimensions; leave both out.")

    @property
    def prior(self) -> Normal:
        return Normal((math.log(self.amplitude), math.log(self.length)), self.spread)

    @property
    def start(self) -> Tensor:
        if self.template == "ellipse":
            return ellipse(self.landmarks, self.dimensions).flatten()
        return mean_shape(self.template).flatten()

    @property
    def grid(self) -> TimeGrid:
        return TimeGrid(1.0, self.steps)

    def data_digest(self) -> str:
        return "" if self.template == "ellipse" else _digest(self.template)

    def sde(self, theta: Tensor) -> LandmarkDiffusion:
        dimensions = self.dimensions if self.template == "ellipse" else mean_shape(self.template).shape[1]
        return LandmarkDiffusion(theta[..., 0], theta[..., 1], dimensions, self.nugget)
