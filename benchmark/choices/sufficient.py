"""Statistics by hand that are sufficient for θ, or nearly so."""

from collections.abc import Callable

import torch
from torch import Tensor

from ...tasks.classic.hierarchical_normal import SIZE

LAGS = 8
DIFFERENCES = (1, 2, 4)


def of_hierarchical_normal(x: Tensor) -> Tensor:
    """Return mean and log-variance of the group means, and the log-variance within groups, (n, 3).

    They are sufficient.
    """
    groups = x.unflatten(-1, (-1, SIZE))
    within, means = torch.var_mean(groups, -1)
    between, mean = torch.var_mean(means, -1)
    return torch.stack([mean, between.log(), within.mean(-1).log()], -1)


def of_ar1_noise(x: Tensor) -> Tensor:
    """Return log E x², eight autocorrelations, and the logarithms of E (x_t+k − x_t)², k = 1, 2, 4, (n, 12).

    The mean of x is known to be 0. The autocorrelation of lag k is Σ x_t x_t+k / Σ x_t².
    """
    squares = x.square().sum(-1)
    statistics = [x.square().mean(-1).log()]
    statistics += [(x[..., k:] * x[..., :-k]).sum(-1) / squares for k in range(1, LAGS + 1)]
    statistics += [(x[..., k:] - x[..., :-k]).square().mean(-1).log() for k in DIFFERENCES]
    return torch.stack(statistics, -1)


STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {
    "hierarchical_normal": of_hierarchical_normal,
    "ar1_noise": of_ar1_noise,
}
