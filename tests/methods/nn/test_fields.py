"""Features of series and fields: replicates, lags in each direction, linear units and power."""

import math

import pytest
import torch

from graybench.methods.nn.fields import LAGS, FieldFeatures
from graybench.tasks.seeding import generator

SHAPES = [(12,), (1,), (2,), (6, 5), (3, 4, 5)]


def fields(shape, channels=2, replicates=2, rows=4):
    return torch.randn(replicates, rows, *shape, channels, generator=generator(1))


@pytest.mark.parametrize("shape", SHAPES)
def test_replicates_do_not_mix_and_features_are_finite(shape):
    x = fields(shape)
    together = FieldFeatures(x, [generator(1), generator(2)], 1)(x)
    for r in range(2):
        alone = FieldFeatures(x[r : r + 1], [generator(r + 1)], 1)(x[r : r + 1])
        for part, single in zip(together, alone, strict=True):
            assert part.isfinite().all()
            torch.testing.assert_close(part[r : r + 1], single, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1])
def test_lags_go_along_each_direction(axis):
    """White noise that is constant in threes along one direction has correlations 2/3 and 1/3 there alone."""
    noise = torch.randn(1, 400, 15, 15, 1, generator=generator(2))
    x = noise.movedim(2 + axis, -1)[..., :5].repeat_interleave(3, -1).movedim(-1, 2 + axis)
    made = FieldFeatures(x, [generator(1)], 1)
    own = made.plain(x)[0].mean(0)
    lags = own[-2 * (15 - 1) // 2 :].view(2, -1)
    assert lags.shape[1] == min(LAGS, 7)
    expected = torch.zeros(7)
    expected[:2] = torch.tensor([2 / 3, 1 / 3])
    # each mean of 400 fields of 225 points is within 0.03, about 6 standard errors and a bias of 1/75
    torch.testing.assert_close(lags[axis], expected, atol=0.05, rtol=0)
    torch.testing.assert_close(lags[1 - axis], torch.zeros(7), atol=0.05, rtol=0)


def test_the_variance_of_a_linear_unit_is_that_of_its_filter():
    """For white noise it is the sum of the squared weights."""
    x = torch.randn(1, 200, 500, 1, generator=generator(3))
    made = FieldFeatures(x, [generator(1)], 1)
    many = made(x)[1][0].mean(0)
    units = made.weight.shape[2]
    expected = made.weight[0].square().sum(0).log() / 2
    torch.testing.assert_close(many[:units], expected, atol=0.03, rtol=0)


def test_a_wave_has_its_power_in_one_band():
    time = torch.arange(64) / 64
    x = torch.sin(2 * math.pi * 10 * time).view(1, 1, 64, 1)
    made = FieldFeatures(x, [generator(1)], 1)
    band = int(made.bands[10].argmax())
    power = made._power(x)[0, 0]
    assert int(power.argmax()) == band
    assert power[band] - power.sort().values[-2] > 5
    torch.testing.assert_close(made.bands.sum(0), torch.ones(made.bands.shape[1]))
    assert made.bands[0].sum() == 0
    assert (made.bands[1:].sum(1) > 0).all()


def test_few_features_come_from_the_first_channels():
    x = fields((12,))
    changed = x.clone()
    changed[..., 1] += torch.randn(changed[..., 1].shape, generator=generator(4))
    made = FieldFeatures(x, [generator(1), generator(2)], 1)
    assert made(x)[0].equal(made(changed)[0])
    assert not made(x)[1].equal(made(changed)[1])
