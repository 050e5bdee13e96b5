"""Gaussian pruning: Brownian motion of landmarks on a tree, exactly, with n × n matrices only.

The m coordinates of the n landmarks move independently with one covariance: x_c ~ N(x_p, V_c ⊗ I_m) for a
node c below p. The data below a node have a density that is a Gaussian in the node's x, up to a constant:

    p(data below v | x_v) = exp(constant_v) N(x_v; mean_v, covariance_v ⊗ I_m)
    through the branch above c     covariance_c + V_c
    where branches meet            the product of such Gaussians

`prune` computes these from the tips to the root, and `posterior` goes back to the tips.

Source: J. Felsenstein, Maximum-likelihood estimation of evolutionary trees from continuous characters,
American Journal of Human Genetics 25 (1973).
"""

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from ..sde.sde import cholesky
from .trees import Tree


class Message(NamedTuple):
    """exp(constant) N(x; mean, covariance ⊗ I_m), as a function of landmarks x (..., n, m).

    Attributes:
        mean: (..., n, m).
        covariance: (..., n, n).
        constant: (...).
    """

    mean: Tensor
    covariance: Tensor
    constant: Tensor

    def through(self, covariance: Tensor) -> "Message":
        """Return ∫ N(x'; x, covariance ⊗ I_m) of this dx', as a function of x."""
        return self._replace(covariance=self.covariance + covariance)

    def log_density(self, x: Tensor) -> Tensor:
        """Return the log of this function at x, (...)."""
        return self.constant + log_normal(x - self.mean, cholesky(self.covariance))


def log_normal(deviation: Tensor, factor: Tensor) -> Tensor:
    """Return log N(deviation; 0, C ⊗ I_m), (...), for (..., n, m) and the lower factor of C (..., n, n)."""
    n, m = deviation.shape[-2:]
    squares = torch.linalg.solve_triangular(factor, deviation, upper=False).square().sum((-2, -1))
    half_log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * squares - m * half_log_det - 0.5 * n * m * math.log(2 * math.pi)


def product(messages: Sequence[Message]) -> Message:
    """Return the product of messages about the same x."""
    if len(messages) == 1:
        return messages[0]
    factors = [cholesky(message.covariance) for message in messages]
    total = cholesky(reduce(torch.add, map(torch.cholesky_inverse, factors)))
    paired = list(zip(messages, factors, strict=True))
    pull = reduce(torch.add, [torch.cholesky_solve(each.mean, factor) for each, factor in paired])
    mean = torch.cholesky_solve(pull, total)
    constant = reduce(torch.add, [each.constant + log_normal(mean - each.mean, f) for each, f in paired])
    # The density of the product at its mean, from the factor of its precision.
    half_log_det = total.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    n, m = mean.shape[-2:]
    peak = m * half_log_det - 0.5 * n * m * math.log(2 * math.pi)
    return Message(mean, torch.cholesky_inverse(total), constant - peak)


def prune(tree: Tree, covariances: Sequence[Tensor], observed: Mapping[int, Tensor]) -> list[Message | None]:
    """Compute p(data below v | x_v) for each node v of a tree.

    The density of all data is, for the message of the root:

        given the root's x_0              message.log_density(x_0)
        if x_0 ~ N(mean, V ⊗ I_m)         product([message, Message(mean, V, 0)]).constant
        if x_0 has the flat density 1     message.constant, the restricted likelihood

    Args:
        tree: the tree.
        covariances: V for the branch above each node, (..., n, n); the one of the root is not used.
        observed: landmarks (..., n, m) of tips; other tips are unknown.

    Returns:
        The messages, with None for nodes without data below.
    """
    messages: list[Message | None] = [None] * len(tree)
    for node in tree.postorder:
        if node in observed:
            x = observed[node]
            messages[node] = Message(x, torch.zeros_like(covariances[node]), torch.zeros((), dtype=x.dtype))
            continue
        below = [
            message.through(covariances[child])
            for child in tree.children[node]
            if (message := messages[child]) is not None
        ]
        messages[node] = product(below) if below else None
    return messages


def posterior(
    tree: Tree, covariances: Sequence[Tensor], messages: Sequence[Message | None], root: Message
) -> list[Message]:
    """Compute the distribution of each node's x given all data.

    Args:
        tree: the tree.
        covariances: V for the branch above each node, as in `prune`.
        messages: from `prune`.
        root: the distribution of the root: its own message for a flat prior, the product with a normal prior,
            or a covariance of 0 for a known root.

    Returns:
        For each node its mean (..., n, m) and covariance (..., n, n); the constants are of no use.
    """
    found = [root]
    for node in tree.preorder:
        above, message, step = found[tree.parents[node]], messages[node], covariances[node]
        if message is None:
            found.append(above.through(step))
            continue
        # x given its parent's x_p is normal: mean + G (x_p − mean), with the covariance V Gᵀ.
        gain = torch.cholesky_solve(message.covariance, cholesky(message.covariance + step)).mT
        mean = message.mean + gain @ (above.mean - message.mean)
        found.append(above._replace(mean=mean, covariance=step @ gain.mT + gain @ above.covariance @ gain.mT))
    return found
