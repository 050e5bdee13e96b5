"""Gold mining on every task with a joint score: what is learned from it is finite and follows x."""

import pytest
import torch

from graybench.methods import get_method
from graybench.tasks import REGISTRY, get_task

TASKS = [name for name in REGISTRY.names() if "joint_score" in get_task(name).capabilities]


@pytest.fixture(params=TASKS, scope="module")
def drawn(request):
    return get_task(request.param).simulate(100, seed=1)


def test_scandal_learns_a_likelihood(drawn):
    """A few steps make −log q on the training data smaller, in all tasks, and leave its gradient finite."""
    likelihoods = [get_method("scandal", steps=steps, batch=32).fit_likelihood(drawn, 1) for steps in (1, 20)]
    u, x = drawn.u.float(), drawn.x.float()
    before, after = (likelihood.with_score(u, x) for likelihood in likelihoods)
    assert after[0].mean() > before[0].mean()
    assert torch.isfinite(after[1]).all()


def test_sally_regresses_the_score_on_what_it_is_given(drawn):
    """What is left of each component of the score is less than all of it; each statistic follows x."""
    statistics = get_method("sally", steps=20, batch=32).fit_statistics(drawn, 1)
    score = drawn.joint_score + drawn.u
    left = score - statistics.regression(drawn.u.float(), drawn.x.float())
    assert (left.square().mean(0) < score.square().mean(0)).all()
    assert (statistics(drawn.x).std(0) > 0).all()
