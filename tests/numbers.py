"""Numbers in float64 that many tests start from."""

import torch

from graybench.tasks.seeding import generator


def double(value):
    """Return a number, an array or a tensor as a tensor in float64."""
    return torch.as_tensor(value, dtype=torch.float64)


def normal(*shape, seed=1):
    """Draw standard normal numbers."""
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)
