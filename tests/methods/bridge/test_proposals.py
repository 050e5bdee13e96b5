"""Bridges against exact densities: closed forms, and the scheme's own density by quadrature."""

import math

import pytest
import torch
from torch import Tensor

from graybench.methods.bridge.bases import (
    Base,
    ExactBase,
    HeatKernelBase,
    LinearisedBase,
    MidpointBase,
    NoBase,
)
from graybench.methods.bridge.likelihood import BridgeSampler, LostBridgesWarning, average
from graybench.methods.bridge.proposals import Bridges, Resampling, guided_bridges, reverse_bridges
from graybench.tasks.sde.sde import SDE, TimeGrid
from graybench.tests.methods.bridge.models import (
    NODE_WEIGHTS,
    NODES,
    UNEVEN,
    DoubleWell,
    brownian,
    double_well,
    end_points,
    geometric,
    landmarks,
    moved_shapes,
    normals,
    number,
    reverting,
    scheme_density,
    uniforms,
)


def log_mean(bridges: Bridges) -> Tensor:
    return torch.logsumexp(bridges.log_weights, -1) - math.log(bridges.log_weights.shape[-1])


def adjoint_density(sde: SDE, x_0: float, y: float, grid: TimeGrid, low: float, high: float) -> float:
    """The same of the adjoint scheme, from y backwards with the factor exp(c dt)."""
    steps = grid.lengths.tolist()
    x = 0.5 * (high - low) * NODES + 0.5 * (high + low)
    weights = 0.5 * (high - low) * NODE_WEIGHTS

    def kernel(start: Tensor, end: Tensor, dt: float) -> Tensor:
        here = sde.at(start.unsqueeze(-1))
        drift = (here.divergence - here.drift) * dt
        moved = here.log_normal(end.unsqueeze(-1) - start.unsqueeze(-1) - drift, dt)
        return (moved + here.second_order * dt).exp()

    density = kernel(number(y).expand(len(x)), x, steps[-1])
    for dt in steps[-2:0:-1]:
        density = (density * weights) @ kernel(x.unsqueeze(1).expand(-1, len(x)), x.expand(len(x), -1), dt)
    return float((density * weights) @ kernel(x, number(x_0).expand(len(x)), steps[0]))


EACH_GRID = pytest.mark.parametrize("grid", [TimeGrid(1.5, 30), UNEVEN], ids=["equal", "uneven"])
FEW_STEPS = pytest.mark.parametrize(
    "grid", [TimeGrid(1.0, 4), TimeGrid.at((0.0, 0.1, 0.3, 0.8, 1.0))], ids=["equal", "uneven"]
)


@pytest.mark.parametrize("kernel", ["forward", "adjoint"])
@pytest.mark.parametrize("dim", [1, 2, 20])
@EACH_GRID
def test_every_weight_of_a_brownian_bridge_is_the_density(kernel: str, dim: int, grid: TimeGrid) -> None:
    sde, x_0 = brownian(), normals(1, dim)
    y = end_points(sde, x_0, grid, 5, 2)
    noise = normals(3, grid.steps - 1, 5, 8, dim)
    found = reverse_bridges(ExactBase(sde, x_0, grid), y, noise, kernel=kernel)
    exact = sde.log_transition(x_0, y, 1.5).unsqueeze(-1).expand(5, 8)
    torch.testing.assert_close(found.log_weights, exact, rtol=0, atol=1e-10)


@EACH_GRID
def test_guided_bridges_are_exact_for_brownian_motion(grid: TimeGrid) -> None:
    sde, x_0 = brownian(), normals(1, 3)
    y = end_points(sde, x_0, grid, 5, 2)
    found = guided_bridges(sde, x_0, y, grid, normals(3, grid.steps - 1, 5, 8, 3))
    exact = sde.log_transition(x_0, y, 1.5).unsqueeze(-1).expand(5, 8)
    torch.testing.assert_close(found.log_weights, exact, rtol=0, atol=1e-10)


