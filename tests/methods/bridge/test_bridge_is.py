"""The posterior by bridges against exact posteriors."""

import dataclasses

import pytest
import torch

from graybench.methods import get_method
from graybench.methods.bridge.bridge_is import BridgePosterior
from graybench.tasks import get_task
from graybench.tasks.errors import UserError


@pytest.mark.parametrize("task_name", ["brownian", "ornstein_uhlenbeck"])
def test_moments_are_those_of_the_reference(task_name: str) -> None:
    """The forward kernel is unbiased for the scheme, so that only the number of points makes an error."""
    task = get_task(task_name, dim=4, steps=20)
    posterior = get_method("bridge_is").fit(task.simulate(6000, 1), 2)
    x_o = task.observations().x[:3]
    samples = posterior.sample(4000, x_o, 3)
    for x, sample in zip(x_o, samples, strict=True):
        exact = task.reference(x).sample(4000, 4)
        size = posterior.weighted_points(x).effective_size
        assert size > 400
        error = exact.std(0) * (1 / size + 1 / 4000 + 1 / 4000) ** 0.5
        assert ((sample.mean(0) - exact.mean(0)).abs() < 4.5 * error).all()  # each once in 150,000 times
        # a standard deviation has at most twice the relative error of its mean for tails like these
        assert ((sample.std(0) / exact.std(0)).log().abs() < 9 * error / exact.std(0)).all()


def test_likelihoods_are_those_of_the_task() -> None:
    task = get_task("brownian", dim=4, steps=20)
    posterior = get_method("bridge_is").fit(task.simulate(100, 1), 2)
    observed = task.observations()
    u = torch.cat([observed.u, -observed.u])
    found = posterior.log_likelihood(u, observed.x[0], 1)
    exact = task.log_likelihood(task.prior.to_theta(u), observed.x[:1])
    torch.testing.assert_close(found.value, exact)


def test_it_spends_its_budget_on_each_observation_and_once() -> None:
    task = get_task("brownian", dim=2, steps=20)
    posterior = get_method("bridge_is", particles=4).fit(task.simulate(80, 1), 2)
    assert isinstance(posterior, BridgePosterior)
    x_o = task.observations().x[:2]
    samples = posterior.sample(500, x_o, 3)
    for x, sample in zip(x_o, samples, strict=True):
        points = posterior.weighted_points(x)
        assert points.u.shape == (20, 2)  # 80 bridges, 4 a point
        assert points is posterior.weighted_points(x)
        assert (sample.unsqueeze(1) == points.u).all(2).any(1).all()


def test_the_order_of_observations_makes_no_difference() -> None:
    task = get_task("brownian", dim=2, steps=20)
    x_o = task.observations().x[:3]
    one, other = (get_method("bridge_is").fit(task.simulate(80, 1), 2) for _ in range(2))
    assert one.sample(50, x_o, 3).equal(other.sample(50, x_o.flip(0), 3).flip(0))


def test_points_beyond_the_prior_weigh_nothing() -> None:
    """At σ = 60 steps of 1/50 are too long: the adjoint kernel gives exp(8,000) for exp(−2,000)."""
    task = get_task("geometric_brownian")
    posterior = get_method("bridge_is").fit(task.simulate(10_000, 1), 2)
    x_o = task.observations().x[:3]
    for x in x_o:
        points = posterior.weighted_points(x)
        far = points.u.abs().amax(1) > 7
        assert (points.log_weights[far] == -torch.inf).all()
        assert torch.isfinite(points.log_weights[~far]).all()
        assert points.effective_size > 100
    assert any((posterior.weighted_points(x).u.abs().amax(1) > 7).any() for x in x_o)


def test_mistakes_are_told() -> None:
    task = get_task("brownian", dim=2, steps=20)
    with pytest.raises(UserError, match="need a budget of 8 or more, but it is 7"):
        get_method("bridge_is").fit(task.simulate(7, 1), 2)
    black_box = task.simulate(20, 1).only(frozenset())
    with pytest.raises(UserError, match="needs simulations with their diffusion"):
        get_method("bridge_is").fit(black_box, 2)
    with pytest.raises(UserError, match="there is no kernel"):
        get_method("bridge_is", kernel="both")
    assert dataclasses.is_dataclass(get_method("bridge_is"))
