"""Posteriors without a `save` of their own are pickled; the others are tested beside their methods."""

import json
import pickle

import numpy as np
import pytest
import torch

from graybench.methods import get_method, load_posterior
from graybench.methods.method import PICKLED, Posterior
from graybench.tasks import get_task
from graybench.tasks.errors import UserError

LAST = (("rejection_abc", {}), ("dsm", {"steps": 2, "width": 8}))


class Nameless(Posterior):
    """It holds a function that pickle cannot name."""

    def __init__(self):
        self.draw = lambda n, x_o: torch.zeros(len(x_o), n, 1)

    def sample(self, n, x_o, seed):
        return self.draw(n, x_o)


def test_a_pickled_posterior_gives_the_same_samples(tmp_path):
    task = get_task("linear_gaussian")
    posterior, x_o = get_method("rejection_abc").fit(task.simulate(200, 1), 1), task.observations().x
    posterior.save(tmp_path / "new" / "folder")
    loaded = load_posterior(tmp_path / "new" / "folder")
    assert loaded.sample(20, x_o, 3).equal(posterior.sample(20, x_o, 3))


def test_what_was_saved_last_is_loaded(tmp_path):
    task = get_task("linear_gaussian")
    simulations, x_o = task.simulate(100, 1), task.observations().x
    fitted = [get_method(name, **options).fit(simulations, 1) for name, options in LAST]
    for posterior in (*fitted, *fitted):
        posterior.save(tmp_path)
        assert load_posterior(tmp_path).sample(20, x_o, 3).equal(posterior.sample(20, x_o, 3))


@pytest.mark.parametrize("budget", [9, 200])  # with fewer than 10 the gain has no standard error
def test_the_choice_of_a_gate_is_saved_with_its_posterior(tmp_path, budget):
    task = get_task("linear_gaussian")
    posterior = get_method("mix", gate="auto", steps=2, width=8).fit(task.simulate(budget, 1), 1)
    posterior.save(tmp_path)
    json.loads((tmp_path / "posterior.json").read_text(), parse_constant=pytest.fail)  # NaN is not JSON
    gate, *numbers = load_posterior(tmp_path).choice
    assert gate == posterior.choice.gate
    np.testing.assert_array_equal(numbers, posterior.choice[1:])
    assert np.isnan(numbers[1]) == (budget < 10)


def test_what_cannot_be_pickled_is_said_and_nothing_is_written(tmp_path):
    with pytest.raises(UserError, match=r"Nameless cannot be pickled, so give it a `save` of its own"):
        Nameless().save(tmp_path / "posterior")
    assert not (tmp_path / "posterior").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"no pickle", r"posterior.pickle cannot be read: \w+"),
        (pickle.dumps([1, 2]), r"posterior.pickle holds no posterior, but a list"),
    ],
)
def test_what_is_no_posterior_is_said(tmp_path, content, sentence):
    (tmp_path / PICKLED).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        load_posterior(tmp_path)


def test_an_empty_folder_is_said(tmp_path):
    with pytest.raises(UserError, match=r"posterior.json does not describe a saved posterior"):
        load_posterior(tmp_path)
