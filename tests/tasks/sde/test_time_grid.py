"""Grids of times, with steps that are equal or differ."""

import math

import pytest
import torch

from graybench.tasks.errors import UserError
from graybench.tasks.sde.ornstein_uhlenbeck import OrnsteinUhlenbeck
from graybench.tasks.sde.quadrature import log_transition
from graybench.tasks.sde.sde import TimeGrid
from graybench.tests.numbers import double

TIMES = (0.0, 0.1, 0.5, 0.6, 1.5)
UNEVEN = TimeGrid.at(TIMES)


def test_a_grid_has_its_times_and_lengths():
    assert (UNEVEN.duration, UNEVEN.steps) == (1.5, 4)
    torch.testing.assert_close(UNEVEN.times, double(TIMES), rtol=0, atol=1e-12)
    torch.testing.assert_close(UNEVEN.lengths, double([0.1, 0.4, 0.1, 0.9]), rtol=0, atol=1e-12)
    for grid in (UNEVEN, TimeGrid(1.3, 7)):
        assert [grid.time(k) for k in range(grid.steps + 1)] == grid.times.tolist()
        assert [grid.step(k) for k in range(grid.steps)] == grid.lengths.tolist()
    assert set(TimeGrid(1.3, 7).lengths.tolist()) == {1.3 / 7} == {TimeGrid(1.3, 7).dt}


def test_equidistant_times_make_the_grid_of_equal_steps():
    for duration, steps in ((1.0, 50), (0.3, 3), (1.5, 7), (1e-3, 100)):
        assert TimeGrid.at([k * (duration / steps) for k in range(steps + 1)]) == TimeGrid(duration, steps)
        assert TimeGrid.at(torch.linspace(0, duration, steps + 1).double().tolist()).steps == steps


def test_the_mirrored_grid_has_the_times_that_are_left():
    torch.testing.assert_close(UNEVEN.mirrored.times, double([0.0, 0.9, 1.0, 1.4, 1.5]), rtol=0, atol=1e-12)
    assert TimeGrid(1.3, 7).mirrored == TimeGrid(1.3, 7)


def test_a_repeated_grid_goes_on_from_its_end():
    expected = double([*TIMES, *(1.5 + t for t in TIMES[1:])])
    torch.testing.assert_close(UNEVEN.repeated(2).times, expected, rtol=0, atol=1e-12)
    assert TimeGrid(0.5, 4).repeated(3) == TimeGrid(1.5, 12)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ((0.0, 0.5, 0.4, 1.0), r"times must increase, but time 2 is 0\.4 after 0\.5"),
        ((0.0, 0.5, 0.5, 1.0), r"times must increase, but time 2 is 0\.5 after 0\.5"),
        ((0.0, 0.5, math.nan, 1.0), r"times must increase, but time 2 is nan after 0\.5"),
        ((0.1, 0.5, 1.0), r"times must go from 0 to a finite T above 0, not from 0\.1 to 1\.0"),
        ((0.0, 0.5, math.inf), r"times must go from 0 to a finite T above 0, not from 0\.0 to inf"),
        ((0.0, -0.5, -1.0), r"times must go from 0 to a finite T above 0, not from 0\.0 to -1\.0"),
        ((0.0, 1.0), r"there must be 3 times or more, from 0 to T, but there are 2"),
        ((), r"there must be 3 times or more, from 0 to T, but there are 0"),
    ],
)
def test_times_that_do_not_increase_from_0_are_refused(times, message):
    with pytest.raises(UserError, match=f"time grid: {message}"):
        TimeGrid.at(times)


def test_what_needs_equal_steps_says_so():
    sde, x = OrnsteinUhlenbeck().sde(double([[[0.0, 0.0, 0.0]]])), double([[0.0]])
    with pytest.raises(UserError, match="time grid: this needs steps of equal length, but they differ"):
        log_transition(sde, x, x, UNEVEN, double([[5.0]]), 101)
