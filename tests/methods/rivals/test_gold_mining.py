"""Gold mining on tasks with a joint score: it runs on all of them, and learns from the scores it is given."""

from dataclasses import replace

import pytest
import torch

from graybench.methods import get_method
from graybench.tasks import REGISTRY, get_task
from graybench.tasks.seeding import generator

TASKS = [name for name in REGISTRY.names() if "joint_score" in get_task(name).capabilities]
# where latents hide little of the score, so that few simulations show what was learned
LEARNED = [
    ("scandal", "galton"),
    ("sally", "linear_gaussian"),
    ("sally", "galton"),
    ("sally", "immigration_death"),
]


def likelihood_scores(simulations):
    return (simulations.joint_score + simulations.u).float()


def errors(method, simulations, fresh):
    """The mean square error on fresh simulations of the score that a method learned."""
    u, x, expected = fresh.u.float(), fresh.x.float(), likelihood_scores(fresh)
    if method.name == "sally":
        found = method.fit_statistics(simulations, 1).regression(u, x)
    else:
        found = method.fit_likelihood(simulations, 1).with_score(u, x)[1]
    return float((found.detach() - expected).square().mean())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ["scandal", "sally"])
def test_one_step_on_every_task_is_finite(name, task):
    simulations = get_task(task).simulate(50, seed=1)
    assert torch.tensor(errors(get_method(name, steps=1, batch=32), simulations, simulations)).isfinite()


@pytest.mark.parametrize(("name", "task"), LEARNED)
def test_scores_of_fresh_simulations_are_learned_from_those_given(name, task):
    """With the scores of other simulations in their place, the error is larger by a third or more."""
    made, fresh = (get_task(task).simulate(500, seed=seed) for seed in (1, 2))
    order = torch.randperm(500, generator=generator(3))
    shuffled = replace(made, joint_score=likelihood_scores(made).double()[order] - made.u)
    method = get_method(name, steps=300, batch=64)
    learned, control = (errors(method, simulations, fresh) for simulations in (made, shuffled))
    assert learned < 0.75 * control
