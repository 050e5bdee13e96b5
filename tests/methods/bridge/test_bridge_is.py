"""The posterior by bridges against exact posteriors."""

import dataclasses
import math
from typing import ClassVar

import pytest
import torch

from graybench import DiffusionTask, Normal, TimeGrid, UserError, Vector
from graybench.benchmark.running.cell import Cell
from graybench.benchmark.running.measure import run_cell
from graybench.methods import get_method
from graybench.methods.bridge import bridge_is
from graybench.methods.bridge.bridge_is import BridgePosterior
from graybench.methods.bridge.likelihood import Estimate
from graybench.methods.bridge.paths import along_path, product
from graybench.methods.bridge.points import Mixture, WeightedPoints
from graybench.tasks import get_task
from graybench.tasks.sde.freeze_diffusions import log_likelihoods
from graybench.tests.methods.bridge.models import normals


@pytest.mark.parametrize("task_name", ["brownian", "ornstein_uhlenbeck"])
def test_moments_are_those_of_the_reference(task_name: str) -> None:
    """The forward kernel is unbiased for the scheme, so that only the number of points makes an error."""
    task = get_task(task_name, dim=4, steps=20)
    posterior = get_method("bridge_is").fit(task.simulate(6000, 1), 2)
    x_o = task.observations().x[:3]
    samples = posterior.sample(4000, x_o, 3)
    for x, sample in zip(x_o, samples, strict=True):
        exact = task.reference(x).sample(4000, 4)
        size = posterior.weighted_points(x[None])[0].effective_size
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
    found = posterior.log_likelihood(u[None], observed.x[:1], [1])
    exact = task.log_likelihood(task.prior.to_theta(u), observed.x[:1])
    torch.testing.assert_close(found.value[0], exact)


def test_it_spends_its_budget_on_each_observation_and_once() -> None:
    task = get_task("brownian", dim=2, steps=20)
    posterior = get_method("bridge_is", particles=4).fit(task.simulate(80, 1), 2)
    assert isinstance(posterior, BridgePosterior)
    x_o = task.observations().x[:2]
    samples = posterior.sample(500, x_o, 3)
    for x, sample in zip(x_o, samples, strict=True):
        (points,) = posterior.weighted_points(x[None])
        assert points.u.shape == (20, 2)  # 80 bridges, 4 a point
        assert points is posterior.weighted_points(x[None])[0]
        assert (sample.unsqueeze(1) == points.u).all(2).any(1).all()


def test_the_order_of_observations_makes_no_difference() -> None:
    task = get_task("brownian", dim=2, steps=20)
    x_o = task.observations().x[:3]
    one, other = (get_method("bridge_is").fit(task.simulate(80, 1), 2) for _ in range(2))
    assert one.sample(50, x_o, 3).equal(other.sample(50, x_o.flip(0), 3).flip(0))


