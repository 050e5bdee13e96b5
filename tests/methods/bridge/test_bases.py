"""Bases against exact laws, and against the equation that a transition density solves."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from graybench.methods.bridge.bases import (
    Base,
    ExactBase,
    FlowBase,
    HeatKernelBase,
    LinearisedBase,
    MidpointBase,
    NoBase,
    candidates,
)
from graybench.methods.bridge.likelihood import BridgeSampler, average
from graybench.tasks import get_task
from graybench.tasks.errors import UserError
from graybench.tasks.landmarks.diffusion import DriftingLandmarks
from graybench.tasks.landmarks.task import ellipse
from graybench.tasks.sde.geometric_brownian import GeometricBrownianMotion
from graybench.tasks.sde.sde import SDE, TimeGrid, euler_path
from graybench.tasks.seeding import generator
from graybench.tests.methods.bridge.models import (
    UNEVEN,
    brownian,
    geometric,
    landmarks,
    moved_shapes,
    normals,
    reverting,
)

GRID = TimeGrid(1.5, 30)
EACH_GRID = pytest.mark.parametrize("grid", [GRID, UNEVEN], ids=["equal", "uneven"])


def test_the_exact_pull_is_covariance_times_score_plus_divergence() -> None:
    sde, x_0, x = geometric(), torch.ones(3, dtype=torch.float64), normals(1, 5, 3).exp()
    t, mu, sigma = 10 * GRID.dt, float(sde.mu), float(sde.sigma)
    score = -(1.5 + (x.log() - mu * t) / (sigma**2 * t)) / x
    pull = ExactBase(sde, x_0, GRID).pull(10, x, sde.at(x))
    torch.testing.assert_close(pull, sigma**2 * x**2 * score + 2 * sigma**2 * x)


def test_without_a_base_the_score_is_zero() -> None:
    sde, x = geometric(), normals(1, 5, 3).exp()
    pull = NoBase(sde, torch.ones(3, dtype=torch.float64), GRID).pull(10, x, sde.at(x))
    torch.testing.assert_close(pull, 2 * float(sde.sigma) ** 2 * x)


@EACH_GRID
def test_the_linearised_base_is_the_law_of_the_scheme_where_the_model_is_linear(grid: TimeGrid) -> None:
    """With a = 1 − k dt, step i adds s² dt to the variance, times a² of every later step."""
    sde, x_0, x = reverting(), normals(2, 3), normals(3, 5, 3)
    k, mu, s, dt = float(sde.k), float(sde.mu), float(sde.s), grid.lengths
    base = LinearisedBase(sde, x_0, grid)
    for steps in (1, 12, 30):
        a = 1 - k * dt[:steps]
        mean = mu + (x_0 - mu) * a.prod()
        variance = sum(s**2 * float(dt[i] * a[i + 1 :].square().prod()) for i in range(steps))
        law = torch.distributions.Normal(mean, variance**0.5)
        torch.testing.assert_close(base.log_density(steps, x, sde.at(x)), law.log_prob(x).sum(-1))
        torch.testing.assert_close(base.pull(steps, x, sde.at(x)), s**2 * (mean - x) / variance)


@EACH_GRID
def test_the_linearised_base_has_the_covariance_at_x_in_its_last_step(grid: TimeGrid) -> None:
    """The linearised drift is 0: C_k = Σ(x_0) t_{k−1} + Σ(x) dt."""
    sde, x_0, x = geometric(mu=0.0), torch.ones(3, dtype=torch.float64), normals(3, 5, 3).exp()
    base, sigma = LinearisedBase(sde, x_0, grid), float(sde.sigma)
    for steps in (1, 12, 30):
        variance = sigma**2 * (grid.time(steps - 1) + x.square() * grid.step(steps - 1))
        law = torch.distributions.Normal(x_0, variance.sqrt())
        torch.testing.assert_close(base.log_density(steps, x, sde.at(x)), law.log_prob(x).sum(-1))


@EACH_GRID
def test_the_linearised_base_is_exact_for_brownian_motion(grid: TimeGrid) -> None:
    sde, x_0, x = brownian(), normals(2, 3), normals(3, 5, 3)
    linearised, exact = (base(sde, x_0, grid) for base in (LinearisedBase, ExactBase))
    for steps in (1, 30):
        here = sde.at(x)
        torch.testing.assert_close(linearised.pull(steps, x, here), exact.pull(steps, x, here))
        torch.testing.assert_close(linearised.log_density(steps, x, here), exact.log_density(steps, x, here))


@EACH_GRID
def test_the_flow_base_is_the_law_of_the_scheme_where_the_model_is_linear(grid: TimeGrid) -> None:
    """Its pull gives a step the scheme's E[X_{k−1} | X_k]."""
    sde, x_0, x = reverting(), normals(2, 3), normals(3, 5, 3)
    linear, flow = LinearisedBase(sde, x_0, grid), FlowBase(sde, x_0, grid)
    for steps in (1, 2, 12, grid.steps):
        here, dt, k = sde.at(x), grid.step(steps - 1), float(sde.k)
        torch.testing.assert_close(flow.log_density(steps, x, here), linear.log_density(steps, x, here))
        before, now = (law[steps - 1 : steps + 1] for law in (linear.spreads, linear.means))
        gain = before[0].diagonal(dim1=-2, dim2=-1) * (1 - k * dt) / before[1].diagonal(dim1=-2, dim2=-1)
        mean = now[0] + gain * (x - now[1])
        torch.testing.assert_close(x + (flow.pull(steps, x, here) - here.drift) * dt, mean)


