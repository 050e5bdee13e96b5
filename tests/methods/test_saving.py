"""What is saved is what is loaded; what a stranger saved runs no code, and ends in one sentence."""

import json
import pickle
import re
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from graybench.methods import get_method, load_posterior
from graybench.methods.method import Method, Posterior, PosteriorState
from graybench.methods.saving import DESCRIPTION, PICKLED, TENSORS
from graybench.tasks import get_task
from graybench.tasks.errors import UserError

TASK = get_task("linear_gaussian")
X_O = TASK.observations().x
SMALL = {"steps": 2, "width": 8}
IN_TENSORS = (
    ("prior", {}),
    ("rejection_abc", {"share": 0.1, "least": 3}),
    ("dsm", SMALL),
    ("ltsm", {"rate": 0.01, "sampler": "exponential", **SMALL}),
    ("mix", {"gate": "state", "recipe": "plain", "early_stopping": False, "sampler": "sde", **SMALL}),
)


def fitted(name, options, budget=100):
    return get_method(name, **options).fit(TASK.simulate(budget, 1), 1)


class Constant(Posterior):
    """It draws `value` in (1, 1) dimensions for ever, and has no state."""

    def __init__(self, value):
        self.value = value

    def sample(self, n, x_o, seed):
        return torch.full((len(x_o), n, 1), self.value)


class Nameless(Constant):
    """It holds a function that pickle cannot name."""

    def __init__(self):
        self.draw = lambda n, x_o: torch.zeros(len(x_o), n, 1)


class Unregistered(Method):
    """A user's own method, whose posterior has a state."""

    name: ClassVar[str] = "unregistered"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "constant samples"

    scale: float = 1.0

    def fit(self, simulations, seed):
        return Stateful(self, simulations.u.mean(0).float())

    def restore(self, state, dims):
        return Stateful(self, state.tensor("value", dims[0]))


class Stateful(Posterior):
    def __init__(self, method, value):
        self.method, self.value = method, value

    def sample(self, n, x_o, seed):
        return self.method.scale * self.value.expand(len(x_o), n, -1)

    def state(self):
        return PosteriorState(self.method, {"value": self.value})


@pytest.mark.parametrize(("name", "options"), IN_TENSORS, ids=[name for name, _ in IN_TENSORS])
def test_tensors_and_json_give_the_same_samples(tmp_path, name, options):
    posterior, folder = fitted(name, options), tmp_path / "new" / "folder"
    posterior.save(folder)
    assert {path.name for path in folder.iterdir()} == {DESCRIPTION, TENSORS}
    loaded = load_posterior(folder)
    assert loaded.sample(20, X_O, 3).equal(posterior.sample(20, X_O, 3))
    assert loaded.dims == posterior.dims == (TASK.dim_theta, TASK.dim_x)


def test_what_was_saved_last_is_loaded(tmp_path):
    saved = [fitted("rejection_abc", {}), Constant(2.0), fitted("dsm", SMALL)]
    for posterior in (*saved, *saved):
        posterior.save(tmp_path, allow_pickle=True)
        loaded = load_posterior(tmp_path, allow_pickle=True)
        assert loaded.sample(20, X_O, 3).equal(posterior.sample(20, X_O, 3))


@pytest.mark.parametrize("budget", [9, 200])  # with fewer than 10 the gain has no standard error
def test_the_choice_of_a_gate_is_saved_with_its_posterior(tmp_path, budget):
    posterior = fitted("mix", {"gate": "auto", **SMALL}, budget)
    posterior.save(tmp_path)
    json.loads((tmp_path / DESCRIPTION).read_text(), parse_constant=pytest.fail)  # NaN is not JSON
    gate, *numbers = load_posterior(tmp_path).choice
    assert gate == posterior.choice.gate
    np.testing.assert_array_equal(numbers, posterior.choice[1:])
    assert np.isnan(numbers[1]) == (budget < 10)


