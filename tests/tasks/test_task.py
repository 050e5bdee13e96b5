"""The contract of tasks: prefixes, seeds, the global generator, shapes, and the names of plug-ins."""

import json
import re
from typing import ClassVar

import numpy as np
import pytest
import torch

from graybench.tasks import REGISTRY, get_task
from graybench.tasks.classic.galton import Galton
from graybench.tasks.errors import NotFiniteError, UserError
from graybench.tasks.prior import Normal
from graybench.tasks.seeding import derive_seed, generator
from graybench.tasks.task import Outcome, Task


class Broken(Task):
    name: ClassVar[str] = "broken"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Gives what its option says."
    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score"})

    fault: str = "shape"

    prior = Normal()
    dim_theta = 1
    dim_x = 2

    def simulator(self, theta, generator):
        x = torch.zeros(len(theta), 3 if self.fault == "shape" else 2)
        if self.fault == "nan":
            x[7] = torch.nan
        return Outcome(x, None if self.fault == "no_score" else torch.zeros(len(theta), 1))


def same(a, b):
    return all(torch.equal(left, getattr(b, name)) for name, left in a.tensors())


@pytest.mark.parametrize(("few", "many"), [(1, 2), (100, 1000), (128, 129), (300, 70_000)])
def test_a_smaller_budget_is_the_start_of_a_larger_one(few, many):
    task = Galton()
    assert same(task.simulate(few, seed=3), task.simulate(many, seed=3)[:few])
    assert len(task.simulate(few, seed=3)) == few


def test_seeds_name_streams_and_the_global_generator_is_left_alone():
    task = Galton()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again, other = task.simulate(500, 1), task.simulate(500, 1), task.simulate(500, 2)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    assert same(first, task.simulate(500, 1))
    assert same(first, again)
    assert not torch.equal(first.u, other.u)


def test_derived_seeds_are_fixed_and_apart():
    assert derive_seed(1, "train", "galton", 0) == 5625928649214847114
    names = [(r, stage, k) for r in range(10) for stage in ("train", "fit") for k in range(50)]
    assert len({derive_seed(*name) for name in names}) == len(names)


def test_blocks_have_independent_streams():
    u = Galton().simulate(256, seed=1).u[:, 0]
    assert not torch.equal(u[:128], u[128:])


def test_simulate_at_runs_at_the_given_parameters():
    theta = torch.tensor([[0.5], [-1.0]], dtype=torch.float64)
    simulations = Galton().simulate_at(theta, seed=1)
    torch.testing.assert_close(simulations.theta, theta)
    expected = Galton().simulator(theta, generator(1))
    assert torch.equal(simulations.x, expected.x)
    torch.testing.assert_close(simulations.joint_score, expected.joint_score.double() - theta)