@pytest.mark.parametrize("threshold", [0.0, 0.98])
@pytest.mark.parametrize("proposal", ["exact", "linearised", "guided"])
@pytest.mark.parametrize("model", ["geometric", "reverting"])
@FEW_STEPS
def test_the_forward_kernel_is_unbiased_for_the_scheme(
    model: str, proposal: str, threshold: float, grid: TimeGrid
) -> None:
    sde: SDE = geometric(sigma=0.3) if model == "geometric" else reverting()
    x_0, y = number(1.0).view(1), number(1.3).view(1)
    low, high = (0.02, 6.0) if model == "geometric" else (-8.0, 8.0)
    exact = float(scheme_density(sde, 1.0, number(1.3).view(1), grid, low, high))
    n = 200_000 if threshold == 0 else 500
    runs = 1 if threshold == 0 else 400
    noise, shifts = normals(5, 3, runs, n, 1), uniforms(6, 3, runs)
    ends, resampling = y.expand(runs, 1), Resampling(threshold, shifts) if threshold else None
    if proposal == "guided":
        found = guided_bridges(sde, x_0, ends, grid, noise, resampling=resampling)
    else:
        base = (ExactBase if proposal == "exact" else LinearisedBase)(sde, x_0, grid)
        found = reverse_bridges(base, ends, noise, kernel="forward", resampling=resampling)
    # one run of many bridges, or many runs that resample: either way independent terms of the same mean
    terms = found.log_weights.exp()
    terms = terms[0] if threshold == 0 else terms.mean(-1)
    deviation = (float(terms.mean()) - exact) / (float(terms.std()) / len(terms) ** 0.5)
    assert abs(deviation) < 4.5  # each fails once in 150,000 times
    assert float(terms.std()) / len(terms) ** 0.5 < 0.02 * exact  # so that the check can find 10 %
    if threshold > 0 and proposal != "exact":
        assert found.resamplings.sum() > 0


@FEW_STEPS
def test_the_adjoint_kernel_is_unbiased_for_the_adjoint_scheme(grid: TimeGrid) -> None:
    sde = geometric(mu=0.0, sigma=0.3)
    x_0, y = number(1.0).view(1), number(1.3).view(1, 1)
    exact = adjoint_density(sde, 1.0, 1.3, grid, 0.02, 8.0)
    base = ExactBase(sde, x_0, grid)
    found = reverse_bridges(base, y, normals(7, 3, 1, 200_000, 1), kernel="adjoint")
    weights = found.log_weights[0].exp()
    stderr = float(weights.std()) / len(weights) ** 0.5
    assert abs(float(weights.mean()) - exact) < 4.5 * stderr  # fails once in 150,000 times
    assert stderr < 0.005 * exact


def test_the_covariance_factor_is_essential() -> None:
    grid, n = TimeGrid(1.0, 100), 20_000
    for dim in (1, 4):
        sde, x_0 = brownian(0.0, 1.0), torch.zeros(dim, dtype=torch.float64)
        y = end_points(sde, x_0, grid, 1, 8)
        noise = normals(9, grid.steps - 1, 1, n, dim)
        base = ExactBase(sde, x_0, grid)
        found = reverse_bridges(base, y, noise, kernel="forward", bridge_covariance=False)
        share = torch.softmax(found.log_weights[0], 0)
        ess_fraction = 1 / float(share.square().sum()) / n
        # the variance of the estimate is finite; 10 % is over five of its standard deviations
        assert ess_fraction == pytest.approx(2 ** (-dim / 2), rel=0.1)


