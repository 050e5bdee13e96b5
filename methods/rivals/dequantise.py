"""Uniform noise on discrete data, so that a density model of x has a density to learn.

A column of x that lies on a lattice of spacing δ is spread over its cells,

    x̃ = x + δ (v − ½),  v ~ U(0, 1),

so that x is the centre of its cell, and p(x̃ | θ) = p(x | θ)/δ there. A density q(x̃) fitted to such data
bounds log p(x) from below: E_v log(δ q(x̃)) ≤ log ∫ q over the cell of x [Theis et al. 2016, A note on the
evaluation of generative models]. The noise knows nothing of θ, so ∇_θ log p(x̃, z | θ) is
∇_θ log p(x, z | θ): a joint score stays valid.

Which columns are discrete is told from the training data alone: whole numbers throughout have the spacing 1;
else a column in which values recur, and in which every gap between neighbours is a multiple of the least gap,
has that as its spacing.
"""

import torch
from torch import Tensor

ROUNDING = 1e-6  # relative to the largest value: two values closer than that are one
MULTIPLE = 1e-3  # how far a gap may be from a multiple of the least, in least gaps


def spacings(x: Tensor) -> Tensor:
    """Give the spacing of each column of x (n, dim_x), and 0 where it is continuous: (dim_x,)."""
    return torch.stack([_spacing(column) for column in x.double().T]).to(x.dtype)


def dequantise(x: Tensor, spacing: Tensor, generator: torch.Generator) -> Tensor:
    """Spread x (..., dim_x) over its cells: x + δ (v − ½), for spacings δ (dim_x,) as from `spacings`.

    A floating dtype is kept; whole numbers become float64.
    """
    x = x if x.is_floating_point() else x.double()
    return x + spacing * (torch.rand(x.shape, generator=generator, dtype=x.dtype) - 0.5)


def _spacing(column: Tensor) -> Tensor:
    if torch.equal(column, column.round()):
        return torch.ones_like(column[0])
    gaps = column.sort().values.diff()
    distinct = gaps[gaps > ROUNDING * column.abs().max()]
    if len(distinct) in (0, len(gaps)):
        return torch.zeros_like(column[0])
    ratio = distinct / distinct.min()
    on_lattice = ((ratio - ratio.round()).abs() < MULTIPLE).all()
    return distinct.min() * on_lattice