def test_the_flow_base_follows_the_path_without_noise() -> None:
    """Its mean is the Euler path, and its covariance that of small noise: both within O(σ) of Euler paths.

    Of 4,000 paths, the mean is known to 0.016 standard deviations and a variance to 2.2 %: 5 of each.
    """
    task = get_task("lorenz96", steps=20)
    sde = task.sde(torch.tensor([8.0, math.log(0.01)], dtype=torch.float64))
    grid = TimeGrid(0.2, 20)
    x_0 = task.start + normals(1, 10)
    ends = euler_path(sde, x_0, grid, normals(2, 20, 4_000, 10))[:, -1]
    flow = FlowBase(sde, x_0, grid)
    covariance = flow.factors[-1] @ flow.factors[-1].mT
    white = torch.linalg.solve_triangular(flow.factors[-1], (ends - flow.means[-1]).mT, upper=False)
    assert (ends.mean(0) - flow.means[-1]).abs().max() < 0.08 * covariance.diagonal().max().sqrt()
    assert (torch.cov(white) - torch.eye(10)).abs().max() < 0.11


def test_flow_bridges_are_good_where_the_drift_is_strong() -> None:
    """Along a path of ten dimensions, the bases that look from the start alone have a third of the ESS."""
    task = get_task("lorenz96")
    x_o = task.simulate(1, 3)
    ends = x_o.x.double().view(-1, 10)
    starts = torch.cat([task.start.unsqueeze(0), ends[:-1]]).unsqueeze(1)
    sde = task.sde(x_o.theta.double())
    least = {}
    for base in ("linearised", "midpoint", "flow"):
        found = BridgeSampler(base=base, particles=128).estimate(sde, starts, ends, task.grid, 4)
        least[base] = float(found.ess_fraction.mean())
    assert least["flow"] > 0.9
    assert max(least["linearised"], least["midpoint"]) < 0.8