@pytest.mark.parametrize("base", [HeatKernelBase, MidpointBase])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("power", [1, 2])
def test_reverse_and_guided_bridges_agree_on_landmarks(base: type[Base], dimensions: int, power: int) -> None:
    """Two densities with nothing in common: the scheme's from guided bridges, the adjoint scheme's."""
    sde = landmarks(a=0.1, dimensions=dimensions)
    grid = TimeGrid.at([(k / 50) ** power for k in range(51)])
    x_0, y = moved_shapes(sde, 6, 4, 11)
    dim = x_0.numel()
    back = reverse_bridges(base(sde, x_0, grid), y, normals(12, 49, 4, 500, dim), kernel="adjoint")
    ahead = guided_bridges(sde, x_0, y, grid, normals(13, 49, 4, 2000, dim))
    share = [torch.softmax(b.log_weights, -1).square().sum(-1) for b in (back, ahead)]
    stderr = (share[0] + share[1]).sqrt()
    # 4.5 standard errors, once in 150,000 for each of the four pairs; 0.05 nats for the two discretisations
    assert ((log_mean(back) - log_mean(ahead)).abs() < 4.5 * stderr + 0.05).all()
    assert (stderr < 0.2).all()


@pytest.mark.parametrize("options", [{}, {"threshold": 0.9}, {"proposal": "guided", "threshold": 0.9}])
def test_grids_that_name_their_times_give_the_same_numbers(options) -> None:  # type: ignore[no-untyped-def]
    """Bit for bit, whether the times are found to be equidistant or are used as they are."""
    sde, sampler = landmarks(), BridgeSampler(particles=40, **options)
    x_0, y = moved_shapes(sde, 6, 3, 11)
    equal, named, listed = (
        sampler.estimate(sde, x_0, y, grid, 5)
        for grid in (
            TimeGrid(1.0, 20),
            TimeGrid.at([k / 20 for k in range(21)]),
            TimeGrid(1.0, 20, tuple(map(float, range(21)))),
        )
    )
    for field, other, third in zip(equal, named, listed, strict=True):
        assert torch.equal(field.nan_to_num(), other.nan_to_num())
        assert torch.equal(field.nan_to_num(), third.nan_to_num())


def test_a_finer_grid_near_the_start_is_another_grid() -> None:
    sde = landmarks()
    x_0, y = moved_shapes(sde, 6, 3, 11)
    equal, finer = (
        BridgeSampler(particles=40).estimate(sde, x_0, y, TimeGrid.at([(k / 20) ** p for k in range(21)]), 5)
        for p in (1, 1.5)
    )
    assert (equal.value - finer.value).abs().min() > 1e-3


@pytest.mark.parametrize("kernel", ["forward", "adjoint"])
@pytest.mark.parametrize("base", [HeatKernelBase, MidpointBase])
def test_gradients_through_bridges_agree_with_differences(base: type[Base], kernel: str) -> None:
    grid, noise = TimeGrid(1.0, 6), normals(21, 5, 2, 3, 6)
    start, y = moved_shapes(landmarks(), 3, 2, 22)

    def value(log_a: Tensor, log_length: Tensor, x_0: Tensor, end: Tensor) -> Tensor:
        sde = type(landmarks())(log_a, log_length, 2, 1e-2)
        return log_mean(reverse_bridges(base(sde, x_0, grid), end, noise, kernel=kernel))

    points = [number(-1.6), number(-0.7), start, y]
    assert torch.autograd.gradcheck(value, [p.clone().requires_grad_() for p in points], atol=1e-5, rtol=1e-4)


def test_gradients_go_through_linearised_and_exact_bases() -> None:
    grid, noise, y = TimeGrid(1.0, 6), normals(23, 5, 2, 3, 2), normals(24, 2, 2)
    for base in (LinearisedBase, ExactBase, NoBase):

        def value(k: Tensor, s: Tensor, x_0: Tensor, base: type[Base] = base) -> Tensor:
            sde = type(reverting())(k, number(0.5), s)
            return log_mean(reverse_bridges(base(sde, x_0, grid), y, noise, kernel="forward"))

        points = [number(1.1), number(0.8), normals(25, 2)]
        assert torch.autograd.gradcheck(value, [p.requires_grad_() for p in points], atol=1e-6)