@pytest.mark.parametrize("name", ["galton", "ar1_noise", "gaussian_mixture", "linear_gaussian"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_simulate_at_takes_any_real_dtype(name, dtype):
    task = get_task(name)
    theta = torch.ones(2, task.dim_theta, dtype=dtype)
    found, expected = (task.simulate_at(at, seed=1) for at in (theta, theta.double()))
    assert all(torch.equal(value, dict(expected.tensors())[key]) for key, value in found.tensors())


@pytest.mark.parametrize(
    ("theta", "sentence"),
    [
        (torch.tensor([[0.0, 0.5], [2.0, 0.5]]), r"theta \[2.0, 0.5\] of row 1 is not inside the prior's"),
        (torch.tensor([[1, 0]]), r"theta \[1, 0\] of row 0 is not inside"),
        (torch.tensor([[0.0, torch.nan]]), r"theta \[0.0, nan\] of row 0 is not inside"),
        (torch.zeros(2), r"task sbibm_two_moons: theta must have shape \(n, 2\), not \(2,\)"),
    ],
)
def test_simulate_at_refuses_what_is_not_inside_the_prior(theta, sentence):
    """The prior is uniform on (−1, 1)²: 1 is its edge, where u is infinite."""
    with pytest.raises(UserError, match=sentence):
        get_task("sbibm_two_moons").simulate_at(theta, seed=1)


def test_observations_are_the_same_every_time_and_all_different():
    first, second = Galton().observations(), Galton().observations()
    assert torch.equal(first.x, second.x)
    assert len(first.x.unique(dim=0)) == len(first.x) == 5
    torch.testing.assert_close(Galton().prior.to_theta(first.u), first.theta)


def test_only_keeps_what_a_method_declares():
    full = Galton().simulate(10, 1, marginal_score=True)
    assert {n for n, _ in full.only(frozenset()).tensors()} == {"u", "theta", "x"}
    assert full.only(frozenset({"joint_score"})).marginal_score is None
    assert torch.equal(full.only(frozenset({"joint_score"})).joint_score, full.joint_score)


def test_wrong_shapes_missing_scores_and_nan_are_named():
    with pytest.raises(ValueError, match=r"x of the simulator .* shape \(128, 2\), but has shape \(128, 3\)"):
        Broken().simulate(5, 0)
    with pytest.raises(ValueError, match=r"joint_score of the simulator must .*, but is a NoneType"):
        Broken(fault="no_score").simulate(5, 0)
    with pytest.raises(NotFiniteError, match="x of simulation 7 is not finite"):
        Broken(fault="nan").simulate(20, 0).check_finite()


@pytest.mark.parametrize("n", [0, -3])
def test_empty_budgets_are_rejected(n):
    with pytest.raises(UserError, match="must be a whole number from 1 up"):
        Galton().simulate(n, 0)


def test_a_task_without_reference_or_marginal_score_says_so():
    task = Broken(fault="none")
    with pytest.raises(UserError, match="no reference posterior"):
        task.reference(torch.zeros(2))
    with pytest.raises(UserError, match="no marginal score"):
        task.simulate(3, 0, marginal_score=True)


class WrongMarginal(Galton):
    """Its marginal scores have no columns."""

    name: ClassVar[str] = "wrong_marginal"

    def marginal_score(self, theta, x):
        return super().marginal_score(theta, x)[:, 0]


def test_a_wrong_marginal_score_is_not_blamed_on_the_simulator():
    sentence = (
        r"task wrong_marginal: the result of marginal_score must be a tensor of shape \(3, 1\), but has"
    )
    with pytest.raises(ValueError, match=sentence):
        WrongMarginal().simulate(3, 1, marginal_score=True)


def test_a_misspelt_kind_of_reference_is_found_when_the_class_is_made():
    with pytest.raises(UserError, match=r"task Wrong: there is no reference_kind 'exat': did you mean exact"):
        type("Wrong", (Task,), {"reference_kind": "exat"})


def test_a_misspelt_capability_is_found_when_the_class_is_made():
    with pytest.raises(UserError, match=r"no capability 'joint_scores': did you mean joint_score"):
        type("Wrong", (Task,), {"capabilities": frozenset({"joint_scores"})})


def test_settings_are_short_and_canonical():
    assert get_task("galton").settings == ""
    assert get_task("galton", rows=20).label == "galton"
    assert get_task("galton", nails=11, balls=3).label == "galton(balls=3, nails=11)"
    assert get_task("galton", rows=20) == Galton()
    assert get_task("graybench.tests.tasks.test_task:Broken", fault="nan").settings == "fault=nan"


class Unfinished(Task):
    name: ClassVar[str] = "unfinished"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Has no simulator."
    capabilities: ClassVar[frozenset[str]] = frozenset()


class Nameless(Task):
    pass


class Unlicensed(Broken):
    def __init__(self):
        raise RuntimeError("no\nlicence")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("graybench.tests.tasks.test_task:Unfinished", {}, "cannot be made: .* abstract methods .*simulator"),
        ("graybench.tests.tasks.test_task:Unlicensed", {}, r"cannot be made: RuntimeError: no licence\.$"),
        (
            "graybench.tests.tasks.test_task:Nameless",
            {},
            "must set name, version, summary, capabilities: no name",
        ),
        ("galtom", {}, r"no task 'galtom': did you mean galton\?"),
        ("zzz", {}, r"no task 'zzz': there are ar1_noise, brownian"),
        ("galton", {"row": 3}, r"no option 'row': did you mean rows\?"),
        ("graybench.tests.tasks.test_task:Broken", {"fault": "two words"}, "fault must have no spaces"),
        ("graybench.tests.tasks.test_task:Broken", {"fault": ""}, "fault must not be empty, but is ''"),
        ("nowhere:Task", {}, "cannot be imported"),
        ("graybench.tasks.classic.galton:Nothing", {}, r"galton\.py has no Nothing\."),
        ("graybench.tasks.prior:Normal", {}, "is not a task"),
    ],
)
def test_mistakes_in_names_are_answered_with_what_to_do(name, options, message):
    with pytest.raises(UserError, match=message):
        get_task(name, **options)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def broken(:", "SyntaxError: invalid syntax (raising.py, line 1)"),
        ("raise RuntimeError('no\\nlicence.')", "RuntimeError: no licence"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise ArithmeticError", "ArithmeticError"),
    ],
)
def test_whatever_a_module_raises_is_told_in_one_sentence(source, told, tmp_path, monkeypatch):
    (tmp_path / "raising.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError) as caught:
        get_task("raising:Task")
    where = "the current folder and the environment"
    assert str(caught.value) == f"task raising:Task cannot be imported from {where}: {told}."


@pytest.mark.parametrize("name", [n for n in REGISTRY.names() if "reference" in get_task(n).capabilities])
def test_references_are_of_one_finite_observation(name):
    task = get_task(name)
    x_o = task.observations().x[0]
    for wrong in (x_o.unsqueeze(0), torch.cat([x_o, x_o]), x_o[0]):
        shape = re.escape(f"of shape ({task.dim_x},), but x_o has shape {tuple(wrong.shape)}.")
        with pytest.raises(UserError, match=shape):
            task.reference(wrong)
    with pytest.raises(UserError, match=r"the observation .*nan.* is not finite"):
        task.reference(torch.full_like(x_o, torch.nan))


@pytest.mark.parametrize("spread", [10, 10.0, np.int64(10), np.float64(10.0)])
def test_equal_options_are_written_alike(spread):
    """Labels seed the simulations; options name the cell."""
    task = get_task("linear_gaussian", dim=np.int64(3), spread=spread, rotated=True)
    assert task == get_task("linear_gaussian", dim=3, spread=10.0, rotated=True)
    assert task.label == "linear_gaussian(dim=3, rotated=true, spread=10.0)"
    assert json.dumps(task.options()) == '{"dim": 3, "spread": 10.0, "rotated": true, "draws": 1}'


def test_numbers_and_seeds_may_be_whole_numbers_of_numpy():
    task = get_task("linear_gaussian")
    found, expected = task.simulate(np.int64(5), np.int64(3)), task.simulate(5, 3)
    assert torch.equal(found.x, expected.x)
    assert torch.equal(task.simulate_at(found.theta, np.uint8(3)).x, task.simulate_at(found.theta, 3).x)
    assert derive_seed(np.int64(1), "train", "galton", np.int32(0)) == 5625928649214847114


@pytest.mark.parametrize("n", [True, np.True_, 5.0, np.float64(5.0), "5", None, 0, np.int64(-1)])
def test_what_is_no_number_of_simulations_is_said(n):
    sentence = f"the number of simulations must be a whole number from 1 up, but is {n!r}."
    with pytest.raises(UserError, match=re.escape(sentence)):
        get_task("linear_gaussian").simulate(n, 0)