def test_gradients_go_through_the_flow_base() -> None:
    """Against central differences, in θ and in the start."""
    sampler, y = BridgeSampler(base="flow", particles=8), normals(5, 3, 2).exp()
    noise = sampler.noise(TimeGrid(0.5, 6), y.shape[:1], 2, 7)

    def value(point: Tensor) -> Tensor:
        sde, x_0 = GeometricBrownianMotion(point[0], point[1]), point[2:]
        return average(sampler.bridges(sde, x_0, y, TimeGrid(0.5, 6), noise)).value.sum()

    point = torch.tensor([0.4, 0.3, 1.1, 0.8], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(value(point), point)
    with torch.no_grad():
        steps = 1e-5 * torch.eye(4, dtype=torch.float64)
        differences = torch.stack([value(point + step) - value(point - step) for step in steps]) / 2e-5
    torch.testing.assert_close(gradient, differences, rtol=1e-5, atol=1e-5)


@EACH_GRID
def test_midpoint_is_exact_for_brownian_motion_and_near_for_geometric(grid: TimeGrid) -> None:
    x_0, x = normals(2, 3), normals(3, 5, 3)
    midpoint, exact = (base(brownian(), x_0, grid) for base in (MidpointBase, ExactBase))
    for steps in (1, 30):
        here = brownian().at(x)
        torch.testing.assert_close(midpoint.pull(steps, x, here), exact.pull(steps, x, here))
        torch.testing.assert_close(midpoint.log_density(steps, x, here), exact.log_density(steps, x, here))
    sde, x_0, x = geometric(), torch.ones(3, dtype=torch.float64), 1 + 0.1 * normals(4, 5, 3)
    midpoint, exact = (base(sde, x_0, TimeGrid(0.04, 1000)) for base in (MidpointBase, ExactBase))
    # in one standard deviation, t = 0.04, what is left is of the order of t and of (x − x_0)²
    difference = midpoint.log_density(1000, x, sde.at(x)) - exact.log_density(1000, x, sde.at(x))
    assert difference.abs().max() < 0.05


@pytest.mark.parametrize("base", [HeatKernelBase, MidpointBase])
@EACH_GRID
def test_landmarks_far_from_each_other_are_brownian_motions(base: type[Base], grid: TimeGrid) -> None:
    sde = landmarks(a=0.3, length=0.5)
    x_0 = 100 * normals(4, 6)
    x, variance, t = x_0 + normals(5, 7, 6), 0.3**2 * (1 + 1e-3), grid.time(12)
    made = base(sde, x_0, grid)
    law = torch.distributions.Normal(x_0, (variance * t) ** 0.5)
    torch.testing.assert_close(made.log_density(12, x, sde.at(x)), law.log_prob(x).sum(-1))
    torch.testing.assert_close(made.pull(12, x, sde.at(x)), (x_0 - x) / t)


def test_the_pull_of_midpoint_is_the_gradient_of_its_density() -> None:
    sde = landmarks()
    x_0, y = moved_shapes(sde, 4, 1, 6)
    base, x, step = MidpointBase(sde, x_0, GRID), y[0], 1e-5
    units = step * torch.eye(8, dtype=torch.float64)
    ahead, behind = (base.log_density(9, p, sde.at(p)) for p in (x + units, x - units))
    score = (ahead - behind) / (2 * step)
    here = sde.at(x)
    torch.testing.assert_close(
        base.pull(9, x, here), here.times(score) + here.divergence, rtol=1e-6, atol=1e-6
    )


def residual(base: type[Base], sde: SDE, x_0: Tensor, x: Tensor, t: float) -> float:
    """∂_t log h − (L* h)/h, which is 0 for a transition density, L* = ½ ∂_i ∂_j Σ_ij for f = 0, at x (D,)."""

    def log_h(point: Tensor, time: float) -> Tensor:
        grid = TimeGrid(time, 10**7)  # so fine that the part of C with dt is of no account
        return base(sde, x_0, grid).log_density(grid.steps, point, sde.at(point))

    def h_sigma(point: Tensor) -> Tensor:
        here = sde.at(point)
        return torch.stack([here.times(e) for e in torch.eye(len(x), dtype=x.dtype)]) * log_h(point, t).exp()

    step = 1e-4 * t
    in_time = float(log_h(x, t + step) - log_h(x, t - step)) / (2 * step)
    jacobian = torch.autograd.functional.jacobian

    def first(point: Tensor) -> Tensor:
        return torch.einsum("ijj->i", jacobian(h_sigma, point, create_graph=True))

    generated = 0.5 * torch.einsum("ii->", jacobian(first, x)) / log_h(x, t).exp()
    return in_time - float(generated)


def test_midpoint_solves_the_forward_equation_to_second_order() -> None:
    """At distance √t the residual is O(1/√t) for a base of the first order, O(1) of the second."""
    sde, x_0 = landmarks(a=0.5, nugget=0.1), 0.5 * normals(7, 4)
    direction = sde.at(x_0).colour(normals(8, 4))
    sizes = {}
    for base in (HeatKernelBase, MidpointBase):
        sizes[base] = [abs(residual(base, sde, x_0, x_0 + t**0.5 * direction, t)) for t in (1e-2, 1e-4)]
    small, large = sizes[MidpointBase], sizes[HeatKernelBase]
    assert small[1] < 3 * small[0]  # bounded as t falls a hundredfold
    # the density of heat_kernel lacks the drift's factor, which its pull has: it is of the first order
    assert large[1] > 5 * large[0]


def test_bases_by_name() -> None:
    assert candidates(landmarks()) == ("heat_kernel", "midpoint")
    assert candidates(geometric()) == candidates(reverting()) == ("flow", "midpoint")
    with pytest.raises(UserError, match="for landmarks only"):
        HeatKernelBase(brownian(), normals(1, 2), GRID)
    with pytest.raises(UserError, match="exact needs an SDE with a transition density in closed form"):
        ExactBase(landmarks(), normals(1, 4), GRID)


@pytest.mark.parametrize("power", [1, 2], ids=["equal", "uneven"])
def test_the_heat_kernel_of_drifting_landmarks_is_exact_for_small_movements(power: int) -> None:
    # For a → 0 with v = O(a), k is constant along the way: a Brownian motion with a drift.
    start, a = ellipse(5, 2).flatten(), 1e-4
    velocity = a * torch.randn(10, generator=generator(3), dtype=torch.float64)
    log_a, log_length = torch.tensor([a, 0.5], dtype=torch.float64).log()
    sde = DriftingLandmarks(log_a, log_length, 2, 1e-3, velocity)
    grid = TimeGrid.at([2.0 * (k / 8) ** power for k in range(9)])
    x = start + a * torch.randn(4, 10, generator=generator(4), dtype=torch.float64)
    covariance = torch.kron(sde.at(start).kernel, torch.eye(2, dtype=torch.float64))
    for base in (HeatKernelBase(sde, start, grid), MidpointBase(sde, start, grid)):
        for k in (3, 8):
            t = grid.time(k)
            law = MultivariateNormal(start + velocity * t, covariance * t)
            found, pull = base.log_density(k, x, sde.at(x)), base.pull(k, x, sde.at(x))
            assert found.numpy() == pytest.approx(law.log_prob(x).numpy(), abs=0.02)
            expected = (start + velocity * t - x) / t
            assert pull.detach().numpy() == pytest.approx(expected.numpy(), abs=2e-3 * a)
