"""The nodes of a tree as a function of θ and z: for z ~ N(0, I) they have Brownian motion's posterior at θ.

Along every branch the covariance of Brownian motion is a number times one kernel K = k/a². The posterior of
the unknown nodes u, given the known landmarks y, therefore needs a matrix with one number for each two nodes:

    Q = Σ_branches (e_c − e_p)(e_c − e_p)ᵀ / v_c        v_c = a² t, and w² above a specimen
    x_u ~ N(−Q_uu⁻¹ Q_uy y, Q_uu⁻¹ ⊗ K ⊗ I_m)
    x_u = −Q_uu⁻¹ Q_uy y + R⁻ᵀ z Lᵀ                     R Rᵀ = Q_uu, L Lᵀ = K
    log |dx_u/dz| = m (U log |L| − n log |R|)           U unknown nodes

The root has the flat density 1.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ....tasks.sde.sde import cholesky
from .brownian import TreeBrownian


class Nodes(NamedTuple):
    """The states of all nodes of the tree of species, (..., nodes, D), and log |dx_u/dz|, (...)."""

    states: Tensor
    log_volume: Tensor


class NodeCoordinates:
    """The map from z to the states of the nodes, at any θ.

    Args:
        baseline: Brownian motion, given the specimens.

    Attributes:
        size: the number of z, U n m.
    """

    def __init__(self, baseline: TreeBrownian) -> None:
        self.baseline = baseline
        tree, observed = baseline.sample.full_tree, baseline.sample.observed
        known = list(observed)
        unknown = [node for node in range(len(tree)) if node not in observed]
        self.landmarks = torch.stack(list(observed.values())).flatten(-2)
        branches = torch.eye(len(tree), dtype=self.landmarks.dtype)
        branches[list(tree.preorder), list(tree.parents[1:])] = -1
        branches = branches[1:]  # e_c − e_p for each branch
        self.ends, self.offsets = branches[:, unknown], branches[:, known] @ self.landmarks
        self.order = torch.tensor(unknown + known).argsort()[: len(baseline.sample.tree)]
        self.size = len(unknown) * baseline.mean.numel()

    def nodes(self, theta: Tensor, z: Tensor) -> Nodes:
        """Return the nodes for θ (..., d) and z (..., size), differentiable in both."""
        weighted = self.ends / self.baseline.variances(theta)[..., 1:, None]
        root, factor = cholesky(weighted.mT @ self.ends), cholesky(self.baseline.shape(theta))
        n, m = self.baseline.mean.shape
        noise = z.unflatten(-1, (-1, n, m))
        spread = torch.linalg.solve_triangular(
            root.mT, (factor.unsqueeze(-3) @ noise).flatten(-2), upper=True
        )
        unknown = spread - torch.cholesky_solve(weighted.mT @ self.offsets, root)
        known = self.landmarks.expand(*unknown.shape[:-2], -1, -1)
        states = torch.cat([unknown, known], -2).index_select(-2, self.order)
        return Nodes(states, m * (noise.shape[-3] * _log_det(factor) - n * _log_det(root)))


def _log_det(factor: Tensor) -> Tensor:
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