def test_gradients_through_guided_bridges_agree_with_differences() -> None:
    grid, noise = TimeGrid(1.0, 6), normals(26, 5, 2, 3, 6)
    start, y = moved_shapes(landmarks(), 3, 2, 27)

    def value(log_a: Tensor, log_length: Tensor, x_0: Tensor) -> Tensor:
        return log_mean(guided_bridges(type(landmarks())(log_a, log_length, 2, 1e-2), x_0, y, grid, noise))

    points = [number(-1.6), number(-0.7), start]
    assert torch.autograd.gradcheck(value, [p.requires_grad_() for p in points], atol=1e-5, rtol=1e-4)


def few_of_many_overflow() -> tuple[DoubleWell, TimeGrid, Tensor, Tensor]:
    """A double well whose linear base pulls some bridges away: model, grid, start and noise."""
    return double_well(sigma=1.2), TimeGrid(1.5, 8), number(-1.0).view(1), normals(21, 7, 20_000, 1)


def test_bridges_that_overflow_weigh_nothing() -> None:
    """The value is within four of its errors (a chance of 1 in 16,000) of the scheme's density."""
    sde, grid, x_0, noise = few_of_many_overflow()
    y = x_0 - 0.5
    drawn = reverse_bridges(LinearisedBase(sde, x_0, grid), y, noise, kernel="forward")
    found = average(drawn)
    assert 0.01 < float(found.lost_fraction) < 0.5
    assert float(found.lost_fraction) == pytest.approx(
        float((drawn.log_weights == -math.inf).double().mean())
    )
    exact = math.log(float(scheme_density(sde, -1.0, y, grid, -6.0, 6.0)))
    assert abs(float(found.value) - exact) < 4 * float(found.stderr) < 0.4


def test_the_gradient_does_not_see_bridges_that_overflow() -> None:
    _, grid, x_0, noise = few_of_many_overflow()

    def value(sigma: Tensor) -> Tensor:
        base = LinearisedBase(DoubleWell(number(1.0), sigma), x_0, grid)
        drawn = reverse_bridges(base, x_0 - 0.5, noise[:, :200], kernel="forward")
        assert int(drawn.lost) > 0
        return average(drawn).value

    sigma = number(1.2).requires_grad_()
    (gradient,) = torch.autograd.grad(value(sigma), sigma)
    difference = (value(number(1.2 + 1e-6)) - value(number(1.2 - 1e-6))) / 2e-6
    assert float(gradient) == pytest.approx(float(difference), rel=1e-4)


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_a_model_that_is_nan_everywhere_loses_every_bridge(threshold: float) -> None:
    sde, x_0 = double_well(theta=math.nan), number(-1.0).view(1)
    found = BridgeSampler(base="midpoint", particles=8, threshold=threshold)
    with pytest.warns(LostBridgesWarning, match="as the drift at the start is not finite: correct"):
        lost = found.estimate(sde, x_0, x_0, TimeGrid(1.0, 5), 1)
    assert float(lost.value) == -math.inf
    assert float(lost.stderr) == math.inf
    assert float(lost.ess_fraction) == float(lost.final_ess_fraction) == 0
    assert float(lost.lost_fraction) == 1


def test_guided_bridges_that_resample_look_ahead_along_the_drift() -> None:
    """From one well to the other. A look ahead along the drift at one point had an ESS/N of 0.01."""
    sde, grid, x_0 = double_well(sigma=0.5), TimeGrid(1.0, 50), number(-1.0).view(1)
    sampler = BridgeSampler(proposal="guided", particles=1000, threshold=0.5)
    found = sampler.estimate(sde, x_0, number(1.0).view(1, 1), grid, 22)
    assert float(found.ess_fraction) > 0.9
    exact = math.log(float(scheme_density(sde, -1.0, -x_0, grid, -3.0, 3.0)))
    assert float(found.value) == pytest.approx(exact, abs=0.02)  # five standard errors


