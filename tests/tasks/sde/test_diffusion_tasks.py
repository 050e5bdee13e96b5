"""The tasks of diffusions: joint scores, their variances, likelihoods, templates, and models."""

import dataclasses
import math
from typing import ClassVar

import pytest
import torch
from scipy import stats

from graybench import DiffusionTask, Normal, TimeGrid
from graybench.tasks import get_task
from graybench.tasks.errors import UserError
from graybench.tasks.landmarks.task import Landmarks
from graybench.tasks.sde.brownian import Brownian
from graybench.tasks.sde.geometric_brownian import GeometricBrownian
from graybench.tasks.sde.ornstein_uhlenbeck import OrnsteinUhlenbeck
from graybench.tasks.seeding import generator
from graybench.tests.numbers import double
from graybench.tests.tasks.laws import largest_z_of_moments

EXACT = {
    "brownian": Brownian(dim=3, steps=20),
    "ornstein_uhlenbeck": OrnsteinUhlenbeck(dim=3, steps=20),
    "geometric_brownian": GeometricBrownian(dim=3, steps=20),
}
TASKS = {**EXACT, "landmarks": Landmarks(landmarks=5, steps=6)}
THETA = {"brownian": (0.5, -0.3), "ornstein_uhlenbeck": (0.4, 0.8, -0.3), "geometric_brownian": (0.5, -0.8)}


@pytest.fixture(params=TASKS.values(), ids=list(TASKS), scope="module")
def task(request):
    return request.param


def at_fixed_theta(task, n, seed):
    theta = double(THETA[task.name]).expand(n, -1)
    return theta, task.simulator(theta, generator(seed))


def pairs(path):
    """The states before and after each step, (n, K, D)."""
    return path[:, :-1], path[:, 1:]


def brownian_score(task, theta, path):
    dt, (before, after) = 1 / task.steps, pairs(path)
    mu, variance = theta[:, :1, None], (2 * theta[:, 1:, None]).exp()
    rest = after - before - mu * dt
    return torch.stack([rest / variance, rest.square() / (variance * dt) - 1], -1).sum((1, 2))


def ornstein_uhlenbeck_score(task, theta, path):
    """With r = ΔX − k (μ − X) dt: Σ r k (μ − X)/s², Σ r k/s², Σ (r²/(s² dt) − 1) for log k, μ and log s."""
    dt, (before, after) = 1 / task.steps, pairs(path)
    k, mu, variance = theta[:, :1, None].exp(), theta[:, 1:2, None], (2 * theta[:, 2:, None]).exp()
    rest = after - before - k * (mu - before) * dt
    terms = [rest * k * (mu - before) / variance, rest * k / variance, rest.square() / (variance * dt) - 1]
    return torch.stack(terms, -1).sum((1, 2))


def geometric_brownian_score(task, theta, path):
    """With r = Δ log X − (μ − σ²/2) dt: Σ r/σ², Σ (r²/(σ² dt) − 1 − r), as log σ moves the drift as well."""
    dt, (before, after) = 1 / task.steps, pairs(path.log())
    mu, variance = theta[:, :1, None], (2 * theta[:, 1:, None]).exp()
    rest = after - before - (mu - variance / 2) * dt
    return torch.stack([rest / variance, rest.square() / (variance * dt) - 1 - rest], -1).sum((1, 2))


SCORES = {
    "brownian": brownian_score,
    "ornstein_uhlenbeck": ornstein_uhlenbeck_score,
    "geometric_brownian": geometric_brownian_score,
}
PRIORS = {
    "brownian": ((0.0, 0.0), (1.0, 0.5)),
    "ornstein_uhlenbeck": ((0.0, 0.0, 0.0), (0.5, 1.0, 0.5)),
    "geometric_brownian": ((0.0, -1.0), (0.5, 0.3)),
    "landmarks": ((math.log(0.1), math.log(0.5)), (0.3, 0.3)),
}


def brownian_law(theta, steps):
    """Mean and standard deviation of one component of X_T."""
    return theta[0], math.exp(theta[1])


def ornstein_uhlenbeck_law(theta, steps):
    """The recursion step by step, with k capped at 1/dt."""
    k, mu, s, dt = min(math.exp(theta[0]), steps), float(theta[1]), math.exp(theta[2]), 1 / steps
    mean = variance = 0.0
    for _ in range(steps):
        mean, variance = mean + k * (mu - mean) * dt, (1 - k * dt) ** 2 * variance + s**2 * dt
    return mean, math.sqrt(variance)


