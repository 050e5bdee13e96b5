"""Global generators follow the seed inside and are put back."""

import random

import numpy as np
import torch

from methods.private_randomness import private_randomness


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
