"""When training stops, on loss curves whose answer is known, and how minibatches grow."""

import pytest
import torch

from graybench.methods.nn.stopping import LEAST_STEPS, Plateau, batch_size, next_look

INF = float("inf")


def stops(*curves, until=30_000):
    """Return the first step at which each replicate is done, or None; its loss is curve(step)."""
    plateau, step, found = Plateau(len(curves)), 0, [None] * len(curves)
    least = torch.full((len(curves),), INF)
    while step < until:
        step = next_look(step)
        least = torch.minimum(least, torch.tensor([float(curve(step)) for curve in curves]))
        for r, done in enumerate(plateau.look(step, least)):
            found[r] = found[r] or (step if done else None)
    return found


def test_a_flat_loss_stops_at_the_first_look_that_may_stop():
    (step,) = stops(lambda step: 1.0)
    assert LEAST_STEPS <= step < LEAST_STEPS + 2 * (next_look(LEAST_STEPS) - LEAST_STEPS)


def test_a_loss_that_rises_again_or_never_was_finite_stops_like_a_flat_one():
    assert len(set(stops(lambda step: 1.0, lambda step: step, lambda step: INF, lambda step: 2.0))) == 1


def test_a_loss_that_falls_as_a_power_of_the_steps_stops_if_the_power_is_small():
    """The last third lowers step^−p by the share 1 − (3/2)^−p: 0.4 % for p = 0.01, 0.2 % for p = 0.005."""
    fast, slow = stops(lambda step: step**-0.01, lambda step: step**-0.005)
    assert fast is None
    assert slow == stops(lambda step: 1.0)[0]


def test_a_loss_that_falls_until_a_step_stops_when_this_step_is_a_third_ago():
    (step,) = stops(lambda step: 1 - min(step, 6000) / 10_000)
    assert 1.45 * 6000 < step < 1.7 * 6000  # looks are a sixteenth apart


def test_replicates_do_not_share_their_curves():
    curves = [lambda step: 1.0, lambda step: 1 - min(step, 5000) / 10_000, lambda step: 1 / step]
    assert stops(*curves) == [stops(curve)[0] for curve in curves]
    plateau, kept = Plateau(3), [1, 2]
    alone = Plateau(2)
    for step in (1000, 2000):
        plateau.look(step, torch.tensor([5.0, 4.0, 3.0]) / step)
        alone.look(step, torch.tensor([4.0, 3.0]) / step)
    plateau.keep(kept)
    loss = torch.tensor([4.0 / 2000, 0.1 / 3000])
    assert plateau.look(3000, loss) == alone.look(3000, loss) == [True, False]


def test_a_run_to_the_longest_default_has_a_hundred_looks():
    step, looks = 0, 0
    while step < 30_000:
        assert next_look(step) > step
        step, looks = next_look(step), looks + 1
    assert 50 < looks < 120


@pytest.mark.parametrize(("step", "factor"), [(0, 1), (1999, 1), (2000, 2), (3999, 2), (4000, 4), (10**6, 4)])
def test_minibatches_are_doubled_twice(step, factor):
    assert batch_size(7, step) == 7 * factor
