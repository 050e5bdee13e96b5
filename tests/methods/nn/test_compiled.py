"""Compiled functions of numbers and matrices against numpy's, where the results are exact."""

import os
import subprocess
import sys

import numpy as np
import pytest

from graybench.methods.nn import compiled
from graybench.methods.nn.compiled import TILE_COLUMNS, TILE_ROWS

SHAPES = [
    (1, 1, 1),
    (TILE_ROWS - 1, 5, TILE_COLUMNS + 1),
    (TILE_ROWS + 1, 5, TILE_COLUMNS - 1),
    (TILE_ROWS, 1, TILE_COLUMNS),
    (3 * TILE_ROWS - 1, 70, 2 * TILE_COLUMNS + 3),
]


def test_the_exponential_is_right_to_rounding_where_float32_has_it():
    x = np.concatenate([np.linspace(-87, 88, 100_001), np.linspace(-1, 1, 10_001)]).astype(np.float32)
    found = np.array([compiled.exponential(value) for value in x])
    assert np.abs(found / np.exp(x.astype(float)) - 1).max() < 2e-7
    assert compiled.exponential(np.float32(-1e30)) == compiled.exponential(np.float32(-87))
    assert compiled.exponential(np.float32(1e30)) == compiled.exponential(np.float32(88))


def whole_numbers(*shape):
    """Products and sums of so small whole numbers are exact in float32."""
    return np.random.default_rng(0).integers(-9, 10, shape).astype(np.float32)


@pytest.mark.parametrize(("rows", "inner", "columns"), SHAPES)
def test_products_are_exact_whatever_the_shape_and_the_strides(rows, inner, columns):
    """A column of a beyond the rows of b does not count, and nothing beside c is written."""
    b = whole_numbers(inner, columns)
    plain, turned = whole_numbers(rows, inner + 1), whole_numbers(inner + 1, rows).T
    plain[:, -1] = turned[:, -1] = np.nan
    for a in (plain, turned, whole_numbers(2 * rows, 3 * inner)[::2, ::3]):
        around = np.full((rows + 2, columns), np.nan, np.float32)
        compiled.multiply(a, b, around[1:-1])
        assert np.array_equal(around[1:-1], a[:, :inner].astype(float) @ b.astype(float))
        assert np.isnan(around[[0, -1]]).all()


def test_a_processor_without_wide_vectors_has_the_same_products(tmp_path):
    """Numba compiles for the plainest processor of this kind, in a process of its own."""
    program = """
import numpy as np
from graybench.methods.nn import compiled
a = np.arange(90, dtype=np.float32).reshape(30, 3)
b = np.arange(195, dtype=np.float32).reshape(3, 65)
c = np.empty((30, 65), np.float32)
compiled.multiply(a, b, c)
assert np.array_equal(c, a @ b), c
"""
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=os.environ | plain, check=True, timeout=120)
