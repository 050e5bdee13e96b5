"""Where thresholds would have stopped, against ordinary fits."""

import pandas as pd
import pytest
import torch

from graybench.benchmark.choices import stopping
from graybench.benchmark.choices.fresh import fresh_data, fresh_loss, training_simulations
from graybench.benchmark.choices.stopping import CAP, THRESHOLDS, rows
from graybench.methods.nn import stopping as rule
from graybench.methods.nn.stopping import LEAST_FALL
from graybench.methods.score.mixtures import Mix
from graybench.methods.score.score_matching import DSM
from graybench.tasks import get_task

CAP_STEPS, BUDGET, REPLICATES = 1500, 400, 3
SHORT = {"steps": CAP_STEPS, "average": 0.95}  # a quick average, so that losses fall from the start


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Fits may stop early, so that the replicates stop at different steps."""
    monkeypatch.setattr(rule, "LEAST_STEPS", 300)


@pytest.mark.parametrize("method", [DSM(**SHORT), Mix(**SHORT)])
def test_the_default_threshold_stops_where_an_ordinary_fit_does_with_the_same_result(method):
    task = get_task("gaussian_mixture")
    found = pd.DataFrame(rows(task, method, BUDGET, REPLICATES))
    own = found[found["threshold"] == LEAST_FALL]
    simulations, seeds = training_simulations(task, BUDGET, REPLICATES)
    fresh = fresh_data(task, method, 1)
    posteriors = method.train(simulations, seeds)
    losses = [float(fresh_loss(method, p.model, p.gate, fresh)) for p in posteriors]
    steps = [posterior.training_steps for posterior in posteriors]
    assert own["step"].tolist() == steps
    assert len(set(steps)) > 1
    assert own["loss"].tolist() == pytest.approx(losses, rel=1e-5)


def test_a_summary_sees_the_fresh_simulations_too():
    task, method = get_task("iid_mixture", draws=40), DSM(**SHORT)
    own = [row for row in rows(task, method, BUDGET, 1) if row["threshold"] == LEAST_FALL]
    simulations, seeds = training_simulations(task, BUDGET, 1)
    (posterior,) = method.train(simulations, seeds)
    data = fresh_data(task, method, 1)
    summarised = type(data)(data.u, posterior.summary(data.x), None)
    loss = float(fresh_loss(method, posterior.model, posterior.gate, summarised))
    assert [row["loss"] for row in own] == pytest.approx([loss], rel=1e-5)


def test_lower_thresholds_stop_later_and_the_cap_is_last():
    task = get_task("gaussian_mixture")
    found = pd.DataFrame(rows(task, DSM(**SHORT), BUDGET, REPLICATES))
    for _, own in found.groupby("replicate"):
        own = own.set_index("threshold").loc[[*THRESHOLDS, CAP]]
        assert own["step"].is_monotonic_increasing
        assert own["cpu_seconds"].is_monotonic_increasing
        assert own.loc[CAP, "step"] == CAP_STEPS
    assert found["step"].nunique() > 4


def test_the_command_writes_a_row_for_each_threshold_and_replicate(tmp_path):
    out = tmp_path / "stopping.csv"
    stopping.main("gaussian_mixture", ["mix"], [20, 30], 2, 5, out)
    found = pd.read_csv(out)
    assert len(found) == 2 * 2 * (len(THRESHOLDS) + 1)
    assert set(found["budget"]) == {20, 30}
    assert set(found["step"]) == {5}
    assert torch.isfinite(torch.tensor(found["loss"])).all()