def test_a_method_of_the_users_own_is_handed_over(tmp_path):
    posterior = Unregistered(2.0).fit(TASK.simulate(10, 1), 1)
    posterior.save(tmp_path)
    with pytest.raises(UserError, match=r"'unregistered', which is not a registered method: use"):
        load_posterior(tmp_path)
    loaded = load_posterior(tmp_path, method=Unregistered())
    assert loaded.sample(3, X_O, 1).equal(posterior.sample(3, X_O, 1))
    with pytest.raises(UserError, match="holds a posterior of 'unregistered', not of 'dsm'"):
        load_posterior(tmp_path, method=get_method("dsm"))


class TestPickles:
    def test_one_is_written_only_on_request(self, tmp_path):
        folder = tmp_path / "posterior"
        with pytest.raises(
            UserError, match=r"^Constant has no form in tensors and JSON: .*allow_pickle=True"
        ):
            Constant(1.0).save(folder)
        assert not folder.exists()
        Constant(1.0).save(folder, allow_pickle=True)
        assert [path.name for path in folder.iterdir()] == [PICKLED]

    def test_one_is_read_only_on_request(self, tmp_path):
        """Its code would write a file."""
        folder, told = tmp_path / "posterior", tmp_path / "it ran"
        folder.mkdir()
        (folder / PICKLED).write_bytes(pickle.dumps(Trap(str(told))))
        with pytest.raises(UserError, match="holds a pickle, which can run any code when it is read"):
            load_posterior(folder)
        assert not told.exists()
        with pytest.raises(UserError, match="holds a TextIOWrapper, not a posterior"):
            load_posterior(folder, allow_pickle=True)
        assert told.exists()

    def test_one_beside_tensors_is_not_read(self, tmp_path):
        posterior, told = fitted("prior", {}), tmp_path / "it ran"
        posterior.save(tmp_path)
        (tmp_path / PICKLED).write_bytes(pickle.dumps(Trap(str(told))))
        loaded = load_posterior(tmp_path, allow_pickle=True)
        assert loaded.sample(3, X_O, 1).equal(posterior.sample(3, X_O, 1))
        assert not told.exists()

    def test_what_cannot_be_pickled_is_said_and_nothing_is_written(self, tmp_path):
        with pytest.raises(UserError, match=r"Nameless cannot be pickled \(.*\): define `state`"):
            Nameless().save(tmp_path / "posterior", allow_pickle=True)
        assert not (tmp_path / "posterior").exists()

    def test_what_is_no_pickle_is_said(self, tmp_path):
        (tmp_path / PICKLED).write_bytes(b"no pickle")
        with pytest.raises(UserError, match=r"posterior.pickle cannot be read: \w+"):
            load_posterior(tmp_path, allow_pickle=True)


