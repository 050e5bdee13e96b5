"""Cells: what a method is given, what a row says, and what becomes of failures."""

from typing import ClassVar

import pandas as pd
import pytest
import torch

from graybench.benchmark.running.cell import Cell
from graybench.benchmark.running.measure import run_cell, training_simulations
from graybench.methods import get_method
from graybench.methods.method import Method, Posterior
from graybench.tasks import get_task
from graybench.tasks.classic.galton import Galton
from graybench.tasks.errors import NotFiniteError
from graybench.tasks.sampled_reference import SampledReference
from graybench.tests.benchmark.checks.broken_tasks import ByFunctions
from graybench.tests.benchmark.toys import Fast, Line
from graybench.tests.tasks.test_task import Broken

SEEN = []


class PriorPosterior(Posterior):
    def __init__(self, shape):
        self.shape = shape

    def sample(self, n, x_o, seed):
        return torch.zeros(len(x_o), n, *self.shape)


class FlatScore(PriorPosterior):
    def score(self, u_t, x_o, t):
        return u_t[..., 0]


class Spy(Method):
    name: ClassVar[str] = "spy"
    version: ClassVar[int] = 3
    summary: ClassVar[str] = "Keeps what it is given."
    requires: ClassVar[frozenset[str]] = frozenset({"joint_score"})

    fault: str = "none"

    def fit(self, simulations, seed):
        SEEN.append((simulations, seed))
        if self.fault == "raises":
            raise RuntimeError("the matrix is singular")
        if self.fault == "not finite":
            raise NotFiniteError("the loss is NaN")
        if self.fault == "exits":
            raise SystemExit("bye")
        if self.fault == "score":
            return FlatScore((1,))
        return PriorPosterior((2,) if self.fault == "shape" else (1,))


def cell(method, budget=50, task=None, metrics=("mmd", "score_error"), **changes):
    parts = {"replicates": 2, "posterior_samples": 40, "observations": 2, "root_seed": 5, "timeout": None}
    return Cell(task or Galton(), method, budget, metrics=metrics, **{**parts, **changes})


def test_a_method_sees_its_training_simulations_and_nothing_else():
    SEEN.clear()
    run_cell(cell(Spy()))
    for simulations, _ in SEEN:
        assert {name for name, _ in simulations.tensors()} == {"u", "theta", "x", "joint_score"}
        assert len(simulations) == 50
    assert SEEN[0][1] != SEEN[1][1]
    assert not torch.equal(SEEN[0][0].u, SEEN[1][0].u)


def test_training_data_depend_on_root_seed_task_and_replicate_alone():
    small = training_simulations(cell(get_method("dsm"), budget=20))
    large = training_simulations(cell(get_method("mix", gate="learned"), budget=300, metrics=("mmd",)))
    for a, b in zip(small, large, strict=True):
        assert torch.equal(a.u, b.u[:20])
        assert torch.equal(a.x, b.x[:20])
    other = training_simulations(cell(get_method("dsm"), budget=20, root_seed=6))
    assert not torch.equal(other[0].u, small[0].u)


def test_rows_say_what_they_cost_and_where_they_come_from():
    rows = run_cell(cell(Spy(), metrics=("mmd", "posterior_std_error"))).rows
    assert (rows["status"] == "ok").all()
    assert len(rows) == 2 * 2 * 2
    first = rows.iloc[0]
    assert first["n_simulations"] == first["n_score_calls"] == 50
    assert first["n_network_evaluations"] is pd.NA  # not counted is not none
    assert (first["method"], first["method_version"], first["task_version"]) == ("spy", 3, 1)
    assert first["device"] == "cpu"
    assert (rows["fit_seconds"] > 0).all()
    # all samples are 0 there, so their standard deviation is off by all of the reference's
    assert rows.loc[rows["metric"] == "posterior_std_error", "value"].to_numpy() == pytest.approx(1.0)
    free = run_cell(cell(get_method("dsm", steps=1, width=2), metrics=("mmd",))).rows
    assert (free["n_score_calls"] == 0).all()
    assert (free["n_network_evaluations"] == 33).all()
    for name in ("prior", "rejection_abc"):
        assert (run_cell(cell(get_method(name), metrics=("mmd",))).rows["n_network_evaluations"] == 0).all()


def test_rows_say_where_the_posterior_was_fitted(monkeypatch):
    monkeypatch.setattr(PriorPosterior, "device", "cuda:1")
    assert (run_cell(cell(Spy(), metrics=("mmd",))).rows["device"] == "cuda:1").all()


