"""The curvature −∇²_u log p of a density that is differentiable at least once."""

from collections.abc import Callable

import torch
from torch import Tensor

from .errors import UserError

LogDensity = Callable[[Tensor], Tensor]

STEP = 1e-3
NOT_DIFFERENTIABLE = "is not differentiable by autograd: compute it by operations of torch alone"


def curvature(log_density: LogDensity, u: Tensor) -> Tensor:
    """Return −∇²_u log p of each row, (n, d, d), symmetric.

    The first derivative is by autograd, the second a central difference, as some densities can be
    differentiated only once. The difference has an error of O(step²), and none for quadratic densities.

    Args:
        log_density: u ↦ log p, (n, d) to (n,), whose row i depends on row i of u alone.
        u: where, (n, d), float64.

    Raises:
        UserError: autograd cannot differentiate the density.
    """
    columns = []
    for offset in STEP * torch.eye(u.shape[1], dtype=u.dtype):
        ends = [gradient(log_density, u + offset), gradient(log_density, u - offset)]
        columns.append((ends[1] - ends[0]) / (2 * STEP))
    found = torch.stack(columns, 2)
    return 0.5 * (found + found.mT)


def gradient(log_density: LogDensity, u: Tensor) -> Tensor:
    """Return ∇_u log p of each row, (n, d), by autograd; arguments and errors as for `curvature`."""
    with torch.enable_grad():
        point = u.detach().requires_grad_()
        density = log_density(point)
        if not density.requires_grad:
            raise UserError(f"the log-density {NOT_DIFFERENTIABLE}.")
        return torch.autograd.grad(density.sum(), point)[0]
