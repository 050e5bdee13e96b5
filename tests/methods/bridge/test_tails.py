"""The shape of tails against ArviZ and against weights whose shape is known."""

import math

import numpy as np
import pytest
import torch

from graybench.methods.bridge.tails import tail_shape

az = pytest.importorskip("arviz")


@pytest.mark.parametrize("number", [30, 64, 1000])
@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_shapes_are_those_of_arviz(number: int, spread: float) -> None:
    log_weights = spread * np.random.default_rng(1).standard_normal((4, number))
    expected = np.array([float(az.psislw(row)[1]) for row in log_weights])
    found = tail_shape(torch.from_numpy(log_weights))
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [0.3, 0.7, 1.0])
def test_the_shape_of_pareto_weights(shape: float) -> None:
    """The estimate has a standard error of (1 + k)/√M at most: here 0.04, for the mean of 40 samples."""
    weights = np.random.default_rng(2).pareto(1 / shape, (40, 4000)) + 1
    found = tail_shape(torch.from_numpy(np.log(weights)))
    assert float(found.mean()) == pytest.approx(shape, abs=0.1)


def test_no_tail_no_shape() -> None:
    log_weights = torch.randn(3, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert tail_shape(log_weights).isnan().all()  # 4 weights
    assert tail_shape(torch.zeros(2, 100, dtype=torch.float64)).isnan().all()
    assert tail_shape(torch.full((100,), -math.inf, dtype=torch.float64)).isnan()
