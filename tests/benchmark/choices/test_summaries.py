"""The loss of DSM with summaries and without, against scores that posteriors compute one by one."""

import pytest
import torch

from graybench.benchmark.choices import fresh, summaries
from graybench.benchmark.choices.fresh import fresh_data, training_simulations
from graybench.methods.score import trainer
from graybench.methods.score.schedule import alpha_sigma
from graybench.methods.score.score_matching import DSM
from graybench.methods.score.training_data import every_row
from graybench.tasks import get_task
from graybench.tasks.seeding import derive_seed, generator
from graybench.tasks.structure import Vector

BUDGET = 100


def test_the_losses_are_those_of_posteriors(monkeypatch):
    """σ² ‖s + ε/σ‖²/d, with s at one simulation at a time."""
    monkeypatch.setattr(trainer, "MOST_STEPS", 200)
    monkeypatch.setattr(fresh, "FRESH", 20)
    task = get_task("iid_mixture", draws=8)
    found = {row["learns_from"]: row["loss"] for row in summaries.rows(task, BUDGET, 1)}
    simulations, seeds = training_simulations(task, BUDGET, 1)
    data = fresh_data(task, DSM(), 1)
    _, t, eps = every_row(0, 20, 1, 3, [generator(derive_seed("choices", "noise"))])
    alpha, sigma = alpha_sigma(t)
    u_t = alpha * data.u + sigma * eps
    for way, option in (("both", "auto"), ("x", "none")):
        (posterior,) = DSM(summaries=option).train(simulations, seeds)
        scores = [posterior.score(u_t[:, k : k + 1], data.x[0, k : k + 1], float(t[0, k])) for k in range(20)]
        loss = (sigma * torch.cat(scores, 1) + eps).square().mean()
        assert found[way] == pytest.approx(loss.item(), rel=1e-4)
    assert len({round(loss, 3) for loss in found.values()}) == 3


def test_every_task_declares_structured_data_of_4_to_200_numbers():
    made = [get_task(name, **options) for name, options in summaries.TASKS]
    assert len({task.label for task in made}) == len(made)
    assert not any(isinstance(task.structure.effective, Vector) for task in made)
    assert {min(task.dim_x for task in made), max(task.dim_x for task in made)} == {4, 200}
