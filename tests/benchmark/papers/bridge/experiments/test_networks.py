"""The bookkeeping of the experiments with learned scores."""

import pytest
import torch

from graybench.benchmark.papers.bridge.experiments import networks
from graybench.tasks import get_task
from graybench.tasks.sde.diffusion_task import DiffusionTask


def test_the_law_is_the_prior_s_and_starts_fill_the_cube():
    task = get_task("ornstein_uhlenbeck", dim=2)
    assert isinstance(task, DiffusionTask)
    sde, x_0 = networks.law_of(task)(4_000, 1)
    assert x_0.shape == (4_000, 1, 2)
    # five standard errors of a mean and of a mean square: each is exceeded once in two million cases
    assert (x_0.mean(0).abs() < 5 * 1.5 / (3 * 4_000) ** 0.5).all()
    assert x_0.abs().max() <= 1.5
    log_k = sde.parameters[..., 0].log()
    assert sde.parameters.shape == (4_000, 1, 3)
    assert abs(log_k.mean()) < 5 * 0.5 / 4_000**0.5
    assert abs(log_k.square().mean() / 0.25 - 1) < 5 * (2 / 4_000) ** 0.5
    assert torch.equal(x_0, networks.law_of(task)(4_000, 1)[1])


@pytest.mark.parametrize("recipe", ["matching", "variance", "divergence", "matching, then variance"])
def test_every_recipe_simulates_as_much(recipe, monkeypatch):
    spent = []
    monkeypatch.setattr(networks, "learn", lambda law, grid, training, seed: spent.append(training.paths))
    monkeypatch.setattr(
        networks, "refine", lambda scores, law, training, seed: spent.append(training.simulations)
    )
    networks._scores_by(recipe, None, get_task("double_well"), "midpoint", 1_000, 1)
    assert 990 <= sum(spent) <= 1_000