@pytest.mark.parametrize(
    ("method", "task", "status", "reason"),
    [
        (Spy(fault="raises"), None, "failed", "RuntimeError: the matrix is singular"),
        (Spy(fault="not finite"), None, "not_finite", "the loss is NaN"),
        (Spy(fault="exits"), None, "failed", "SystemExit: bye"),
        (Spy(fault="shape"), None, "failed", r"spy\(fault=shape\) returned samples \(2, 2, 40, 2\)"),
        (Spy(), Broken(), "failed", r"x of the simulator must .* \(128, 2\), but has shape \(128, 3\)"),
        (Spy(), Broken(fault="nan"), "not_finite", "x of simulation 7 is not finite"),
        (Spy(), ByFunctions(fault="singular"), "not_finite", r"x of simulation \d+ is not finite"),
        (Spy(), ByFunctions(fault="nan drift"), "not_finite", "x of simulation 0 is not finite"),
        (get_method("tsm"), Broken(fault="none"), "skipped", "tsm requires marginal_score"),
    ],
)
def test_what_goes_wrong_is_a_row_for_every_metric(method, task, status, reason):
    rows = run_cell(cell(method, task=task)).rows
    assert rows["metric"].tolist() == ["mmd", "score_error"]
    assert (rows["status"] == status).all()
    assert rows["reason"].str.contains(reason).all()
    assert rows["value"].isna().all()


@pytest.mark.parametrize("recipe", ["plain", "preconditioned"])
@pytest.mark.parametrize("early_stopping", [True, False])
def test_training_that_diverges_is_not_finite(recipe, early_stopping):
    method = get_method("dsm", recipe=recipe, early_stopping=early_stopping, rate=1e30, steps=20, width=8)
    rows = run_cell(cell(method)).rows
    assert (rows["status"] == "not_finite").all()
    assert rows["reason"].str.contains("training of replicate 0 diverged").all()


def test_a_metric_that_does_not_apply_takes_no_other_with_it():
    rows = run_cell(cell(Spy(), metrics=("score_error", "mmd"))).rows
    assert rows["status"].tolist() == ["skipped"] + ["ok"] * 4
    assert rows["reason"].iloc[0] == "the method has no score"


def test_a_score_of_a_wrong_shape_fails():
    rows = run_cell(cell(Spy(fault="score"), metrics=("score_error",))).rows
    assert rows["status"].tolist() == ["failed"]
    assert r"score of FlatScore returned shape (2, 500), not (2, 500, 1)" in rows["reason"].iloc[0]


def test_a_task_without_reference_is_skipped_metric_by_metric():
    rows = run_cell(cell(Spy(), task=Broken(fault="none"))).rows
    assert (rows["status"] == "skipped").all()
    assert rows["reason"].str.contains("has no reference").all()


class OddReference(Line):
    """A reference that is one point, or not finite."""

    name: ClassVar[str] = "odd_reference"

    point: float = 2.0

    def reference(self, x_o):
        return SampledReference(torch.full((50, 1), self.point, dtype=torch.float64), None)


OF_SAMPLES = ("mmd", "c2st_mlp", "posterior_mean_error", "posterior_std_error")


def test_a_reference_without_spread_is_named_as_the_cause():
    """The posterior's samples are fine."""
    rows = run_cell(cell(Fast(), task=OddReference(), metrics=OF_SAMPLES)).rows
    place = "the reference of odd_reference, observation 0, has no spread"
    assert dict(zip(rows["metric"], rows["reason"], strict=True)) == {
        "mmd": f"{place}: most of its draws are equal, so the bandwidth of MMD is 0.",
        **dict.fromkeys(OF_SAMPLES[1:], f"{place} in parameter 0."),
    }
    assert (rows["status"] == "failed").all()


def test_a_reference_that_is_not_finite_is_named_as_the_cause():
    rows = run_cell(cell(Fast(), task=OddReference(point=float("nan")), metrics=OF_SAMPLES)).rows
    reason = "the reference of odd_reference(point=nan), observation 0, is not finite."
    assert rows["reason"].tolist() == [reason] * 4


class Far(PriorPosterior):
    """Samples that are finite, but whose squares are not."""

    def __init__(self, value):
        self.value = value

    def sample(self, n, x_o, seed):
        return torch.full((len(x_o), n, 1), self.value, dtype=torch.float64)

    def score(self, u_t, x_o, t):
        return torch.full_like(u_t, torch.nan)