def geometric_brownian_law(theta, steps):
    """Mean and standard deviation of log X_T."""
    return theta[0] - math.exp(2 * theta[1]) / 2, math.exp(theta[1])


LAWS = {
    "brownian": brownian_law,
    "ornstein_uhlenbeck": ornstein_uhlenbeck_law,
    "geometric_brownian": geometric_brownian_law,
}


@pytest.mark.parametrize("name", EXACT)
def test_joint_score_is_its_closed_form(name):
    """More rows than are differentiated at once."""
    task = EXACT[name]
    theta = task.prior.to_theta(torch.randn(1100, task.dim_theta, generator=generator(1)).double())
    outcome = task.simulator(theta, generator(2))
    expected = SCORES[name](task, theta, outcome.latents)
    torch.testing.assert_close(outcome.joint_score, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", TASKS)
def test_prior_and_the_score_in_its_coordinates(name):
    """For a normal prior θ = m + s u, the score in u is s times the score in θ, minus u."""
    task, (mean, std) = TASKS[name], map(double, PRIORS[name])
    simulations = task.simulate(30, seed=3)
    torch.testing.assert_close(simulations.theta, mean + std * simulations.u)
    if name in SCORES:
        theta = simulations.theta
        score = task.simulator(theta, generator(4)).joint_score
        mapped = task.simulate_at(theta, seed=4)
        torch.testing.assert_close(mapped.joint_score, std * score - simulations.u)


@pytest.mark.parametrize("name", EXACT)
def test_likelihood_is_that_of_an_independent_calculation(name):
    """Includes OU with log k = 4, where k dt would exceed 1."""
    task = EXACT[name]
    theta = task.simulate(20, seed=4).theta
    if name == "ornstein_uhlenbeck":
        theta = torch.cat([theta, double([[4.0, 0.3, -0.2]])])
    x = task.simulator(theta, generator(5)).x
    expected = []
    for row, data in zip(theta.tolist(), x.numpy(), strict=True):
        mean, std = LAWS[name](row, task.steps)
        if name == "geometric_brownian":
            expected.append(stats.lognorm(s=std, scale=math.exp(mean)).logpdf(data).sum())
        else:
            expected.append(stats.norm(mean, std).logpdf(data).sum())
    torch.testing.assert_close(task.log_likelihood(theta, x), double(expected), rtol=1e-9, atol=1e-9)
    alone = task.log_likelihood(theta, x[:1])
    torch.testing.assert_close(alone, task.log_likelihood(theta, x[:1].expand_as(x)))


@pytest.mark.parametrize("name", EXACT)
def test_simulated_ends_have_the_mean_and_covariance_of_the_law(name):
    """|z| < 4.5 for nine numbers: a correct simulator fails in 1 of 16,000 seeds."""
    task = EXACT[name]
    _, outcome = at_fixed_theta(task, 20_000, 6)
    mean, std = LAWS[name](THETA[name], task.steps)
    x = outcome.x.log() if name == "geometric_brownian" else outcome.x
    assert largest_z_of_moments(x, mean * torch.ones(3).double(), std**2 * torch.eye(3).double()) < 4.5


def test_drift_of_brownian_motion_is_learned_from_the_end_alone():
    """The score Σ (x − μ)/σ² does not depend on the path, so it is the marginal score."""
    task = EXACT["brownian"]
    theta = task.simulate(50, seed=7).theta
    simulations, latents = task.simulate_at(theta, seed=7), task.simulator(theta, generator(7)).latents
    mu, variance = simulations.theta[:, 0], (2 * simulations.theta[:, 1]).exp()
    expected = (simulations.x.sum(1) - 3 * mu) / variance - simulations.u[:, 0]
    torch.testing.assert_close(simulations.joint_score[:, 0], expected)
    marginal = task.prior.score_in_u(simulations.u, task.marginal_score(theta, simulations.x))
    torch.testing.assert_close(marginal[:, 0], expected)
    # Another path to the same end has another score of log σ, and the same one of μ.
    other = latents.clone()
    other[:, 1:-1] += torch.randn(other[:, 1:-1].shape, generator=generator(8), dtype=torch.float64)
    theta.requires_grad_()
    scores = [
        torch.autograd.grad(task.log_joint(theta, simulations.x, path).sum(), theta)[0]
        for path in (latents, other)
    ]
    torch.testing.assert_close(scores[1][:, 0], scores[0][:, 0])
    assert ((scores[1] - scores[0])[:, 1].abs() > 1).all()


def information(name, steps):
    """E S² of each parameter of the tasks of three dimensions at `THETA`; the last is that of the diffusion.

    It is 2 K D there, and σ² D T more where σ moves the drift. That of the drift is a sum over the steps of
    E (∂f)² dt/σ², which stays bounded.
    """
    theta, dt, many = THETA[name], 1 / steps, 2 * steps * 3
    if name == "brownian":
        return [3 * math.exp(-2 * theta[1]), many]
    if name == "geometric_brownian":
        return [3 * math.exp(-2 * theta[1]), many + 3 * math.exp(2 * theta[1])]
    k, mu, s = math.exp(theta[0]), theta[1], math.exp(theta[2])
    away, mean, variance = 0.0, 0.0, 0.0
    for _ in range(steps):
        away += (mu - mean) ** 2 + variance
        mean, variance = mean + k * (mu - mean) * dt, (1 - k * dt) ** 2 * variance + s**2 * dt
    return [3 * k**2 * dt / s**2 * away, 3 * k**2 / s**2, many]


@pytest.mark.parametrize("name", EXACT)
def test_variance_of_the_joint_score_grows_with_the_steps_for_the_diffusion_alone(name):
    """|z| < 4.5 for 8 or 12 numbers: a correct score fails in 1 of 12,000 seeds.

    The ratios lie seven standard deviations or more from their bounds.
    """
    n, variances = 20_000, []
    for steps in (20, 80):
        score = at_fixed_theta(dataclasses.replace(EXACT[name], steps=steps), n, 9)[1].joint_score
        for values, expected in ((score, 0.0), (score.square(), double(information(name, steps)))):
            z = (values.mean(0) - expected) / (values.std(0) / math.sqrt(n))
            assert z.abs().max() < 4.5
        variances.append(score.var(0))
    growth = variances[1] / variances[0]
    assert 3.5 < growth[-1] < 4.5
    assert ((growth[:-1] > 0.8) & (growth[:-1] < 1.2)).all()


def test_variance_of_the_score_of_brownian_data_is_two_for_each_dimension():
    """|z| < 4.5 for one number: a correct score fails in 1 of 150,000 seeds."""
    task, n = EXACT["brownian"], 20_000
    theta, outcome = at_fixed_theta(task, n, 10)
    squares = task.marginal_score(theta, outcome.x)[:, 1].square()
    assert abs(float((squares.mean() - 2 * 3) / (squares.std() / math.sqrt(n)))) < 4.5


def test_path_runs_from_the_start_to_x(task):
    theta = task.simulate(140, seed=16).theta
    x, path = (outcome := task.simulator(theta, generator(16))).x, outcome.latents
    assert path.shape == (140, task.steps + 1, task.dim_x)
    assert torch.equal(path[:, -1], x)
    torch.testing.assert_close(path[:, 0], task.start.expand(140, -1))
    assert (path.diff(dim=1) != 0).all()


def test_only_a_method_that_requires_the_path_sees_the_model(task):
    simulations = task.simulate(5, seed=17)
    without = simulations.only(frozenset({"joint_score"}))
    assert without.model is None
    assert torch.equal(without.joint_score, simulations.joint_score)
    assert torch.equal(without.x, simulations.x)
    granted = simulations.only(frozenset({"sde_path"}))
    assert granted.model is simulations.model is not None
    assert granted.joint_score is None


def test_model_in_u_is_that_of_the_task_in_theta(task):
    simulations = task.simulate(5, seed=18)
    model = simulations.model
    assert model.grids == (task.grid,) == (TimeGrid(1.0, task.steps),)
    torch.testing.assert_close(model.x_0, task.start)
    x, v = simulations.x, torch.randn(5, task.dim_x, generator=generator(19), dtype=torch.float64)
    got = model.at(simulations.u).at(x)
    expected = task.sde(task.prior.to_theta(simulations.u)).at(x)
    for field in ("drift", "divergence", "second_order", "half_log_det"):
        assert torch.equal(getattr(got, field), getattr(expected, field))
    assert torch.equal(got.colour(v), expected.colour(v))
    assert not torch.allclose(got.colour(v), model.at(simulations.theta).at(x).colour(v))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("brownian", {"dim": 0}, "brownian: dim must be a whole number from 1 up, but is 0"),
        ("brownian", {"dim": 2.5}, "brownian: dim must be .* 2.5"),
        ("brownian", {"steps": 1}, "brownian: steps must be a whole number from 2 up, but is 1"),
        ("ornstein_uhlenbeck", {"dim": -1}, "ornstein_uhlenbeck: dim"),
        ("ornstein_uhlenbeck", {"steps": 19}, "ornstein_uhlenbeck: steps must be .* from 20 up, but is 19"),
        ("geometric_brownian", {"dim": True}, "geometric_brownian: dim"),
        ("geometric_brownian", {"steps": 0}, "geometric_brownian: steps must be .* from 2 up"),
    ],
)
def test_options_that_make_no_task_are_refused(name, options, message):
    with pytest.raises(UserError, match=message):
        get_task(name, **options)


