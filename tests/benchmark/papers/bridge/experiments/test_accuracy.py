"""Errors of likelihoods in the experiments, against scipy's density of Brownian motion."""

import math

import pytest
import torch
from scipy import stats

from graybench.benchmark.papers.bridge.experiments import accuracy
from graybench.methods.bridge.likelihood import Estimate
from graybench.tasks import get_task

MU, SIGMA = 0.7, 0.5


class Wrong:
    """A sampler whose log-likelihoods are off by known numbers, the k-th by `errors[k]`."""

    particles = 7

    def __init__(self, errors):
        self.errors = errors

    def estimate(self, sde, start, y, grid, seed, base):
        self.y = y
        exact = stats.norm.logpdf(y.numpy(), MU, SIGMA).sum(1)
        ess = torch.linspace(0.2, 0.8, len(y), dtype=torch.float64)
        return Estimate(torch.from_numpy(exact + self.errors), ess, ess, ess, ess, ess)


def test_errors_are_those_of_the_sampler(monkeypatch):
    monkeypatch.setitem(accuracy.THETA, "brownian", (MU, math.log(SIGMA)))
    errors = stats.norm.rvs(loc=0.3, scale=0.1, size=accuracy.PAIRS, random_state=1)
    sampler = Wrong(errors)
    (row,) = accuracy._against_truth({"case": "known"}, get_task("brownian", dim=2), sampler)
    assert row["case"] == "known"
    assert row["bias"] == pytest.approx(errors.mean())
    assert row["bias_stderr"] == pytest.approx(errors.std(ddof=1) / math.sqrt(accuracy.PAIRS))
    assert row["mean_absolute_error"] == pytest.approx(abs(errors).mean())
    assert row["ess_fraction"] == pytest.approx(0.5)
    assert row["least_ess_fraction"] == pytest.approx(0.2)
    assert (row["dim"], row["particles"]) == (2, 7)
    # the end points are drawn at θ: 100 numbers; |z| of mean and of mean square < 4.5, 1 of 75,000
    z = (sampler.y - MU) / SIGMA
    assert abs(float(z.mean())) * math.sqrt(z.numel()) < 4.5
    assert abs(float(z.square().mean()) - 1) * math.sqrt(z.numel() / 2) < 4.5
