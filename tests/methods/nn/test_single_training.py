"""Training of a single network ends in a sentence when it diverges."""

import pytest
import torch

from graybench.methods.nn.single_training import train
from graybench.tasks.errors import NotFiniteError


def test_training_that_diverged_says_what_to_do():
    network = torch.nn.Linear(1, 1)
    with pytest.raises(NotFiniteError, match=r"^training diverged: use a smaller rate$"):
        train(
            network,
            lambda rows, _: network(rows[:, None] + 1.0).square().square().mean(),
            20,
            steps=3,
            batch=4,
            rate=1e30,
            seed=1,
        )
