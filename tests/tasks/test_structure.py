"""The structure of data: forms, sizes, and how a task hands it to methods."""

import pickle
from typing import ClassVar

import pytest
import torch

from graybench import Field, Items, Normal, Outcome, Series, Simulations, Task, UserError, Vector

TWICE = ((1.0, 10.0), (2.0, 20.0))


class Structured(Task):
    name: ClassVar[str] = "structured"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Six zeros."
    capabilities: ClassVar[frozenset[str]] = frozenset()
    prior = Normal()
    dim_theta = 1
    dim_x = 6
    structure = Items(3, Items(2), independent=True)

    def simulator(self, theta, generator):
        return Outcome(torch.zeros(len(theta), 6))


class Plain(Structured):
    structure = Task.structure


@pytest.mark.parametrize(
    ("structure", "size", "form"),
    [
        (Vector(3), 3, [0, 1, 2]),
        (Items(3), 3, [[0], [1], [2]]),
        (Items(2, 2), 4, [[0, 1], [2, 3]]),
        (Items(2, Vector(2)), 4, [[0, 1], [2, 3]]),
        (Items(2, Items(3)), 6, [[[0], [1], [2]], [[3], [4], [5]]]),
        (Items(2, regressors=TWICE), 2, [[0, 1, 10], [1, 2, 20]]),
        (Items(2, Items(2, regressors=((7.0,), (8.0,)))), 4, [[[0, 7], [1, 8]], [[2, 7], [3, 8]]]),
        (Items(2, Items(2), regressors=TWICE), 4, [[[0, 1, 10], [1, 1, 10]], [[2, 2, 20], [3, 2, 20]]]),
        (Items(2, Series(2, 2)), 8, [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]),
        (Series(2, 3), 6, [[0, 1, 2], [3, 4, 5]]),
        (Series(2, 3, channels_last=False), 6, [[0, 2, 4], [1, 3, 5]]),
        (Field((2, 2)), 4, [[[0], [1]], [[2], [3]]]),
        (Field((3,), 2), 6, [[0, 1], [2, 3], [4, 5]]),
    ],
)
@pytest.mark.parametrize("batch", [(), (1,), (4, 3)])
def test_x_in_its_form(structure, size, form, batch):
    assert structure.size == size
    expected = torch.tensor(form, dtype=torch.float64)
    x = torch.arange(size, dtype=torch.float64).expand(*batch, size)
    assert torch.equal(structure.unflatten(x), expected.expand(*batch, *expected.shape))


def test_structures_compare_hash_and_pickle():
    structure = Items(2, Series(3, 2), regressors=TWICE)
    assert {structure: 1}[pickle.loads(pickle.dumps(structure))] == 1
    assert structure != Items(2, Series(3, 2))
    assert "10.0" not in repr(structure)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Vector(0), "structure Vector: length must be a whole number from 1 up, but is 0."),
        (lambda: Items(0), "structure Items: n must be a whole number from 1 up, but is 0."),
        (lambda: Items(3, 1.5), "structure Items: item must be a whole number from 1 up, but is 1.5."),
        (lambda: Series(0), "structure Series: steps must be a whole number from 1 up, but is 0."),
        (lambda: Series(5, -1), "structure Series: channels must be a whole number from 1 up, but is -1."),
        (lambda: Field((3, 0)), "structure Field: each number of shape must be a whole number from 1 up"),
        (lambda: Field(9), r"structure Field: shape must be a tuple like \(32, 32\), but is 9."),
        (lambda: Items(3, regressors=TWICE), "tuple of 3 tuples .*, one for each item, but there are 2."),
        (lambda: Items(2, regressors=((1.0,), (1.0, 2.0))), "but their lengths are 1 to 2."),
        (lambda: Items(2, regressors=[[1.0], [2.0]]), "must be a tuple of 2 tuples of numbers"),
        (lambda: Items(2, regressors=(1.0, 2.0)), "must be a tuple of 2 tuples of numbers"),
        (lambda: Items(2, regressors=((1.0,), (torch.nan,))), r"those of item 1 are \(nan,\)."),
    ],
)
def test_a_wrong_structure_is_refused_in_a_sentence(make, sentence):
    with pytest.raises(UserError, match=sentence):
        make()


def test_simulations_carry_the_structure_of_their_task():
    task, structure = Structured(), Structured.structure
    many = task.simulate(300, seed=1)  # three blocks, joined
    some = (many, many[:7], many[[1, 2]], many.only(frozenset()), task.simulate_at(many.theta, seed=1))
    assert {part.structure for part in some} == {structure}
    assert "structure" not in dict(many.tensors())
    many.check_tensors()


def test_the_default_is_a_vector():
    assert Plain().simulate(3, seed=1).structure == Vector(6)
    assert Simulations(*torch.zeros(3, 2, 2)).structure is None


@pytest.mark.parametrize(
    ("structure", "sentence"),
    [
        (Items(4, 2), "task structured: the structure Items has size 8, but dim_x is 6."),
        (6, r"task structured: structure must be a Structure such as Items\(10\), but is a int."),
    ],
)
def test_a_task_with_a_wrong_structure_says_so(structure, sentence):
    wrong = type("Wrong", (Structured,), {"structure": structure})
    with pytest.raises(UserError, match=sentence):
        wrong().simulate(3, seed=1)


def test_simulations_with_a_wrong_structure_say_so():
    wrong = Simulations(*torch.zeros(3, 2, 2), structure=Series(3))
    with pytest.raises(UserError, match=r"simulations: the structure Series has size 3, but dim_x is 2\."):
        wrong.check_tensors()
