"""Errors of solvers: what is counted, that what is fine is near nothing but itself, and adaptive steps."""

import math
from itertools import pairwise

import torch

from graybench.benchmark.speed import solver_errors
from graybench.benchmark.speed.solver_errors import sample_adaptive
from graybench.methods.score.samplers import sample_exponential
from graybench.methods.score.schedule import alpha_sigma_at
from graybench.tasks.reference import GaussianReference, MixtureReference
from graybench.tasks.seeding import generator
from graybench.tests.methods.exact_flows import GAUSSIAN, exact_map, score_of

NOISE = torch.randn(200, 2, generator=generator(2), dtype=torch.float64)
LAW = GaussianReference(torch.tensor([0.5]), torch.tensor([[0.09]]))


def test_a_gaussian_is_solved_ever_better_by_as_many_evaluations_as_are_said(monkeypatch, tmp_path):
    monkeypatch.setattr(solver_errors, "targets", lambda steps: [("law", *solver_errors._exact(LAW))])
    found = solver_errors.errors(quick=True)
    fine = found[found["solver"] == "fine"].iloc[0]
    assert (fine["evaluations"], fine["gap"]) == (0, 0)
    for solver in solver_errors.SOLVERS:
        line = found[found["solver"] == solver]
        assert list(line["evaluations"]) == list(solver_errors.EVALUATIONS)
        few, more, many = line["gap"].iloc[[0, 2, -1]]
        assert few > 1.5 * more > 3 * 1.5 * many
    assert len(solver_errors.draw(found, tmp_path)) == 2


def gaussian_error(made):
    return float((made - exact_map(GAUSSIAN, NOISE)).abs().max())


def counted(score):
    calls = []
    return lambda u, t: calls.append(t) or score(u, t), calls


def test_adaptive_steps_follow_the_tolerance():
    """Errors fall with the tolerance, and at the end as few evaluations do as equal steps of order 2 need."""
    errors, evaluations = [], []
    for tolerance in (1e-3, 1e-4, 1e-5):
        score, calls = counted(score_of(GAUSSIAN))
        errors.append(gaussian_error(sample_adaptive(score, NOISE, tolerance)))
        evaluations.append(len(calls))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert evaluations[0] < evaluations[1] < evaluations[2]
    equal = gaussian_error(sample_exponential(score_of(GAUSSIAN), NOISE, evaluations[2], 2))
    assert errors[2] < equal


def test_adaptive_steps_are_short_where_the_flow_bends():
    """Modes at ±0.2 of width 0.01: between λ = log 0.2 and log 0.01 the flow decides and narrows."""
    narrow = MixtureReference(
        torch.tensor([0.5, 0.5]),
        [GaussianReference(torch.tensor([m]), torch.tensor([[1e-4]])) for m in (0.2, -0.2)],
    )
    times = []
    score = score_of(narrow)
    noise = torch.linspace(-2, 2, 50, dtype=torch.float64).unsqueeze(1)
    sample_adaptive(lambda u, t: times.append(t) or score(u, t), noise, 1e-3)
    levels = [math.log(sigma / alpha) for alpha, sigma in map(alpha_sigma_at, times)]
    steps = [a - b for a, b in pairwise(levels)]
    inside = [s for s, level in zip(steps, levels, strict=False) if math.log(0.01) < level < math.log(0.2)]
    outside = [s for s, level in zip(steps, levels, strict=False) if level > 1]
    assert max(outside) > 1.5 * max(inside)
