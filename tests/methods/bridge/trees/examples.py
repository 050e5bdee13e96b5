"""A small tree, a diffusion with a constant kernel, and specimens, for the tests of diffusions on trees."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from graybench.methods.bridge.trees.brownian import TreeBrownian, TreeSample
from graybench.methods.bridge.trees.diffusion import simulate
from graybench.tasks.landmarks.diffusion import LandmarkCoefficients, LandmarkDiffusion
from graybench.tasks.landmarks.task import ellipse
from graybench.tasks.landmarks.trees import Tree
from graybench.tasks.sde.sde import SDE
from graybench.tasks.seeding import generator

MEAN = ellipse(4, 2)
NUGGET = 1e-3
TREE = Tree((-1, 0, 0, 1, 1, 1, 2, 2), (0, 0.5, 0.6, 0.5, 0.4, 0.3, 0.4, 0.3), tuple("rstabcde"), "heights")


class ConstantCoefficients(LandmarkCoefficients):
    """Those of a kernel that does not depend on x."""

    @property
    def divergence(self) -> Tensor:  # type: ignore[override]
        return self.drift

    @property
    def second_order(self) -> Tensor:  # type: ignore[override]
        return self.drift[..., 0]


@dataclass(frozen=True)
class ConstantKernel(SDE):
    """The landmark diffusion with the kernel of the mean shape everywhere."""

    moving: LandmarkDiffusion
    constant_covariance: ClassVar[bool] = True

    def at(self, x: Tensor) -> ConstantCoefficients:
        there = self.moving.at(MEAN.flatten().expand_as(x))
        positions = x.unflatten(-1, MEAN.shape)
        return ConstantCoefficients(positions, there.kernel, there.length)


def moving(theta: Tensor) -> LandmarkDiffusion:
    return LandmarkDiffusion(theta[..., 0], theta[..., 1], 2, NUGGET)


def constant(theta: Tensor) -> ConstantKernel:
    return ConstantKernel(moving(theta))


def theta(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).log()


def baseline(make: Callable[[Tensor], SDE], at: Tensor, seed: int, each: int = 1) -> TreeBrownian:
    """Specimens simulated at θ, `each` of a species; with several, they scatter by 0.02."""
    random = generator(seed)
    nodes = simulate(TREE, make(at), MEAN.flatten(), 0.05, random)
    tips = tuple(tip for tip in TREE.tips for _ in range(each))
    x = torch.stack([nodes[tip].unflatten(-1, MEAN.shape) for tip in tips])
    if each > 1:
        x = x + 0.02 * torch.randn(x.shape, generator=random, dtype=torch.float64)
    return TreeBrownian(TreeSample(TREE, tips, x, each > 1), MEAN, "gaussian", NUGGET)
