"""Features of sets of items, for R replicates at once: moments, and moments of random nonlinear units.

The units are drawn once and never trained, so the features of a simulation are computed once. What is
trained is the regression on them, see `stacking`.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .standardise import Standardise

UNITS = 64
STEEPNESS = 2.0
LEAST_VARIANCE = 1e-4  # of standardised data
FARTHEST = 6.0  # standard deviations
RESOLUTION = 0.25  # of the median size: below it the second channel is linear, above it logarithmic
SMALLEST = 1e-9
DEPENDENT = 1e-6


class Channels(nn.Module):
    """Channels of the data: standardised x, then standardised asinh(x/c).

    c is a quarter of the median of |x|. asinh(x/c) is nearly the logarithm for counts and other positive
    numbers with a long tail.

    Args:
        x: training data (R, N, k), which determine c, means and standard deviations.
        asinh: whether to return 2 k channels, or k without asinh.
    """

    scale: Tensor

    def __init__(self, x: Tensor, *, asinh: bool = True) -> None:
        super().__init__()
        self.asinh = asinh
        scale = RESOLUTION * x.abs().median(1, keepdim=True).values
        self.register_buffer("scale", scale.clamp_min(SMALLEST))
        self.standardise = Standardise(self._both(x))

    def forward(self, x: Tensor) -> Tensor:
        """Return the channels (R, N, k or 2 k) of x (R, N, k)."""
        channels: Tensor = self.standardise(self._both(x))
        return channels

    def _both(self, x: Tensor) -> Tensor:
        return torch.cat([x, torch.asinh(x / self.scale)], -1) if self.asinh else x


class SetFeatures(nn.Module):
    """Features of sets of n exchangeable items, which do not depend on the order of the items.

    The components v of the items are regressed on a constant and on the items' regressors. This gives
    coefficients m, a spread s, and residuals r = (v − fit)/s. Units h = tanh(W (r, v, regressors) + b) are
    regressed in the same way. The features are

        few:     m, log s, log rms(v)
        many:    m of h, s · m of h, log s of h

    Unit j is multiplied by the spread of component j mod k. Without regressors m is the mean. Residuals are
    free of location and scale, so the means of units of residuals describe the shape of a set; s times such a
    mean corrects m, as robust estimates of location do.

    Args:
        items: training items (R, N, n, k); k counts the components alone.
        generators: one for each replicate.
        regressors: constants (n, q) of the items, or None.
        units: number of units.
    """

    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        items: Tensor,
        generators: Sequence[torch.Generator],
        regressors: Tensor | None = None,
        units: int = UNITS,
    ) -> None:
        super().__init__()
        n, k = items.shape[2:]
        self.regressors = torch.zeros(n, 0) if regressors is None else regressors.float()
        self.basis = orthogonal(self.regressors)
        inputs = 2 * k + self.regressors.shape[1]
        self.register_buffer("weight", STEEPNESS / math.sqrt(inputs) * uniform(generators, inputs, units))
        self.register_buffer("bias", STEEPNESS * uniform(generators, 1, units))

    def forward(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return few and many features, (R, B, ·) each, of items (R, B, n, k)."""
        basis, regressors = self.basis.to(items), self.regressors.to(items)
        mean, spread = moments(items, basis)
        residuals = (items - basis @ mean) / spread.unsqueeze(2)
        constants = regressors.expand(*items.shape[:3], -1)
        inputs = torch.cat([residuals.clamp(-FARTHEST, FARTHEST), items, constants], -1)
        units = torch.tanh(torch.baddbmm(self.bias, inputs.flatten(1, 2), self.weight))
        unit_mean, unit_spread = moments(units.unflatten(1, items.shape[1:3]), basis)
        few = [mean.flatten(2), spread.log(), log_rms(items)]
        own = torch.arange(units.shape[-1], device=items.device) % items.shape[3]
        scaled = unit_mean * spread[..., own].unsqueeze(2)
        many = [unit_mean.flatten(2), scaled.flatten(2), unit_spread.log()]
        return torch.cat(few, -1), torch.cat(many, -1)

    def plain(self, items: Tensor) -> Tensor:
        """Return m and s (R, B, ·) of items (R, B, n, k): few features, for sets of sets."""
        mean, spread = moments(items, self.basis.to(items))
        return torch.cat([mean.flatten(2), spread], -1)


def orthogonal(regressors: Tensor) -> Tensor:
    """Return an orthogonal basis (n, ≤ 1 + q) of a constant and regressors (n, q); columns have norm √n.

    The first column is constant. A regressor that depends on those before it has no column.
    """
    n = len(regressors)
    columns = torch.cat([torch.ones(n, 1, dtype=torch.float64), regressors.double()], 1)
    columns = columns / columns.norm(dim=0).clamp_min(SMALLEST)
    basis, triangle = torch.linalg.qr(columns)
    lengths = triangle.diagonal()
    kept = lengths.abs() > DEPENDENT
    return (basis[:, kept] * lengths[kept].sign() * math.sqrt(n)).float()


def moments(values: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Regress values on an orthogonal basis whose columns have norm √n.

    Args:
        values: (R, B, n, c).
        basis: (n, q).

    Returns:
        The coefficients (R, B, q, c) and the root mean square (R, B, c) of the residuals, which is at least
        the root of `LEAST_VARIANCE`.
    """
    coefficients = basis.T @ values / len(basis)
    variance = values.square().mean(2) - coefficients.square().sum(2)
    return coefficients, (variance.clamp_min(0) + LEAST_VARIANCE).sqrt()


def log_rms(values: Tensor) -> Tensor:
    """Return the logarithm of the root mean square over items (R, B, c) of values (R, B, n, c)."""
    return (values.square().mean(2) + LEAST_VARIANCE).log() / 2


def uniform(generators: Sequence[torch.Generator], *shape: int) -> Tensor:
    """Draw from −1 to 1 for each replicate, (R, *shape)."""
    return torch.stack([2 * torch.rand(shape, generator=g) - 1 for g in generators])
