"""Experiments with many landmarks, at sizes that take a second."""

import math

import pytest
import torch

from graybench.benchmark.papers.bridge.experiments.landmark_networks import _resampled_run, landmark_law
from graybench.methods.bridge.genealogy import LAG
from graybench.tasks.landmarks.task import Landmarks


@torch.no_grad()
def test_the_lag_changes_the_standard_error_and_nothing_else() -> None:
    late, early, never = _resampled_run(16, 32, 20, 0, (0.9, LAG, 0.0))
    assert late["resamplings"] > 2  # type: ignore[operator]
    for field in ("log_likelihood", "origins_stderr", "ess_fraction"):
        assert late[field] == early[field] == never[field]
    assert len({late["stderr"], early["stderr"], never["stderr"]}) == 3
    assert never["stderr"] < never["origins_stderr"]  # type: ignore[operator]


def test_the_law_draws_around_the_medians_of_the_task() -> None:
    task = Landmarks(6, 2, 0.2)
    sde, x_0 = landmark_law(task, 0.3)(2_000, 1)
    assert x_0.equal(task.start)
    for drawn, centre in ((sde.log_a, 0.2), (sde.log_length, 0.5)):
        assert drawn.shape == (2_000, 1)
        # 2,000 normals: 4.5 standard errors of the mean, and 4.5 of the spread
        assert float(drawn.mean()) == pytest.approx(math.log(centre), abs=4.5 * 0.3 / 2_000**0.5)
        assert float(drawn.std()) == pytest.approx(0.3, rel=4.5 / 4_000**0.5)