def test_observations_in_groups_have_the_points_of_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two groups, of two observations and one: with 10 points in a round, 40 bridges serve two."""
    task = get_task("ornstein_uhlenbeck", dim=2, steps=20)
    x_o, simulations = task.observations().x[:3], task.simulate(80, 1)
    alone = [get_method("bridge_is").fit(simulations, 2).weighted_points(x[None])[0] for x in x_o]
    monkeypatch.setattr(bridge_is, "BRIDGES_AT_ONCE", 40)
    together = get_method("bridge_is").fit(simulations, 2).weighted_points(x_o)
    for one, same in zip(alone, together, strict=True):
        torch.testing.assert_close(same.u, one.u)
        torch.testing.assert_close(same.log_weights, one.log_weights)
        torch.testing.assert_close(same.estimate.ess_fraction, one.estimate.ess_fraction)


def test_points_beyond_the_prior_weigh_nothing() -> None:
    """At σ = 60 steps of 1/50 are too long: the adjoint kernel gives exp(8,000) for exp(−2,000)."""
    task = get_task("geometric_brownian")
    posterior = get_method("bridge_is").fit(task.simulate(10_000, 1), 2)
    x_o = task.observations().x[:3]
    found = posterior.weighted_points(x_o)
    for points in found:
        far = points.u.abs().amax(1) > 7
        assert (points.log_weights[far] == -torch.inf).all()
        assert torch.isfinite(points.log_weights[~far]).all()
        assert points.effective_size > 100
    assert any((points.u.abs().amax(1) > 7).any() for points in found)


def test_mistakes_are_told() -> None:
    task = get_task("brownian", dim=2, steps=20)
    with pytest.raises(UserError, match="need a budget of 8 or more, but it is 7"):
        get_method("bridge_is").fit(task.simulate(7, 1), 2)
    black_box = task.simulate(20, 1).only(frozenset())
    with pytest.raises(UserError, match="needs simulations with their diffusion"):
        get_method("bridge_is").fit(black_box, 2)
    with pytest.raises(UserError, match="method bridge_is: there is no base 'lerned': did you mean learned"):
        get_method("bridge_is", base="lerned")
    with pytest.raises(UserError, match="there is no kernel"):
        get_method("bridge_is", kernel="both")
    assert dataclasses.is_dataclass(get_method("bridge_is"))


class BrownianPath(DiffusionTask):
    """dX = μ dt + e^s dW in two dimensions, at times with three distances among them; θ = (μ, s)."""

    name: ClassVar[str] = "brownian_path"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "A Brownian path."

    prior = Normal((0.5, -0.5), 0.5)
    dim_theta = 2
    start = torch.tensor([0.3, -0.2], dtype=torch.float64)
    times: ClassVar[tuple[float, ...]] = (0.5, 1.0, 1.2, 1.7, 2.7)
    grids = TimeGrid.between(times, steps=5)
    grid = grids[0]

    def drift(self, x, theta):
        return theta[..., :1].expand(x.shape)

    def diffusion(self, x, theta):
        return theta[..., 1:].exp().expand(x.shape)


def test_the_likelihood_of_a_path_is_the_product_over_its_intervals() -> None:
    """The base is exact for Brownian motion, so every weight is."""
    task = BrownianPath()
    simulations = task.simulate(100, 1)
    assert simulations.structure == Vector(10)
    posterior = get_method("bridge_is", base="linearised").fit(simulations, 2)
    u, x_o = simulations.u[:7], simulations.x[0]
    path = torch.cat([task.start.unsqueeze(0), x_o.view(5, 2)])
    length = torch.tensor([0.0, *task.times], dtype=torch.float64).diff().unsqueeze(1)
    mu, log_scale = task.prior.to_theta(u)[:, :, None, None].unbind(1)
    law = torch.distributions.Normal(path[:-1] + mu * length, log_scale.exp() * length.sqrt())
    expected = law.log_prob(path[1:]).sum((1, 2))
    found = posterior.log_likelihood(u[None], x_o[None], [3])
    torch.testing.assert_close(found.value[0], expected)
    torch.testing.assert_close(found.ess_fraction[0], torch.ones(7, dtype=torch.float64))
    alone = posterior.likelihood_at(u[2], x_o, 4, 3)
    torch.testing.assert_close(alone.value, expected[2])


def test_errors_of_intervals_add_in_quadrature() -> None:
    """Over 200 seeds, the errors of log p̂ have the mean 0 and the standard deviation that is stated.

    |z| < 4.5 fails in 1 of 150,000 cases, and a ratio of standard deviations beyond 1 ± 0.2 in 1 of 10,000.
    """
    task = get_task("double_well", observed=4, steps=10, duration=0.5)
    posterior = get_method("bridge_is", base="midpoint").fit(task.simulate(100, 1), 2)
    theta, x_o = (
        torch.tensor([[0.0, -0.4]], dtype=torch.float64),
        torch.tensor([-0.7, -0.9, -0.6, -1.2]).double(),
    )
    exact = float(task.log_likelihood(theta, x_o.unsqueeze(0)))
    u = task.prior.to_u(theta)[0]
    found = [posterior.likelihood_at(u, x_o, 256, seed) for seed in range(200)]
    assert not found[0].value.requires_grad
    error = torch.stack([estimate.value for estimate in found]) - exact
    stated = torch.stack([estimate.stderr for estimate in found]).square().mean().sqrt()
    assert abs(float(error.mean() / error.std()) * 200**0.5) < 4.5
    assert 0.8 < float(stated / error.std()) < 1.2
    intervals = along_path(
        dataclasses.replace(posterior.sampler, particles=64), posterior.model, u[None, None], x_o[None], [5]
    )
    together = product(intervals)
    assert intervals.value.shape == (1, 1, 4)
    torch.testing.assert_close(together.stderr, intervals.stderr.norm(dim=2))
    assert float(together.ess_fraction) == float(intervals.ess_fraction.min())


def test_the_tail_of_a_path_is_the_heaviest_of_its_intervals_that_is_known() -> None:
    """Two particles are too few for a tail: it is NaN for each interval and for their product."""
    tails = torch.tensor([[0.2, math.nan, 0.5], [math.nan] * 3], dtype=torch.float64)
    zeros = torch.zeros_like(tails)
    found = product(Estimate(zeros, zeros, zeros, zeros, zeros, tails))
    assert found.tail[0] == 0.5
    assert found.tail[1].isnan()
    task = get_task("double_well", observed=2, steps=4)
    posterior = get_method("bridge_is", base="midpoint").fit(task.simulate(8, 1), 2)
    assert posterior.likelihood_at(torch.zeros(2).double(), task.observations().x[0], 2, 1).tail.isnan()


def test_the_posterior_of_a_path_is_that_of_the_reference() -> None:
    task = get_task("double_well", observed=3, steps=20)
    x_o = task.simulate(1, 7).x
    posterior = get_method("bridge_is").fit(task.simulate(6000, 1), 2)
    sample, exact = posterior.sample(4000, x_o, 3)[0], task.reference(x_o[0]).sample(4000, 4)
    size = posterior.weighted_points(x_o)[0].effective_size
    assert size > 300
    error = exact.std(0) * (1 / size + 1 / 4000 + 1 / 4000) ** 0.5
    assert ((sample.mean(0) - exact.mean(0)).abs() < 4.5 * error).all()  # each once in 150,000 times
    assert ((sample.std(0) / exact.std(0)).log().abs() < 9 * error / exact.std(0)).all()


@pytest.mark.parametrize("observed", [1, 3])
def test_learned_scores_serve_all_parameters_and_intervals(observed: int) -> None:
    """A double well, where the linearised base has an ESS/N of 0.01 at ends in the other well."""
    task = get_task("double_well", steps=20, observed=observed)
    method = get_method("bridge_is", base="learned", particles=16)
    posterior = method.fit(task.simulate(8_000, 1), 2)
    assert isinstance(posterior, BridgePosterior)
    assert posterior.points == 4_000 // 16  # the other half was spent on learning
    x_o = torch.tensor([[1.0, -0.5, 0.8][:observed]])
    u = 0.5 * torch.randn(50, 2, generator=torch.Generator().manual_seed(3))
    found = posterior.log_likelihood(u.double()[None], x_o, [4])
    exact = task.log_likelihood(task.prior.to_theta(u.double()), x_o)
    assert found.ess_fraction.mean() > 0.6
    z = (found.value - exact) / found.stderr
    assert z.square().mean() < 2  # 1 + 5 standard deviations of a mean of 50 squares


def test_learned_scores_need_a_budget() -> None:
    task = get_task("double_well", steps=20)
    with pytest.raises(UserError, match="learned scores need a budget of 30 or more"):
        get_method("bridge_is", base="learned").fit(task.simulate(29, 1), 2)
    with pytest.raises(UserError, match="2 particles need a budget of 16 or more, but it is 15"):
        get_method("bridge_is", base="learned").fit(task.simulate(15, 1), 2)
    with pytest.raises(UserError, match="apply to reverse bridges only"):
        get_method("bridge_is", base="learned", proposal="guided")


def test_points_of_a_narrow_posterior_have_the_right_weights() -> None:
    """The mean weight is the evidence, here N(x; 0, 1 + s²) in three dimensions with s = 0.2.

    Over 20 runs it is within 4.5 standard errors, a chance of 1 in 150,000.
    """
    x, s, ratios, sizes = torch.tensor([0.5, -1.5, 1.0]), 0.2, [], []
    evidence = torch.distributions.Normal(0.0, (1 + s**2) ** 0.5).log_prob(x).sum()
    for seed in range(20):
        mixture, drawn = Mixture(3), []
        for k in range(10):
            drawn.append(mixture.draw(100, 100 * seed + k))
            value = torch.distributions.Normal(torch.cat(drawn), s).log_prob(x).sum(1)
            points = mixture.weigh(torch.cat(drawn), Estimate(*[value] * 6))
            mixture.fit(points)
        ratios.append(float((torch.logsumexp(points.log_weights, 0) - math.log(1000) - evidence).exp()))
        sizes.append(points.effective_size)
    found = torch.tensor(ratios)
    assert abs(float((found.mean() - 1) / found.std())) * 20**0.5 < 4.5
    assert found.std() < 0.1
    assert sum(sizes) / 20 > 500  # in two halves, from the prior and a Student-t, it is 180


def test_samples_are_drawn_as_often_as_they_weigh() -> None:
    """By systematic resampling, W n times, rounded up or down, in random order."""
    shares = torch.tensor([0.1, 0.0, 0.55, 0.35], dtype=torch.float64)
    u = torch.arange(4.0).unsqueeze(1)
    drawn = WeightedPoints(u, shares.log(), Estimate(*[shares] * 6)).draw(999, 1)[:, 0]
    counts = torch.bincount(drawn.long(), minlength=4)
    assert ((counts - 999 * shares).abs() < 1).all()
    assert not drawn.equal(drawn.sort().values)


def test_the_kernel_is_exact_for_the_scheme_where_that_costs_little() -> None:
    """Along paths of predators and prey the adjoint kernel is 4 nats too low: it is not the scheme's.

    Against other bridges, guided forwards. With 256 and 512 bridges, the errors of both are near 0.2.
    """
    task = get_task("lotka_volterra_diffusion")
    x_o = task.observations().x[2].double()
    u = task.reference(x_o).sample(4, 1).double()
    starts, ends = torch.cat([task.start[None], x_o.view(10, 2)[:-1]]), x_o.view(10, 2)
    sde = task.sde(task.prior.to_theta(u[:, None, None]))
    exact = log_likelihoods(sde, starts, ends, task.grid, normals(2, 19, 4, 10, 512, 2)).sum(1)
    errors = {}
    for kernel in ("auto", "adjoint"):
        posterior = get_method("bridge_is", kernel=kernel, particles=256).fit(task.simulate(1024, 1), 2)
        errors[kernel] = (posterior.log_likelihood(u[None], x_o[None], [3]).value[0] - exact).abs().max()
    assert errors["auto"] < 1.0
    assert errors["adjoint"] > 2.0


@pytest.mark.parametrize("name", ["geometric_brownian", "landmarks"])
def test_the_kernel_is_adjoint_where_the_covariance_changes_much_or_there_is_no_drift(name: str) -> None:
    posterior = get_method("bridge_is").fit(get_task(name).simulate(16, 1), 2)
    assert posterior.sampler.kernel == "adjoint"


class SquareRoot(DiffusionTask):
    """dX = (1 − X) dt + e^θ √X dW: no path is below 0, where there is no noise."""

    name: ClassVar[str] = "square_root"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "A process that stays positive."

    observed: float = -0.5

    prior = Normal(-1.0, 0.3)
    dim_theta = 1
    start = torch.ones(1, dtype=torch.float64)
    grid = TimeGrid(1.0, 10)

    def drift(self, x, theta):
        return 1 - x

    def diffusion(self, x, theta):
        return theta.exp() * x.clamp_min(0).sqrt()

    def observations(self):
        known = super().observations()
        return known._replace(x=torch.full_like(known.x, self.observed))


@pytest.mark.parametrize(
    ("observed", "cause"),
    [
        (-0.5, "as Σ at the end point is singular: correct the model or leave it out"),
        (1e5, "as it is over 1,000 standard deviations away: leave it out"),
    ],
)
def test_an_observation_that_no_path_reaches_is_a_row_that_says_so(observed: float, cause: str) -> None:
    task, method = SquareRoot(observed=observed), get_method("bridge_is")
    rows = run_cell(
        Cell(task, method, 80, 1, ("parameter_rmse",), 10, observations=1, root_seed=1, timeout=None)
    ).rows
    assert rows["status"].tolist() == ["not_finite"]
    assert rows["reason"][0].startswith("method bridge_is: the likelihood is next to 0 at all ")
    assert rows["reason"][0].endswith(f"at the best of them no bridge reaches end point 0, {cause}")


class Backwards(SquareRoot):
    name: ClassVar[str] = "backwards"
    grids = TimeGrid.between((1.0, 0.5), 5)


def test_times_that_do_not_increase_are_a_row_that_says_so() -> None:
    cell = Cell(
        Backwards(), get_method("bridge_is"), 80, 1, ("parameter_rmse",), 10, 1, root_seed=1, timeout=None
    )
    rows = run_cell(cell).rows
    assert rows["status"].tolist() == ["not_finite"]
    assert rows["reason"][0] == "diffusion: times must increase from 0, but interval 2 takes -0.5."
