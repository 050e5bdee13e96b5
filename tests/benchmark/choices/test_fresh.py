"""The loss on fresh simulations, against its closed form and against the loss that trainers lower."""

import pytest
import torch

from graybench.benchmark.choices.fresh import (
    FRESH,
    chosen_task,
    fresh_data,
    fresh_loss,
    training_simulations,
)
from graybench.methods.score.gates.of_time import ConstantWeight
from graybench.methods.score.mixtures import Mix
from graybench.methods.score.schedule import T_MIN, alpha_sigma
from graybench.methods.score.score_matching import DSM
from graybench.methods.score.trainer import Trainer
from graybench.methods.score.training_data import every_row
from graybench.tasks import get_task
from graybench.tasks.errors import UserError
from graybench.tasks.seeding import derive_seed, generator


def test_the_loss_of_the_exact_score_is_its_closed_form():
    """For the posterior N(m, S), σ² E‖s − y‖²/d is the mean over t of 1 − σ² trace((α² S + σ² I)⁻¹)/d.

    A correct loss is off by more than four standard errors once in 16,000 seeds.
    """
    task, method = get_task("linear_gaussian", dim=2, spread=4.0), DSM()
    data = fresh_data(task, method, 1)
    mean, covariance = posterior(task, data.x[0])

    def score(u_t, x, t):
        alpha, sigma = alpha_sigma(t)
        marginal = alpha.unsqueeze(-1) ** 2 * covariance + sigma.unsqueeze(-1) ** 2 * torch.eye(2)
        return -torch.linalg.solve(marginal, u_t - alpha * mean)

    times = T_MIN + (1 - T_MIN) * (torch.arange(FRESH).view(-1, 1) + 0.5) / FRESH
    alpha, sigma = alpha_sigma(times)
    shares = sigma**2 / (alpha**2 * torch.linalg.eigvalsh(covariance) + sigma**2)
    loss = fresh_loss(method, score, ConstantWeight(1.0, torch.zeros(1)), data)
    # Given t, each of the two terms is a χ² variable with the mean 1 − share.
    stderr = (2 * (1 - shares) ** 2).sum().sqrt() / (2 * FRESH)
    assert abs(loss.item() - (1 - shares).mean()) < 4 * stderr


def posterior(task, x):
    """Return the means (n, d) and the covariance of the exact posteriors of x (n, dim_x)."""
    references = [task.reference(row) for row in x]
    return torch.stack([law.mean for law in references]).float(), references[0].covariance.float()


@pytest.mark.parametrize("method", [DSM(), Mix(), Mix(weighting="sigma_squared")])
def test_the_loss_is_the_one_that_trainers_lower(method):
    replicates, random = 2, generator(1)
    data = method.training_data([get_task("gaussian_mixture").simulate(50, r) for r in range(replicates)])
    trainer = method.trainer(data, [*range(replicates)], Trainer)
    (result,), (average,) = trainer.results, trainer.learner.average.average
    average.copy_(result.copy_(0.3 * torch.randn(result.shape, generator=random)))
    noise = [generator(derive_seed("choices", "noise")) for _ in range(replicates)]
    trainer.learner.judge(trainer._prepare(every_row(0, 50, 1, 2, noise)))
    expected = trainer.learner.average.best.loss
    torch.testing.assert_close(fresh_loss(method, *trainer.fitted, data), expected)


def test_training_simulations_are_not_fresh_and_not_those_of_results():
    task = get_task("gaussian_mixture")
    (first, second), seeds = training_simulations(task, 10, 2)
    fresh = fresh_data(task, DSM(), 1).u[0, :10]
    drawn = [first.u.float(), second.u.float(), fresh, task.observations().u.float()]
    assert len({tuple(u[0].tolist()) for u in drawn}) == 4
    assert len(set(seeds)) == 2


def test_a_task_is_known_by_its_label():
    tasks = (("galton", {}), ("galton", {"balls": 3}))
    assert chosen_task("galton(balls=3)", tasks).balls == 3
    with pytest.raises(UserError, match=r"there is no task 'galton\(balls=4\)' in this measurement"):
        chosen_task("galton(balls=4)", tasks)
