"""Posteriors in ArviZ: its summaries are those of the samples."""

import sys

import numpy as np
import pytest
import torch

from graybench.methods import get_method
from graybench.tasks.classic.linear_gaussian import LinearGaussian
from graybench.tasks.errors import UserError
from graybench.tasks.prior import LogNormal

az = pytest.importorskip("arviz")

TASK = LinearGaussian(3)
X_O = TASK.observations().x[0]
POSTERIOR = get_method("rejection_abc", least=100).fit(TASK.simulate(2000, 1), 1)


@pytest.mark.parametrize(("prior", "name"), [(None, "u"), (LogNormal(0.1, 0.5), "theta")])
def test_summaries_are_those_of_the_samples(prior, name):
    data = POSTERIOR.as_arviz(500, X_O, 7, prior)
    u = POSTERIOR.sample(500, X_O.unsqueeze(0), 7)[0]
    expected = (u if prior is None else (0.1 + 0.5 * u).exp()).numpy()
    values = data.posterior[name]
    assert list(data.posterior) == [name]
    assert values.dims == ("chain", "draw", "parameter")
    np.testing.assert_allclose(values.values[0], expected)
    summary = az.summary(data, round_to="none")
    np.testing.assert_allclose(summary["mean"], expected.mean(0))
    np.testing.assert_allclose(summary["sd"], expected.std(0, ddof=1))


def test_independent_draws_are_worth_about_their_number():
    """Of 2,000 draws the three estimates have standard deviations of some 80; beyond 400 off is a fault."""
    effective = az.ess(POSTERIOR.as_arviz(2000, X_O, 8))["u"].values
    assert effective.shape == (3,)
    assert np.abs(effective - 2000).max() < 400


def test_the_observation_goes_with_the_samples():
    observed = POSTERIOR.as_arviz(10, X_O, 9).observed_data["x"]
    assert observed.dims == ("component",)
    np.testing.assert_array_equal(observed.values, X_O.numpy())


def test_mistakes_are_answered(monkeypatch):
    with pytest.raises(UserError, match=r"one observation \(dim_x,\), but x_o has shape \(1, 3\)"):
        POSTERIOR.as_arviz(10, X_O.unsqueeze(0), 1)
    monkeypatch.delitem(sys.modules, "graybench.methods.views.arviz")
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(UserError, match=r"pip install 'graybench\[arviz\]'"):
        POSTERIOR.as_arviz(10, torch.zeros(3), 1)