class Trap:
    """Unpickling it opens a file for writing."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


class TestStrangers:
    """Files that are changed after saving: each load ends in one sentence, and runs nothing."""

    @pytest.fixture(params=["rejection_abc", "dsm"])
    def folder(self, request, tmp_path):
        fitted(request.param, dict(IN_TENSORS)[request.param]).save(tmp_path)
        return tmp_path

    def refused(self, folder):
        with pytest.raises(UserError) as caught:
            load_posterior(folder)
        (sentence,) = str(caught.value).splitlines()
        assert re.search(r"[^.]\.$", sentence), sentence
        return sentence

    def describe(self, folder, **changes):
        description = json.loads((folder / DESCRIPTION).read_text())
        (folder / DESCRIPTION).write_text(json.dumps(description | changes))
        return self.refused(folder)

    def test_a_module_that_could_be_imported_is_not(self, folder, monkeypatch):
        monkeypatch.syspath_prepend(folder)
        monkeypatch.chdir(folder)
        (folder / "evil.py").write_text("open('it ran', 'w')\nclass Method: ...\n")
        for name in ("evil:Method", "evil.py:Method", "graybench.methods.score.score_matching:DSM"):
            assert "not a registered method" in self.describe(folder, method=name)
        assert not (folder / "it ran").exists()

    @pytest.mark.parametrize(
        ("changes", "what"),
        [
            ({"method": 3}, "method: Input should be a valid string"),
            ({"method": "ltsm_"}, "not a registered method"),
            ({"options": [1]}, "options: Input should be an object"),
            ({"options": {"nonsense": 1}}, "has no option 'nonsense'"),
            ({"options": {"steps": {"a": 1}}}, "options.steps"),
            ({"dims": [10, -1]}, "dims.1: Input should be greater than 0"),
            ({"dims": [10]}, "dims"),
            ({"dims": None}, "dims"),
            ({"dims": [10, 2.5]}, "dims.1"),
            ({"dims": [11, 10]}, "must have shape"),
            ({"dims": [10, 11]}, "must have shape"),
            ({"more": 1}, "more: Extra inputs"),
        ],
    )
    def test_a_wrong_description_is_said(self, folder, changes, what):
        assert what in self.describe(folder, **changes)

    @pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1]", b"{", b"[" * 100_000])
    def test_what_is_no_description_is_said(self, folder, content):
        (folder / DESCRIPTION).write_bytes(content)
        assert "posterior.json does not describe a saved posterior" in self.refused(folder)

    def test_a_missing_description_is_said(self, folder):
        (folder / DESCRIPTION).unlink()
        assert "posterior.json does not describe a saved posterior: No such file" in self.refused(folder)

    @pytest.mark.parametrize("content", [None, b"", b"rubbish", b"\xff" * 100])
    def test_files_without_tensors_are_said(self, folder, content):
        if content is None:
            (folder / TENSORS).unlink()
        else:
            (folder / TENSORS).write_bytes(content)
        assert "posterior.safetensors holds no readable tensors" in self.refused(folder)

    def test_each_tensor_is_missed_and_must_have_its_shape_and_type(self, folder):
        tensors = load_file(folder / TENSORS)
        changes = {
            "there is no tensor {}": lambda tensor: None,
            "tensor {} must have shape": lambda tensor: tensor.unsqueeze(0).contiguous(),
            "{} must have": lambda tensor: tensor.half(),
        }
        for name in tensors:
            for sentence, change in changes.items():
                own = {key: change(value) if key == name else value for key, value in tensors.items()}
                save_file({key: v for key, v in own.items() if v is not None}, folder / TENSORS)
                said = self.refused(folder)
                # a missing u makes the number of simulations 0, so that x has a wrong shape
                assert sentence.format(name) in said or name == "u", said

    def test_the_choice_of_a_gate_must_be_one(self, tmp_path):
        fitted("dsm", SMALL).save(tmp_path)
        for choice in (3, ["dsm"], ["dsm", 1], ["dsm", "a", 1], {"gate": 1}, None):
            assert "its choice must be" in self.describe(tmp_path, facts={"choice": choice})

    def test_an_unknown_tensor_is_said(self, tmp_path):
        fitted("dsm", SMALL).save(tmp_path)
        save_file({**load_file(tmp_path / TENSORS), "z": torch.zeros(1)}, tmp_path / TENSORS)
        assert "tensor z is unknown" in self.refused(tmp_path)

    def test_a_method_that_makes_no_such_posterior_is_said(self, folder):
        assert "cannot restore a posterior from tensors and JSON" in self.describe(
            folder, method="bridge_is", options={}
        )


def test_what_is_no_json_is_not_written(tmp_path):
    for scale in (float("nan"), (1.0, 2.0)):
        posterior = Unregistered(scale).fit(TASK.simulate(10, 1), 1)
        with pytest.raises(UserError, match=r"a posterior of unregistered cannot be saved: options\.scale"):
            posterior.save(tmp_path / "posterior")
    posterior = Stateful(Unregistered(), torch.zeros(2))  # which nobody fitted
    with pytest.raises(UserError, match=r"a posterior of unregistered cannot be saved: dims"):
        posterior.save(tmp_path / "posterior")
    assert not (tmp_path / "posterior").exists()


@pytest.mark.parametrize("pickled", [False, True])
def test_a_folder_that_takes_no_files_is_said(tmp_path, pickled):
    """Files of more than 16 bytes are refused by the system."""
    resource = pytest.importorskip("resource")
    posterior = Constant(1.0) if pickled else fitted("prior", {})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, limits[1]))
    try:
        with pytest.raises(UserError, match=r"folder cannot hold a posterior: File too large\."):
            posterior.save(tmp_path / "folder", allow_pickle=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_file_in_place_of_a_folder_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file cannot hold a posterior: File exists"):
        fitted("prior", {}).save(tmp_path / "file")
