"""The checks pass every registered task, reject every mistake, and name it.

A correct task fails each check with a probability of 5e-5; here the seed is fixed.
"""

import io
from statistics import NormalDist

import pytest
import torch
from rich.console import Console

from graybench.benchmark.checks import references
from graybench.benchmark.checks.conformance import CHECKS, check_task, print_findings
from graybench.benchmark.checks.evidence import limit
from graybench.benchmark.checks.scores import (
    AT_FIXED_THETA,
    NOT_THE_CURVATURE,
    NOT_THE_DERIVATIVE,
    NOT_THE_MEAN,
)
from graybench.tasks import REGISTRY, get_task
from graybench.tasks.seeding import generator
from graybench.tests.benchmark.checks import broken_structures, broken_tasks

SMALL = 4_000


def findings(task, n=SMALL):
    return {finding.check: finding for finding in check_task(task, n, seed=1)}


def failed(task, n=SMALL):
    return {name: finding for name, finding in findings(task, n).items() if finding.verdict == "failed"}


# the quadrature of a double well takes time in proportion to the steps: 87 s with the default
OPTIONS = {"double_well": {"steps": 10}}


@pytest.mark.parametrize("name", REGISTRY.names())
def test_every_registered_task_passes(name):
    found = findings(get_task(name, **OPTIONS.get(name, {})))
    assert {name: f for name, f in found.items() if f.verdict == "failed"} == {}
    assert list(found) == list(CHECKS)


def test_nothing_is_skipped_where_everything_is_offered():
    found = findings(broken_tasks.Right()) | {SDE: findings(broken_tasks.Curved())[SDE]}
    found[STRUCTURE] = findings(broken_structures.Readings())[STRUCTURE]
    assert {finding.verdict for finding in found.values()} == {"passed"}


T0, T1, T2 = "T0, fixed θ", "T1, marginal score", "T2, prior predictive"
SDE, FINITE, STRUCTURE = "SDE coefficients", "finite", "structure"
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
        ("MarginalInU", {T1}, "the marginal score is in u already"),
        ("NanData", {FINITE, T2, CALIBRATION}, "x of simulation"),
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
    assert set().union({SDE, STRUCTURE}, *(by for _, by, _ in parameters.args[1])) == set(CHECKS)


FOUND_BY = {
    "latents": T2,
    "reference": CALIBRATION,
    "diffused score": "reference, diffused",
    "log_prob": DENSITY,
    "SDE": SDE,
    "score": T2,
    "data": FINITE,
    "structure": STRUCTURE,
}
SUBTLE = 20_000  # the default of `graybench check task`


@pytest.mark.parametrize(("kind", "size", "task"), broken_tasks.FAULTS + broken_structures.FAULTS)
def test_each_fault_is_found_by_its_check(kind, size, task):
    """Nothing else is wrong with a reference, a density or a structure, so that no other check fails."""
    found = failed(task, SUBTLE if kind in ("reference", "structure") or task.name == "mixed" else SMALL)
    if kind == "none":
        assert found == {}
    elif kind in ("reference", "diffused score", "log_prob", "structure"):
        assert set(found) == {FOUND_BY[kind]}
    else:
        assert FOUND_BY[kind] in found


@pytest.mark.parametrize(
    ("mistake", "cause"),
    [
        ("in u", "is in u already"),
        ("without Jacobian", "lacks a factor dθ/du"),
        ("in log θ", "is the gradient in log θ"),
        ("wrong sign", "has the wrong sign"),
        ("clipped at 1", "is clipped, as component 0 is"),
        ("with the prior's share in u", "includes the prior's share −u"),
        ("with the prior's score in θ", "includes the prior's score"),
        ("without the prior's share", "takes the prior's share away"),
        ("halved", "is 0.52 times the right one, by a constant factor"),
    ],
)
def test_the_cause_of_a_wrong_score_is_named_once(mistake, cause):
    found = failed(broken_tasks.Positive(mistake=mistake), SUBTLE)
    (note,) = [finding.note for finding in found.values() if "Likely cause" in finding.note]
    assert f"Likely cause: the joint score {cause}" in note


def test_no_cause_is_named_where_none_explains_the_failure():
    assert "Likely cause" not in failed(broken_tasks.Undetached())[T0].note


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ("divergence", "divergence = "),
        ("second_order", "second_order = "),
        ("drift", "second_order = "),
        ("half_log_det", "half_log_det = "),
        ("colour", "L Lᵀ = Σ"),
        ("whiten", "whiten(colour(v)) = v"),
        ("solve", "solve(times(v)) = v"),
        ("times", "L Lᵀ = Σ"),
        ("kernel", "kernel ⊗ I = Σ"),
    ],
)
def test_a_wrong_coefficient_of_an_sde_is_named(wrong, rule):
    assert rule in failed(broken_tasks.Curved(wrong=wrong), 1_000)[SDE].note


@pytest.mark.parametrize(
    ("fault", "rule"),
    [("singular", "Σ is positive definite (off by inf)"), ("nan drift", "the drift is finite (off by inf)")],
)
def test_an_sde_without_a_density_is_refused_in_one_sentence(fault, rule):
    found = failed(broken_tasks.ByFunctions(fault=fault), 1_000)
    assert FINITE in found
    assert f"likelihood by bridges: “{rule}” does not hold." in found[SDE].note


def test_an_sde_from_two_functions_passes():
    assert failed(broken_tasks.ByFunctions(), 1_000) == {}


def test_data_that_are_not_numbers_are_not_blamed_on_the_generator():
    assert "random numbers" not in failed(broken_tasks.NanData())


def test_the_false_alarm_rate_does_not_depend_on_the_number_of_statistics():
    for count in (1, 100, 10_000):
        assert 2 * count * NormalDist().cdf(-limit(count)) == pytest.approx(5e-5)


def test_ranks_are_uniform_where_values_are_tied():
    """10,000 ranks among 5 equal values: each share of a fifth is good to 4.5 √(0.16/10,000) = 1.8 %."""
    ranks = references._rank(torch.zeros(10_000, 5, 1), generator(1))
    shares = ranks[:, 0].long().bincount(minlength=5) / 10_000
    assert len(shares) == 5
    assert (shares - 0.2).abs().max() < 0.018


def test_calibration_of_a_right_reference_is_standard_normal():
    """The mean square of 21 statistics in 40 seeds was 0.96 to 1.04 in 4 repetitions, with other seeds."""
    z = [
        s.z for seed in range(40) for s in references.calibration(broken_tasks.Valley(), 600, seed).statistics
    ]
    assert 0.85 < sum(value**2 for value in z) / len(z) < 1.15


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
