"""How heavy the tail of importance weights is."""

import math

import torch
from torch import Tensor

FEWEST = 5  # weights in the tail
GRID = 30


def tail_shape(log_weights: Tensor) -> Tensor:
    """Estimate the shape k of a generalised Pareto distribution in the tail of weights.

    Weights have a finite variance if k < ½. If k is above 0.7, their mean needs more weights than is
    practical, and its standard error is too small. The tail consists of the M = ⌈min(N/5, 3 √N)⌉ largest
    weights, minus the largest weight outside the tail.

    Args:
        log_weights: log w (..., N).

    Returns:
        The estimates k̂ (...), NaN if M < 5 or the tail is constant or has weights 0.

    Source: Zhang and Stephens, A new and efficient estimation method for the generalized Pareto distribution,
    2009; with the prior and the use of Vehtari et al., Pareto smoothed importance sampling, arXiv 1507.02646.
    """
    number = log_weights.shape[-1]
    m = math.ceil(min(number / 5, 3 * math.sqrt(number)))
    if m < FEWEST:
        return torch.full(log_weights.shape[:-1], math.nan, dtype=log_weights.dtype)
    largest = log_weights.detach().topk(m + 1, sorted=True).values.flip(-1)
    weights = (largest - largest[..., -1:]).exp()
    x = weights[..., 1:] - weights[..., :1]
    points = torch.arange(1, GRID + math.isqrt(m) + 1, dtype=x.dtype) - 0.5
    quartile = x[..., [int(m / 4 + 0.5) - 1]]
    slopes = 1 / x[..., -1:] + (1 - ((points[-1] + 0.5) / points).sqrt()) / (3 * quartile)
    shapes = torch.log1p(-slopes.unsqueeze(-1) * x.unsqueeze(-2)).mean(-1)
    profile = torch.softmax(m * ((-slopes / shapes).log() - shapes - 1), -1)
    slope = (profile * slopes).sum(-1, keepdim=True)
    return (m * torch.log1p(-slope * x).mean(-1) + 5) / (m + 10)