def test_paths_run_from_start_to_end_and_follow_their_particles() -> None:
    sde, grid, x_0 = geometric(), TimeGrid(1.0, 10), torch.ones(2, dtype=torch.float64)
    y, noise = end_points(geometric(), x_0, grid, 3, 31), normals(32, 9, 3, 50, 2)
    base = LinearisedBase(sde, x_0, grid)
    options = {"resampling": Resampling(0.9, uniforms(33, 9, 3)), "keep_paths": True}
    for found in (
        reverse_bridges(base, y, noise, kernel="forward", **options),
        guided_bridges(sde, x_0, y, grid, noise, **options),
    ):
        assert found.paths is not None
        assert found.paths.shape == (3, 50, 11, 2)
        assert (found.paths[:, :, 0] == x_0).all()
        assert (found.paths[:, :, -1] == y.unsqueeze(1)).all()
        assert found.resamplings.min() > 0
        assert found.origins.unique().numel() < 50


def test_the_weights_of_a_path_are_those_of_its_states() -> None:
    """Without resampling, log w is the scheme's log-density of the path less that of the proposal."""
    sde, grid, x_0 = geometric(), TimeGrid(1.0, 8), torch.ones(2, dtype=torch.float64)
    y, noise = end_points(geometric(), x_0, grid, 1, 34), normals(35, 7, 1, 4, 2)
    base = LinearisedBase(sde, x_0, grid)
    found = reverse_bridges(base, y, noise, kernel="forward", keep_paths=True)
    assert found.paths is not None
    dt = grid.dt
    for particle in range(4):
        path, expected = found.paths[0, particle], 0.0
        for k in range(8):
            here = sde.at(path[k])
            law = torch.distributions.Normal(path[k] + here.drift * dt, here.scale * dt**0.5)
            expected += float(law.log_prob(path[k + 1]).sum())
        for k in range(1, 8):
            after = sde.at(path[k + 1])
            mean = path[k + 1] + (base.pull(k + 1, path[k + 1], after) - after.drift) * dt
            law = torch.distributions.Normal(mean, after.scale * (dt * k / (k + 1)) ** 0.5)
            expected -= float(law.log_prob(path[k]).sum())
        assert float(found.log_weights[0, particle]) == pytest.approx(expected, abs=1e-9)


def test_one_model_for_each_row_gives_what_a_loop_gives() -> None:
    grid, x_0 = TimeGrid(1.0, 8), torch.zeros(2, dtype=torch.float64)
    k, s, noise, y = (
        number(0.9) + uniforms(41, 3),
        number(0.5) + uniforms(42, 3),
        normals(43, 7, 3, 5, 2),
        normals(44, 3, 2),
    )
    for base in (LinearisedBase, ExactBase):
        batch = type(reverting())(k.unsqueeze(1), number(0.5), s.unsqueeze(1))
        together = reverse_bridges(base(batch, x_0, grid), y, noise, kernel="forward").log_weights
        for row in range(3):
            alone = type(reverting())(k[row], number(0.5), s[row])
            one = reverse_bridges(base(alone, x_0, grid), y[row], noise[:, row], kernel="forward").log_weights
            torch.testing.assert_close(together[row], one, rtol=0, atol=1e-10)


@pytest.mark.parametrize("proposal", ["reverse", "guided"])
def test_a_start_for_each_end_gives_what_a_loop_gives(proposal: str) -> None:
    """Guided bridges ended in an error where each end point had its own start."""
    base = "linearised" if proposal == "reverse" else "auto"
    sampler, grid = BridgeSampler(base=base, proposal=proposal, particles=4), TimeGrid(1.0, 10)
    starts, ends = normals(1, 5, 1, 3), normals(2, 5, 3)
    noise = sampler.noise(grid, ends.shape[:-1], 3, seed=3)
    together = sampler.bridges(reverting(), starts, ends, grid, noise).log_weights
    for m in range(5):
        own = noise[0][:, m], noise[1][:, m]
        alone = sampler.bridges(reverting(), starts[m, 0], ends[m], grid, own).log_weights
        torch.testing.assert_close(together[m], alone)