class Path(DiffusionTask):
    """dX = μ dt + e^s dW in two dimensions, at three times with different steps between; θ = (μ, s)."""

    name: ClassVar[str] = "path"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "A Brownian path."

    prior = Normal((0.5, -0.5), 0.5)
    dim_theta = 2
    start = torch.tensor([0.3, -0.2], dtype=torch.float64)
    grid = TimeGrid(0.5, 5)
    grids = (grid, grid, TimeGrid(0.3, 2))
    lengths = [0.1] * 10 + [0.15] * 2

    def drift(self, x, theta):
        return theta[..., :1]

    def diffusion(self, x, theta):
        return theta[..., 1:].exp()


class UnevenPath(Path):
    """The same times, with steps that differ, and two intervals whose grids are equal."""

    grid = TimeGrid.at((0.0, 0.02, 0.1, 0.3, 0.45, 0.5))
    grids = (grid, grid, TimeGrid.at((0.0, 0.1, 0.3)))
    lengths = [0.02, 0.08, 0.2, 0.15, 0.05] * 2 + [0.1, 0.2]


@pytest.mark.parametrize("task", [Path(), UnevenPath()], ids=["equal", "uneven"])
def test_a_path_is_observed_after_each_interval_and_scored_over_all(task):
    theta = task.simulate(40, 1).theta
    outcome = task.simulator(theta, generator(2))
    assert outcome.latents.shape == (40, 13, 2)
    assert torch.equal(outcome.x, outcome.latents[:, [5, 10, 12]].flatten(1))
    dt = double(task.lengths).unsqueeze(1)
    mu, variance = theta[:, :1, None], (2 * theta[:, 1:, None]).exp()
    rest = outcome.latents.diff(dim=1) - mu * dt
    expected = torch.stack([rest / variance, rest.square() / (variance * dt) - 1], -1).sum((1, 2))
    torch.testing.assert_close(outcome.joint_score, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("task", [Path(), UnevenPath()], ids=["equal", "uneven"])
def test_each_time_of_a_path_has_its_law(task):
    """|z| < 4.5 for 27 numbers: a correct simulator fails in 1 of 5,000 seeds."""
    n, times = 20_000, double([0.5, 1.0, 1.3])
    theta = double([[0.4, -0.6]])
    x = task.simulator(theta.expand(n, -1), generator(3)).x
    mean = task.start.repeat(3) + 0.4 * times.repeat_interleave(2)
    covariance = math.exp(-1.2) * torch.kron(torch.minimum(times, times[:, None]), torch.eye(2).double())
    assert largest_z_of_moments(x, mean, covariance) < 4.5


def test_equidistant_times_make_equal_grids():
    """0.3 − 0.2 is not 0.1 in floating-point numbers."""
    assert TimeGrid.between((0.1, 0.2, 0.3), 5) == (TimeGrid(0.1, 5),) * 3
    assert TimeGrid.between((0.5, 2.0), 4) == (TimeGrid(0.5, 4), TimeGrid(1.5, 4))


@pytest.mark.parametrize(
    ("grids", "message"),
    [
        (TimeGrid.between((0.5, 1.0, 0.7), 5), "times must increase from 0, but interval 3 takes -0.3"),
        (TimeGrid.between((0.0, 1.0), 5), "times must increase from 0, but interval 1 takes 0.0"),
        (TimeGrid.between((1.0, math.nan), 5), "times must increase from 0, but interval 2 takes nan"),
        ((TimeGrid(1.0, 1),), "the steps of interval 1 must be a whole number from 2 up, but is 1"),
    ],
)
def test_times_that_do_not_increase_are_refused(grids, message):
    class Wrong(Path):
        pass

    Wrong.grids = grids
    with pytest.raises(UserError, match=message):
        Wrong().simulate(5, 1)


def test_a_task_without_an_sde_is_told_what_it_lacks():
    class Empty(DiffusionTask):
        name: ClassVar[str] = "empty"
        version: ClassVar[int] = 1
        summary: ClassVar[str] = "Nothing."
        prior = Normal()
        dim_theta = 1
        start = torch.zeros(1, dtype=torch.float64)
        grid = TimeGrid(1.0, 5)

    with pytest.raises(UserError, match="task empty must define drift and diffusion, or sde"):
        Empty().simulate(5, 1)
