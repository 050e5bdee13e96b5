"""The checks pass every registered task, reject every mistake, and name it.

A correct task fails with a probability of 7e-6 for each of its 100 to 900 statistics; here the seed is fixed.
"""

import io

import pytest
from rich.console import Console

from graybench.benchmark.checks.conformance import CHECKS, check_task, print_findings
from graybench.benchmark.checks.scores import (
    AT_FIXED_THETA,
    NOT_THE_CURVATURE,
    NOT_THE_DERIVATIVE,
    NOT_THE_MEAN,
)
from graybench.tasks import REGISTRY, get_task
from graybench.tests.benchmark.checks import broken_tasks

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


T0, T1, T2 = "T0, fixed θ", "T1, marginal score", "T2, prior predictive"
DIFFERENCES, INFORMATION = "differences", "information equality"
STEIN, DIFFUSED, DENSITY, CALIBRATION = (
    f"reference, {c}" for c in ("Stein", "diffused", "density", "calibration")
)


@pytest.mark.parametrize(
    ("broken", "by", "sentence"),
    [
        ("Hidden", {T1, T2, DIFFERENCES, INFORMATION}, "misses a latent"),
        ("Twice", {T1, T2, DIFFERENCES, INFORMATION}, "counts a latent or a term more than once"),
        ("Zero", {T1, T2, DIFFERENCES, INFORMATION}, "it is zero, or detached from θ"),
        ("Undetached", {T0, T2}, AT_FIXED_THETA),
        ("MovingSupport", {T0, T2}, "a latent's support moves with θ"),
        ("Retried", {T0, T1, T2}, "repeated until they succeed"),
        ("SharedNoise", {"rows"}, "a batch shares a random part"),
        ("Neighbours", {"rows", "company"}, "uses another run's parameters"),
        ("CentredNoise", {"company"}, "The law of a run is not the same alone"),
        ("CentredTheta", {"company"}, "it uses the batch"),
        ("GlobalNumbers", {"random numbers"}, "“the same seed gives the same runs” does not hold"),
        ("WrongMarginal", {T1, STEIN, DENSITY}, NOT_THE_MEAN),
        ("WrongDensity", {DIFFERENCES, INFORMATION}, NOT_THE_DERIVATIVE),
        ("WrongLatents", {T1, T2, INFORMATION}, NOT_THE_CURVATURE),
        ("NarrowReference", {STEIN, DENSITY, CALIBRATION}, "do not satisfy Stein's identity"),
        ("ShiftedReference", {STEIN, DENSITY}, "do not satisfy Stein's identity"),
        ("PriorAsReference", {CALIBRATION}, "does not follow x"),
        ("StretchedReference", {CALIBRATION}, "too narrow or too wide"),
        ("WrongDiffused", {DIFFUSED}, "The diffused score of the reference"),
        ("WrongLogProb", {DENSITY}, "log_prob of the reference"),
        ("WrongPrior", {"prior", T2}, "pull_back"),
        ("Restless", {"observations"}, "“the same each time” does not hold"),
        ("NotFinite", {"finite"}, "x of simulation"),
        ("Unnumbered", {"finite", T1}, "is not a number"),
        ("Raises", {"finite", T1, STEIN}, "It raised ArithmeticError: no luck today"),
    ],
)
def test_a_mistake_is_rejected_and_named(broken, by, sentence):
    found = failed(getattr(broken_tasks, broken)())
    assert by <= found.keys(), found
    assert any(sentence in finding.note for finding in found.values()), found


def test_each_check_rejects_something():
    """Each check above is needed for some mistake."""
    (parameters,) = [m for m in test_a_mistake_is_rejected_and_named.pytestmark if m.name == "parametrize"]
    assert set().union(*(by for _, by, _ in parameters.args[1])) == set(CHECKS)


@pytest.mark.parametrize("unusual", ["RareDecisions", "HeavyTails", "NumpyDensity"])
def test_what_is_unusual_but_right_passes(unusual):
    assert failed(getattr(broken_tasks, unusual)()) == {}


def test_what_else_fails_is_seen_to_first():
    found = failed(broken_tasks.MovingSupport())
    assert found[T2].note.endswith("Fix first: T0, fixed θ.")
    assert "Fix first" not in found[T0].note


def test_a_hidden_latent_is_seen_at_a_glance():
    """With 20,000 simulations |z| is near 40; for the right score it is 2."""
    assert abs(failed(broken_tasks.Hidden(), 20_000)[T2].worst.z) > 30


def test_a_doubtful_check_is_repeated_on_more_simulations():
    class Slightly(broken_tasks.Right):
        """An eighth of the score is missing: doubtful with 4,000 simulations, clear with 16,000."""

        def score(self, z, w):
            return 0.875 * (z + w)

    found = failed(Slightly())[T2]
    assert found.n > SMALL


def test_the_table_has_a_sentence_for_each_failure():
    task = broken_tasks.Hidden()
    console = Console(file=io.StringIO(), width=200)
    print_findings(task.label, list(check_task(task, SMALL, seed=1)), console)
    text = console.file.getvalue()
    for name in CHECKS:
        assert name in text
    below = text.split("└")[1]
    assert "T2, prior predictive: The joint score carries about 0.5" in below
    assert "T0" not in below
