"""Simulations of Brownian motion on a tree, for tests."""

from collections.abc import Sequence

import torch
from torch import Tensor

from graybench.tasks.landmarks.trees import Tree
from graybench.tasks.sde.sde import cholesky


def descend(tree: Tree, covariances: Sequence[Tensor], root: Tensor, random: torch.Generator) -> list[Tensor]:
    """Simulate Brownian motion from the root to the tips, x_c ~ N(x_p, V_c ⊗ I_m).

    Args:
        tree: the tree.
        covariances: V for the branch above each node, (n, n).
        root: landmarks (..., n, m).
        random: draws the noise.

    Returns:
        The landmarks of each node, (..., n, m).
    """
    found = [root]
    for node in tree.preorder:
        noise = torch.randn(root.shape, generator=random, dtype=root.dtype)
        found.append(found[tree.parents[node]] + cholesky(covariances[node]) @ noise)
    return found
