"""Metrics at the parameters behind an observation."""

import pytest
import torch

from graybench.benchmark.metrics.catalogue import METRICS
from graybench.benchmark.metrics.fitted import DoesNotApplyError, Fitted
from graybench.benchmark.metrics.truth import truth_of
from graybench.methods import get_method
from graybench.tasks import get_task

N = 400


def fitted_on(task_name, method="bridge_is", **options):
    task = get_task(task_name, steps=20)
    truth = truth_of(task, 2, N)
    posterior = get_method(method, **options).fit(task.simulate(200, 1), 2)
    samples = posterior.sample(N, truth.observations.x, 3)
    return Fitted(truth, [], [posterior], task.prior.to_theta(samples.double()).unsqueeze(0))


@pytest.fixture(scope="module")
def brownian():
    return fitted_on("brownian")


def test_brownian_bridges_are_exact(brownian):
    ess = list(METRICS["ess_fraction"].compute(brownian))
    error = list(METRICS["log_likelihood_error"].compute(brownian))
    assert [(row["replicate"], row["observation"]) for row in ess] == [(0, 0), (0, 1)]
    assert all(row["value"] == pytest.approx(1) for row in ess)
    assert all(row["value"] < 1e-9 for row in error)


def test_geometric_brownian_bridges_are_off_by_their_standard_error():
    fitted = fitted_on("geometric_brownian")
    for row in METRICS["log_likelihood_error"].compute(fitted):
        # 4.5 errors, once in 150,000 times, and 0.05 for the scheme
        assert 0 < row["value"] < 4.5 * row["stderr"] + 0.05
    for row in METRICS["ess_fraction"].compute(fitted):
        assert 0.1 < row["value"] < 0.999


def test_parameter_rmse_is_the_distance_of_the_posterior_mean(brownian):
    truth = brownian.truth.observations.theta
    shift = torch.tensor([0.3, -0.4], dtype=torch.float64)
    mixed = torch.tensor([[1.0, 0.8], [0.0, 0.6]], dtype=torch.float64)
    spread = 0.1 * torch.randn(N, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) @ mixed
    centred = spread - spread.mean(0)
    samples = torch.stack([[t + shift + centred for t in truth]][0]).unsqueeze(0)
    rows = list(METRICS["parameter_rmse"].compute(Fitted(brownian.truth, [], brownian.posteriors, samples)))
    assert [row["value"] for row in rows] == pytest.approx([0.125**0.5] * 2)
    # by the delta method: (shiftᵀ C shift)^½/(2 rmse √N), C the covariance of the samples
    expected = float(shift @ torch.cov(centred.T) @ shift) ** 0.5 / (2 * 0.125**0.5 * N**0.5)
    assert rows[0]["stderr"] == pytest.approx(expected)


def test_they_do_not_apply_to_what_has_no_likelihood():
    dsm = fitted_on("brownian", "dsm", steps=2)
    for metric in ("ess_fraction", "log_likelihood_error"):
        with pytest.raises(DoesNotApplyError, match="estimates no likelihood"):
            list(METRICS[metric].compute(dsm))
    with pytest.raises(DoesNotApplyError, match="likelihood of the task is not known"):
        list(METRICS["log_likelihood_error"].compute(fitted_on("landmarks")))
