"""The check of the structure of data: what is computed exactly, what it leaves alone, and its false alarms.

`test_conformance` has the faults that only simulations show.
"""

import math
from typing import ClassVar

import pytest
import torch

from graybench.benchmark.checks.conformance import check_task
from graybench.benchmark.checks.evidence import NotApplicableError
from graybench.benchmark.checks.structures import structure
from graybench.tasks.structure import Field, Items, Series
from graybench.tests.benchmark.checks.broken_structures import (
    DECLARED,
    FAULTS,
    KnownReadings,
    LikelyReadings,
    Readings,
    ScoredReadings,
)

EXACT = {LikelyReadings: "log p(x | θ)", ScoredReadings: "marginal score", KnownReadings: "reference"}


def exact(task):
    """Return the statistics of what the task computes, by the name of the level of items."""
    found = structure(task, 1_000, seed=1).statistics
    return {s.name.split(": ")[0]: s.z for s in found if " in another order" in s.name}


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize(
    ("law", "declared", "broken"),
    [
        ("alike", "independent", [0]),
        ("together", "items", [0]),
        ("alike", "pairs", [0]),
        ("groups", "groups", [0, 0]),
        ("twice", "twice", [0]),
        ("series", "items", [math.inf]),
        ("drift", "items", [math.inf]),
        ("line", "items", [math.inf]),
        ("twice", "swapped", [math.inf]),
    ],
)
def test_what_a_task_computes_does_not_depend_on_the_order_of_items(kind, law, declared, broken):
    found = exact(kind(law, declared))
    assert list(found.values()) == broken
    assert all(name.startswith(EXACT[kind]) for name in found)


def test_the_levels_of_groups_are_reordered_apart():
    """Groups that are alike, of items that are not."""
    names = ("items", "items of items")
    assert exact(LikelyReadings("graded", "groups")) == {
        f"log p(x | θ), {name} in another order": z for name, z in zip(names, (0, math.inf), strict=True)
    }


def test_items_with_different_regressors_are_left_where_they_are():
    assert exact(LikelyReadings("line", "line")) == {}


class Dependent(Readings):
    """Readings with different regressors and a common latent."""

    structure = Items(12, regressors=DECLARED["line"].regressors)


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        (Series(12), "a series claims nothing that data can contradict, but its size"),
        (Field((3, 4)), "a field claims nothing that data can contradict, but its size"),
        (Items(1, 12), "claims nothing"),
        (Dependent.structure, "all items have different regressors, and none are independent given θ"),
    ],
)
def test_what_cannot_be_tested_is_skipped_with_the_reason(declared, reason):
    with pytest.raises(NotApplicableError, match=reason):
        structure(type("Declared", (Readings,), {"structure": declared})(), 1_000, seed=1)


def test_a_structure_of_another_size_fails():
    wrong = type("Wrong", (Readings,), {"structure": Series(13)})
    (found,) = [finding for finding in check_task(wrong(), 1_000, seed=1) if finding.check == "structure"]
    assert "the structure Series has size 13, but dim_x is 12" in found.note


@pytest.mark.parametrize("task", [task for kind, _, task in FAULTS if kind == "none"])
def test_right_declarations_pass_at_ten_seeds(task):
    """A correct task fails in one of 20,000 seeds."""
    assert_passes(task)


def assert_passes(task):
    for seed in range(10):
        found = structure(task, 2_000, seed)
        assert found.diagnosis == "", (task.label, seed, found)


class Rare(Readings):
    """Independent items that are 0 in all but 1 of 200 runs."""

    structure: ClassVar = Items(12, independent=True)

    def simulator(self, theta, generator):
        outcome = super().simulator(theta, generator)
        happens = torch.rand(outcome.x.shape, generator=generator) < 0.005
        return outcome._replace(x=happens * outcome.x)


def test_rare_events_pass():
    assert_passes(Rare())


@pytest.mark.parametrize("task", [Readings("groups", "groups"), Readings("twice", "twice")])
def test_the_statistics_of_a_right_declaration_are_standard_normal(task):
    """The mean square of all statistics in 40 seeds was 0.95 to 1.07 in 4 repetitions, with other seeds."""
    z = [s.z for seed in range(40) for s in structure(task, 1_000, seed).statistics]
    assert 0.85 < sum(value**2 for value in z) / len(z) < 1.15