class Wild(Fast):
    name: ClassVar[str] = "wild"

    value: float = 1e200

    def fit(self, simulations, seed):
        return Far(self.value)


@pytest.mark.parametrize(
    ("value", "metric", "reason"),
    [
        (1e200, "posterior_mean_error", "the metric overflows"),
        (float("inf"), "posterior_mean_error", "the posterior's samples are not finite"),
        (float("nan"), "parameter_rmse", "the posterior's samples are not finite"),
        (float("nan"), "predictive_distance", "the posterior's samples are not finite"),
        (0.0, "score_error", "the posterior's score is not finite"),
    ],
)
def test_a_value_that_is_not_finite_names_its_cause(value, metric, reason):
    rows = run_cell(cell(Wild(value=value), task=Line(), metrics=(metric,))).rows
    assert set(rows["status"]) == {"not_finite"}
    assert set(rows["reason"]) == {reason}


@pytest.mark.parametrize(
    ("message", "reason"),
    [("\n  All fits failed.\nTraceback (most recent call last):\n  File", ": All fits failed."), ("", "")],
)
def test_a_reason_is_one_line(message, reason, monkeypatch):
    def fails(self, simulations, seed):
        raise ValueError(message)

    monkeypatch.setattr(Spy, "fit", fails)
    rows = run_cell(cell(Spy(), metrics=("mmd",))).rows
    assert rows["reason"].str.match(rf"ValueError{reason} \(test_measure\.py:\d+ in fails\)$").all()


def test_c2st_of_too_few_samples_says_so_in_one_line():
    rows = run_cell(cell(Fast(), task=Line(), metrics=("c2st_mlp",), posterior_samples=3)).rows
    (reason,) = set(rows["reason"])
    assert reason.startswith("ValueError: n_splits=5 cannot be greater than the number of members")
    assert "\n" not in reason


ITEMS = get_task("linear_gaussian", draws=5)


def in_items(method, budget, task=ITEMS, **changes):
    return cell(method, budget, task, budget_in_items=True, **changes)


def test_a_budget_of_items_is_spent_on_single_items_by_a_method_that_composes_them():
    composing, other = get_method("dsm", steps=1, composition="gauss"), get_method("dsm", steps=1)
    single = training_simulations(in_items(composing, 52))
    assert all(s.x.shape == (52, 2) for s in single)
    assert all(s.x.shape == (10, 10) for s in training_simulations(in_items(other, 52)))
    more = training_simulations(in_items(composing, 52, ITEMS.with_items(20)))
    assert all(a.x.equal(b.x) for a, b in zip(single, more, strict=True))
    assert in_items(composing, 52).title == (
        "linear_gaussian(draws=5) · dsm(composition=gauss, steps=1) · budget 52 items"
    )


def test_rows_of_a_budget_of_items_say_what_they_cost():
    """An ode of 40 steps in two dimensions evaluates a network 85 times, and five items 425 times."""
    rows = run_cell(
        in_items(get_method("mix", steps=1, width=2, sampler="ode", composition="factorised"), 52)
    ).rows
    assert (rows["status"] == "ok").all()
    assert (rows["budget"] == 52).all()
    assert (rows["n_simulations"] == 52).all()
    assert (rows["n_score_calls"] == 52).all()
    assert (rows["n_network_evaluations"] == 425).all()
    rows = run_cell(in_items(get_method("mix", steps=1, width=2, sampler="ode"), 52)).rows
    assert (rows["n_simulations"] == 10).all()
    assert (rows["n_network_evaluations"] == 85).all()


def test_a_budget_of_too_few_items_is_skipped():
    rows = run_cell(in_items(get_method("sbi_npe"), 14)).rows
    assert (rows["status"] == "skipped").all()
    expected = "14 items are 2 simulations of linear_gaussian(draws=5), but sbi_npe needs 3 or more"
    assert (rows["reason"] == expected).all()


def test_the_target_of_single_items_is_not_measured_on_simulations_of_many():
    method = get_method("mix", steps=1, width=2, composition="gauss")
    rows = run_cell(in_items(method, 50, metrics=("excess_variance", "optimal_weight"))).rows
    assert list(rows.loc[rows["metric"] == "excess_variance", "status"]) == ["skipped"]
    assert (rows.loc[rows["metric"] == "optimal_weight", "status"] == "ok").all()
