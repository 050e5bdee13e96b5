"""Standardised inputs of a network."""

import torch
from torch import Tensor, nn

ROUNDING = 1e-5


class Standardise(nn.Module):
    """x ↦ (x − mean)/std for each replicate; std = 1 for columns that do not vary.

    Args:
        x: training simulations (R, n, dim_x), which determine the mean and std.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        std = x.std(1, keepdim=True, correction=0)
        mean = x.mean(1, keepdim=True)
        self.register_buffer("mean", mean)
        constant = std <= ROUNDING * mean.abs()  # variation by rounding must not be scaled up
        self.register_buffer("std", torch.where(constant, torch.ones_like(std), std))

    def forward(self, x: Tensor) -> Tensor:
        """Return the standardised x."""
        return (x - self.mean) / self.std
