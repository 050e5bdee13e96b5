"""The predictive distance, against numpy on the same simulations."""

import math

import numpy as np
import pytest
import torch

from graybench.benchmark.metrics import diagnostics
from graybench.benchmark.metrics.truth import truth_of
from graybench.tasks import get_task
from graybench.tasks.seeding import generator
from graybench.tests.benchmark.metrics.posteriors import TASK, Exact, fitted


def lower_median(a):
    """The median as torch takes it: of two values in the middle the lower one."""
    return np.sort(a, axis=0)[(len(a) - 1) // 2]


def test_predictive_distance_is_the_median_of_distances_in_deviations():
    """Against numpy on the same simulations; the reference gives its own floor within 4.5 standard errors."""
    cell = fitted(Exact())
    rows = list(diagnostics.predictive_distance(cell))
    assert [row["observation"] for row in rows] == [0, 1]
    scale = TASK.simulate(diagnostics.PREDICTIVE_SCALE, diagnostics._seed(cell.truth, "predictive scale")).x
    deviation = lower_median(np.abs(scale.numpy() - lower_median(scale.numpy())))
    for row in rows:
        o = row["observation"]
        theta = cell.samples[0, o][: diagnostics.PREDICTIVE_DRAWS]
        x = TASK.simulate_at(theta, diagnostics._seed(cell.truth, "predictive", 0, o)).x.numpy()
        distance = np.sqrt((((x - cell.truth.observations.x[o].numpy()) / deviation) ** 2).mean(1))
        assert row["value"] == pytest.approx(float(lower_median(distance)), rel=1e-5)
        assert abs(row["value"] - row["floor"]) < 4.5 * math.sqrt(2) * row["stderr"]


def test_draws_on_the_edge_of_the_prior_have_a_distance_too():
    """Where u = 20, θ is rounded to the edge of (−1, 1): the simulator is run there."""
    task, r = get_task("sbibm_two_moons"), 0
    truth = truth_of(task, 1, 300)
    theta = task.prior.to_theta(torch.full((50, 2), 20.0, dtype=torch.float64))
    x = task.simulator(theta, generator(diagnostics._seed(truth, "predictive", r, 0))).x
    distance = ((x - truth.observations.x[0]) / diagnostics._predictive_scale(truth)).square().mean(1).sqrt()
    assert diagnostics._distance(truth, 0, theta, r)[0] == float(distance.median())


def test_draws_far_from_the_prior_are_simulated_at_its_edge():
    """Rates of e^30 births would not end; those at the edge do, and are far from the observation."""
    task = get_task("immigration_death")
    truth = truth_of(task, 1, 300)
    far, edge = (task.prior.to_theta(torch.full((20, 2), u, dtype=torch.float64)) for u in (70.0, 10.0))
    found = diagnostics._distance(truth, 0, far, 0)
    assert found == diagnostics._distance(truth, 0, edge, 0)
    assert found[0] > 1


def test_the_standard_error_of_the_predictive_distance_is_its_spread_over_draws():
    """Over 60 sets of draws: the ratio of spread to mean standard error is 1 within a third."""
    truth, found = truth_of(TASK, 1, 300), []
    for r in range(60):
        theta = TASK.prior.to_theta(TASK.reference(truth.observations.x[0]).sample(200, r))
        found.append(diagnostics._distance(truth, 0, theta, r))
    value, stderr = np.array(found).T
    assert 0.67 < value.std() / stderr.mean() < 1.5
