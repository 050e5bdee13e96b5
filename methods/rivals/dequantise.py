"""Uniform noise on discrete data, so that a density model of x has a density to learn."""

import torch
from torch import Tensor

ROUNDING = 1e-6  # relative to the largest value; closer values count as equal
MULTIPLE = 1e-3  # tolerated distance of a gap from a multiple of the least gap, in least gaps


def spacings(x: Tensor) -> Tensor:
    """Return the spacing δ of each column of x (n, dim_x), and 0 for continuous columns: (dim_x,).

    The training data alone determine which columns are discrete. A column of whole numbers has δ = 1.
    Otherwise a column is discrete if values recur and every gap between neighbours is a multiple of the least
    gap, which is δ.
    """
    return torch.stack([_spacing(column) for column in x.double().T]).to(x.dtype)


def dequantise(x: Tensor, spacing: Tensor, generator: torch.Generator) -> Tensor:
    """Spread x (..., dim_x) uniformly over the cells of its lattice.

        x̃ = x + δ (v − ½),    v ~ U(0, 1)

    x is the centre of its cell, and p(x̃ | θ) = p(x | θ)/δ. A density q(x̃) fitted to such data bounds log
    p(x | θ) from below: E_v log(δ q(x̃)) ≤ log ∫ q over the cell of x. The noise v does not depend on θ, so
    joint scores stay valid: ∇_θ log p(x̃, z | θ) = ∇_θ log p(x, z | θ).

    Args:
        x: data; whole numbers become float64, floating dtypes are kept.
        spacing: δ (dim_x,), see `spacings`; 0 adds no noise.
        generator: the source of v.

    Source: Theis et al., A note on the evaluation of generative models, arXiv 1511.01844.
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
