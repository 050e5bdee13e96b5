"""Global generators: seeded for as long as asked, put back, and held by one thread at a time."""

import random
import threading

import numpy as np
import pytest
import torch

from graybench.methods.rivals.private_randomness import private_randomness
from graybench.tasks.pyro.robust_regression import RobustRegression
from graybench.tasks.seeding import generator

TASK = RobustRegression()
THETA = torch.zeros(4, TASK.dim_theta, dtype=torch.float64)


def of_its_own():
    with private_randomness(2):
        return torch.rand(3)


def of_pyro():
    return TASK.simulator(THETA, generator(2)).x


@pytest.mark.parametrize("work", [of_its_own, of_pyro])
def test_threads_take_turns_and_draw_what_they_draw_alone(work):
    alone, before, found = work(), torch.get_rng_state(), []
    other = threading.Thread(target=lambda: found.append(work()))
    with private_randomness(1):
        first = torch.rand(3)
        other.start()
        other.join(0.3)  # without a lock it is done by then
        assert other.is_alive()
        second = torch.rand(3)
    other.join()
    assert torch.equal(torch.cat([first, second]), torch.rand(6, generator=generator(1)))
    assert torch.equal(found[0], alone)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_generator_of_an_accelerator_is_seeded_and_those_of_the_cpu_are_put_back(monkeypatch):
    def refuse(seed):
        raise AssertionError("the generators of CUDA are not put back")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)
    states = [torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()]
    with private_randomness(2**62 + 1):
        drawn = torch.rand(2), np.random.rand(), random.random()
    assert torch.equal(drawn[0], torch.rand(2, generator=generator(2**62 + 1)))
    assert drawn[1:] == (np.random.RandomState(1).rand(), random.Random(2**62 + 1).random())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]


def draw():
    return float(torch.rand(())), float(np.random.rand()), random.random()


def test_whole_numbers_of_numpy_are_seeds_like_those_of_python():
    with private_randomness(0):
        expected = draw()
    drawn = []
    for seed in (5, np.int64(5)):
        with private_randomness(0):
            with private_randomness(seed):
                drawn.append(draw())
            assert draw() == expected
    assert drawn[0] == drawn[1] != expected
