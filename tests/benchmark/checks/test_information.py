"""Information and predicted variances on a task where both are exact."""

import math

import numpy as np
import pytest
import torch

from graybench.benchmark.checks.information import as_markdown, information_of
from graybench.benchmark.metrics.catalogue import METRICS
from graybench.benchmark.metrics.fitted import Fitted
from graybench.benchmark.metrics.truth import TIMES, truth_of
from graybench.methods import get_method
from graybench.methods.score.schedule import alpha_sigma_at
from graybench.tasks.classic.linear_gaussian import NOISE, LinearGaussian, _model

TASK = LinearGaussian(dim=2, spread=3.0)
N = 40_000


def test_information_of_a_linear_gaussian_is_known():
    """J = I + AᵀA/noise² and I = S⁻¹; means of squares are good to √(2/n), 4.5 times that is 3 %."""
    found, model = information_of(TASK, N), _model(TASK)
    joint = torch.eye(2, dtype=torch.float64) + model.into_z.T @ model.into_z / NOISE**2
    values = torch.linalg.eigvalsh(joint)
    tolerance = 4.5 * math.sqrt(2 / N)
    assert found.joint == pytest.approx(float(values.mean()), rel=tolerance)
    assert found.condition == pytest.approx(float(values[1] / values[0]), rel=2 * tolerance)
    assert found.posterior == pytest.approx(
        float(torch.linalg.inv(model.covariance).trace()) / 2, rel=tolerance
    )
    assert found.dim == 2


def test_predicted_variances_are_those_of_the_targets():
    """For Gaussian posteriors the prediction is exact: compare it with measured target variances."""
    simulations = TASK.simulate(4_000, seed=1)
    averages = {}
    for name in ("dsm", "mix"):
        method = get_method(name, steps=1, width=4, recipe="plain")
        posteriors = method.fit_replicates([simulations], [1])
        fitted = Fitted(
            truth_of(TASK, 1, 10), [simulations.only(method.requires)], posteriors, torch.zeros(0)
        )
        rows = list(METRICS["target_variance"].compute(fitted))
        weighted = [alpha_sigma_at(row["time"])[1] ** 2 * row["value"] for row in rows]
        averages[name] = np.trapezoid(weighted, TIMES)
    # 1,000 test simulations with noise of their own at 27 times: each average is good to about 1 %
    assert information_of(TASK, N).scalar == pytest.approx(averages["mix"] / averages["dsm"], rel=0.05)


def test_a_matrix_gate_cannot_have_more_variance():
    found = information_of(TASK, N)
    assert found.matrix < found.scalar
    even = information_of(LinearGaussian(dim=2), N)
    assert even.matrix == pytest.approx(even.scalar, rel=0.01)  # where J is nearly a multiple of I


class Blind(LinearGaussian):
    capabilities = frozenset({"joint_score"})


def test_without_a_marginal_score_there_is_no_prediction():
    found = information_of(Blind(), 1_000)
    assert found.posterior is None
    table = as_markdown([("blind", found), ("seeing", information_of(TASK, 1_000))])
    assert table.splitlines()[-1].startswith("| blind | 2 | ")
    assert table.endswith("|  |  | " + f"{found.condition:.3g} |  |  |")
