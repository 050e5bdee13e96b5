"""Features of fields on a regular grid, for R replicates at once. A series is a field with one direction."""

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn

from .sets import FARTHEST, LEAST_VARIANCE, STEEPNESS, UNITS, moments, uniform

LAGS = 8
WINDOW = 8  # points in a window, over all directions
WAVES = 6  # cosines, over all directions


class FieldFeatures(nn.Module):
    """Features of fields on a grid, with channels.

    With v standardised channels, r = (v − mean)/s the channels of one field free of location and scale, and
    h = tanh(a) for linear units a = W r + b of the r in a window, the features are

        few:     coefficients of v on low cosines of the place, log s, and for lags 1 … 8 in each direction
                 mean r r' of each pair of channels and log mean (r − r')², r' being r at the lag
        many:    log s of a, mean of h, log s of h, log of the power of v in bands of frequencies

    The log variance of a linear unit is the log of a weighted sum of autocovariances. Few features are those
    of the first channels alone.

    Args:
        fields: training fields (R, N, *shape, C).
        generators: one for each replicate.
        first: number of channels of the few features.
        units: number of units.
    """

    weight: Tensor
    bias: Tensor

    def __init__(
        self, fields: Tensor, generators: Sequence[torch.Generator], first: int, units: int = UNITS
    ) -> None:
        super().__init__()
        self.first = first
        self.grid = fields.shape[2:-1]
        directions = len(self.grid)
        size = max(1, round(WINDOW ** (1 / directions)))
        self.window = [max(1, min(size, points // 2)) for points in self.grid]
        inputs = math.prod(self.window) * fields.shape[-1]
        self.waves = _cosines(self.grid)
        self.bands = _bands(self.grid)
        self.register_buffer("weight", STEEPNESS / math.sqrt(inputs) * uniform(generators, inputs, units))
        self.register_buffer("bias", uniform(generators, 1, units))

    def forward(self, fields: Tensor) -> tuple[Tensor, Tensor]:
        """Return few and many features, (R, B, ·) each, of fields (R, B, *shape, C)."""
        few = self._few(fields, log=True)
        _, r = self._normalised(fields)
        for axis, size in enumerate(self.window):
            r = r.unfold(2 + axis, size, 1)  # windows come last
        windows = r.flatten(2 + len(self.grid)).flatten(2, 1 + len(self.grid))
        units = torch.baddbmm(self.bias, windows.flatten(1, 2), self.weight).unflatten(1, windows.shape[1:3])
        constant = units.new_ones(units.shape[2], 1)
        _, linear = moments(units, constant)
        unit_mean, unit_spread = moments(torch.tanh(units), constant)
        many = [linear.log(), unit_mean.flatten(2), unit_spread.log(), self._power(fields)]
        return torch.cat(few, -1), torch.cat(many, -1)

    def plain(self, fields: Tensor) -> Tensor:
        """Return few features (R, B, ·) without logarithms, for sets of fields (R, B, *shape, C)."""
        return torch.cat(self._few(fields, log=False), -1)

    def _few(self, fields: Tensor, *, log: bool) -> list[Tensor]:
        fields = fields[..., : self.first]
        spread, r = self._normalised(fields)
        return [self._waves(fields), spread.log() if log else spread, *self._lagged(r, log=log)]

    def _normalised(self, fields: Tensor) -> tuple[Tensor, Tensor]:
        """Return the spread (R, B, C) of each field, and the r of its channels."""
        points = fields.flatten(2, -2)
        mean, spread = moments(points, points.new_ones(points.shape[2], 1))
        r = ((points - mean) / spread.unsqueeze(2)).clamp(-FARTHEST, FARTHEST)
        return spread, r.view_as(fields)

    def _waves(self, fields: Tensor) -> Tensor:
        waves = self.waves.to(fields)
        return (waves.T @ fields.flatten(2, -2) / len(waves)).flatten(2)

    def _lagged(self, r: Tensor, *, log: bool) -> list[Tensor]:
        """Return the moments of r and r' at every lag in every direction."""
        found = []
        for axis, points in enumerate(self.grid):
            for lag in range(1, min(LAGS, (points - 1) // 2) + 1):
                first = r.narrow(2 + axis, 0, points - lag).flatten(2, -2)
                second = r.narrow(2 + axis, lag, points - lag).flatten(2, -2)
                found.append((first.mT @ second / first.shape[2]).flatten(2))
                if log:
                    found.append(((first - second).square().mean(2) + LEAST_VARIANCE).log())
        return found

    def _power(self, fields: Tensor) -> Tensor:
        """Return the log of the mean power (R, B, bands · C) in each band of frequencies."""
        axes = tuple(range(2, 2 + len(self.grid)))
        power = torch.fft.rfftn(fields, dim=axes).abs().square().flatten(2, -2) / math.prod(self.grid)
        means = self.bands.to(fields).T @ power
        return (means + LEAST_VARIANCE).log().flatten(2)


def _cosines(grid: Sequence[int]) -> Tensor:
    """Return products of low cosines at the points of a grid (points, waves), of mean square 1."""
    most = math.ceil(WAVES ** (1 / len(grid)))
    own = []
    for points in grid:
        angle = math.pi * (torch.arange(points, dtype=torch.float64) + 0.5) / points
        own.append([torch.cos(k * angle) for k in range(min(points, most))])
    waves = []
    for factors in product(*own):
        wave = torch.ones((), dtype=torch.float64)
        for factor in factors:
            wave = wave.unsqueeze(-1) * factor
        waves.append(wave.flatten() / wave.square().mean().sqrt())
    return torch.stack(waves, 1).float()


def _bands(grid: Sequence[int]) -> Tensor:
    """Return weights (frequencies, bands) that average over bands half as wide as their first frequency."""
    axes = [torch.fft.fftfreq(points, 1 / points) for points in grid[:-1]]
    axes.append(torch.fft.rfftfreq(grid[-1], 1 / grid[-1]))
    squares = torch.zeros(())
    for axis in axes:
        squares = squares.unsqueeze(-1) + axis.square()
    radius = squares.sqrt().round().flatten()
    bands, first = [], 1
    while first <= radius.max():
        end = first + max(1, first // 2)
        inside = ((radius >= first) & (radius < end)).float()
        if inside.any():
            bands.append(inside / inside.sum())
        first = end
    return torch.stack(bands, 1) if bands else torch.zeros(len(radius), 0)
