"""Errors of solvers: what is counted, and that what is fine is near nothing but itself."""

import torch

from graybench.benchmark.speed import solver_errors
from graybench.tasks.reference import GaussianReference

LAW = GaussianReference(torch.tensor([0.5]), torch.tensor([[0.09]]))


def test_a_gaussian_is_solved_ever_better_by_as_many_evaluations_as_are_said(monkeypatch, tmp_path):
    monkeypatch.setattr(solver_errors, "targets", lambda steps: [("law", *solver_errors._exact(LAW))])
    found = solver_errors.errors(quick=True)
    fine = found[found["solver"] == "fine"].iloc[0]
    assert (fine["evaluations"], fine["gap"]) == (0, 0)
    for solver in solver_errors.SOLVERS:
        line = found[found["solver"] == solver]
        assert list(line["evaluations"]) == list(solver_errors.EVALUATIONS)
        assert line["gap"].is_monotonic_decreasing
    assert len(solver_errors.draw(found, tmp_path)) == 2
