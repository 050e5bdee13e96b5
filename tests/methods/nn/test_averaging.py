"""The moving average and the step that is kept, against sequences whose answers are known by hand."""

import pytest
import torch

from graybench.methods.nn.averaging import VALIDATIONS, BestStep, MovingAverage, held_out, is_due

NAN, INF = float("nan"), float("inf")


def follow(moves, losses, replicates=2):
    """Move a parameter (R, 1, 1) of zeros, and judge its average with the losses given for each step."""
    parameter = torch.zeros(replicates, 1, 1)
    average = MovingAverage([parameter], 0.5, replicates)
    for move, loss in zip(moves, losses, strict=True):
        parameter.copy_(torch.tensor(move).view(-1, 1, 1))
        average.update()
        if loss is not None:
            average.judge(lambda loss=loss: torch.tensor(loss))
    return parameter, average.finish()


def test_the_average_is_geometric_and_the_last_is_kept_where_none_is_judged():
    parameter, finite = follow([[8.0, 1.0], [8.0, 1.0], [8.0, 3.0]], [None] * 3)
    assert parameter.flatten().tolist() == [7.0, 1.875]  # 4, 6, 7; 0.5, 0.75, 1.875
    assert finite.tolist() == [True, True]


def test_each_replicate_keeps_its_own_best_average():
    moves = [[8.0, 8.0], [8.0, 8.0], [8.0, 8.0]]
    parameter, finite = follow(moves, [[3.0, 1.0], [1.0, 2.0], [2.0, NAN]])
    assert parameter.flatten().tolist() == [6.0, 4.0]
    assert finite.tolist() == [True, True]


def test_the_loss_is_that_of_the_average_and_the_parameters_are_put_back():
    parameter, seen = torch.zeros(1, 1, 1), []
    average = MovingAverage([parameter], 0.5)
    parameter.fill_(8.0)
    average.update()
    average.judge(lambda: seen.append(parameter.item()) or torch.ones(1))
    assert (seen, parameter.item()) == ([4.0], 8.0)


def test_a_replicate_that_diverged_is_told_from_one_that_did_not():
    _, finite = follow([[1.0, NAN]], [None])
    assert finite.tolist() == [True, False]
    _, finite = follow([[1.0, 1.0], [1.0, 1.0]], [[NAN, 1.0], [INF, NAN]])
    assert finite.tolist() == [False, True]
    # what comes after the best step does no harm
    parameter, finite = follow([[1.0, 1.0], [1.0, NAN]], [[1.0, 1.0], [2.0, NAN]])
    assert finite.tolist() == [True, True]
    assert parameter.isfinite().all()


def test_a_single_network_may_have_parameters_of_any_shape():
    parameters = [torch.zeros(()), torch.zeros(3), torch.zeros(2, 3)]
    average = MovingAverage(parameters, 0.0)
    for value, loss in ((1.0, 2.0), (2.0, 1.0), (3.0, 3.0)):
        for parameter in parameters:
            parameter.fill_(value)
        average.update()
        average.judge(lambda loss=loss: torch.tensor([loss]))
    assert average.finish().tolist() == [True]
    assert all((parameter == 2.0).all() for parameter in parameters)


def test_a_best_step_must_beat_where_it_starts():
    best = BestStep([torch.zeros(2, 1, 1)], torch.zeros(2))
    best.update([torch.ones(2, 1, 1)], torch.tensor([0.0, -1.0]))
    assert best.values[0].flatten().tolist() == [0.0, 1.0]


@pytest.mark.parametrize(("n", "expected"), [(1, 0), (2, 1), (9, 1), (15, 2), (1000, 100)])
def test_a_tenth_is_held_out_but_never_all(n, expected):
    assert held_out(n) == expected


@pytest.mark.parametrize("steps", [1, 7, 100, 130, 3000])
def test_judging_is_due_about_fifty_times_and_after_the_last_step(steps):
    due = [step for step in range(1, steps + 1) if is_due(step, steps)]
    assert due[-1] == steps
    assert min(steps, VALIDATIONS) <= len(due) < 2 * VALIDATIONS


def test_replicates_that_are_kept_keep_their_average_and_their_best():
    parameter, kept = torch.zeros(3, 1, 1), [0, 2]
    average = MovingAverage([parameter], 0.5, 3)
    parameter.copy_(torch.tensor([8.0, 4.0, 2.0]).view(3, 1, 1))
    average.update()
    average.judge(lambda: torch.tensor([1.0, 1.0, 3.0]))
    parameter.data = parameter.data[kept]
    average.keep(kept)
    average.update()
    average.judge(lambda: torch.tensor([2.0, 2.0]))
    values, finite = average.result()
    assert values[0].flatten().tolist() == [4.0, 1.5]  # of the first step, and of the second
    assert finite.tolist() == [True, True]
