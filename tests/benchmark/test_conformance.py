"""The checks pass every registered task and reject every mistake, each with the sentence that names it.

A correct task fails with a probability of 7e-6 for each of some 500 statistics, 1 in 300 seeds; here the seed
is fixed.
"""

import io

import pytest
from rich.console import Console

from benchmark.conformance import CHECKS, check_task, print_findings
from benchmark.score_checks import AT_FIXED_THETA, NOT_THE_CURVATURE, NOT_THE_DERIVATIVE, NOT_THE_MEAN
from tasks import REGISTRY, get_task
from tests.benchmark import broken_tasks

SMALL = 4_000


def findings(task, n=SMALL):
    return {finding.check: finding for finding in check_task(task, n, seed=1)}


def failed(task, n=SMALL):
    return {name: finding for name, finding in findings(task, n).items() if finding.verdict == "failed"}


@pytest.mark.parametrize("name", REGISTRY.names())
def test_every_registered_task_passes(name):
    found = findings(get_task(name))
    assert {name: f for name, f in found.items() if f.verdict == "failed"} == {}
    assert list(found) == list(CHECKS)


def test_nothing_is_skipped_where_everything_is_offered():
    assert {finding.verdict for finding in findings(broken_tasks.Right()).values()} == {"passed"}


@pytest.mark.parametrize(
    ("broken", "checks", "check", "sentence"),
    [
        ("Hidden", {"T1", "T2", "differences", "information"}, "T2", "is hidden from it"),
        ("Twice", {"T1", "T2", "differences", "information"}, "T2", "counted more than once"),
        ("Zero", {"T1", "T2", "differences", "information"}, "T2", "it is zero, or cut off from θ"),
        ("Undetached", {"T0", "T2"}, "T0", AT_FIXED_THETA),
        ("MovingSupport", {"T0", "T2"}, "T0", "a latent's support moves with θ"),
        ("Retried", {"T0", "T1", "T2", "reference"}, "T0", "repeated until they succeed"),
        (
            "SharedNoise",
            {"rows", "T1", "T2", "company", "reference"},
            "rows",
            "a batch shares a random component",
        ),
        ("Neighbours", {"rows", "T1", "T2", "company", "reference"}, "rows", "sees another run's parameters"),
        ("CentredNoise", {"rows", "company"}, "company", "not have the same law alone"),
        ("CentredTheta", {"company", "T1", "T2", "reference"}, "company", "it uses the batch"),
        (
            "GlobalNumbers",
            {"random", "observations"},
            "random",
            "“the same seed gives the same runs” does not hold",
        ),
        ("WrongMarginal", {"T1", "reference"}, "T1", NOT_THE_MEAN),
        ("WrongDensity", {"differences", "information"}, "differences", NOT_THE_DERIVATIVE),
        ("WrongLatents", {"T1", "T2", "information", "reference"}, "information", NOT_THE_CURVATURE),
        ("NarrowReference", {"reference"}, "reference", "Stein's identity"),
        ("ShiftedReference", {"reference"}, "reference", "Stein's identity"),
        (
            "WrongPrior",
            {"prior", "T1", "T2", "differences", "information", "reference"},
            "prior",
            "pull_back",
        ),
        ("NotFinite", None, "finite", "x of simulation"),
        ("Raises", {"T1", "reference"}, "T1", "It raised ArithmeticError: no luck today"),
    ],
)
def test_a_mistake_is_rejected_and_named(broken, checks, check, sentence):
    found = failed(getattr(broken_tasks, broken)())
    assert any(sentence in finding.note for name, finding in found.items() if name.startswith(check)), found
    if checks is not None:  # where one mistake makes all numbers NaN, other checks may fail as well
        assert {name.split(",")[0].split()[0] for name in found} <= checks, found


def test_a_hidden_latent_is_seen_at_a_glance():
    """With 20,000 simulations |z| is 36, where that of the right score is 2."""
    assert abs(failed(broken_tasks.Hidden(), 20_000)["T2, prior predictive"].worst.z) > 30


def test_a_doubtful_check_is_repeated_on_more_simulations():
    class Slightly(broken_tasks.Right):
        """Of the score a tenth is missing: doubtful with 4,000 simulations, plain with 16,000."""

        def score(self, z, w):
            return 0.9 * (z + w)

    found = failed(Slightly())["T2, prior predictive"]
    assert found.n > SMALL


def test_the_table_has_a_sentence_for_each_failure():
    task = broken_tasks.Hidden()
    console = Console(file=io.StringIO(), width=200)
    print_findings(task, list(check_task(task, SMALL, seed=1)), console)
    text = console.file.getvalue()
    for name in CHECKS:
        assert name in text
    below = text.split("└")[1]
    assert "T2, prior predictive: The joint score carries about 0.5" in below
    assert "T0" not in below
