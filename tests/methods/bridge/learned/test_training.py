"""Learned scores against exact ones, what each objective learns, and when a network is not used."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from graybench.methods.bridge.bases import ExactBase, LinearisedBase, MidpointBase, NoBase
from graybench.methods.bridge.inference import Likelihood, maximise
from graybench.methods.bridge.learned.scores import LearnedScores
from graybench.methods.bridge.learned.training import Paths, ScoreTraining, learn, one_point
from graybench.methods.bridge.likelihood import BridgeSampler, average
from graybench.tasks.errors import UserError
from graybench.tasks.landmarks.task import ellipse
from graybench.tasks.sde.brownian import BrownianMotion
from graybench.tasks.sde.ornstein_uhlenbeck import MeanReversion
from graybench.tasks.sde.sde import SDE, TimeGrid
from graybench.tests.methods.bridge.models import (
    DoubleWell,
    brownian,
    double_well,
    end_points,
    geometric,
    landmarks,
    normals,
    number,
    reverting,
    scheme_density,
    uniforms,
)

GRID, UNEVEN = TimeGrid(1.0, 20), TimeGrid.at([(k / 20) ** 1.5 for k in range(21)])
SHORT = ScoreTraining(base="none", paths=10_000, steps=600, batch=512, width=32, depth=2)


def reverting_anywhere(n: int, seed: int) -> tuple[SDE, Tensor]:
    k, mu, s, x_0 = uniforms(seed, 4, n, 1)
    return MeanReversion(0.5 + k, 2 * mu - 1, 0.5 + 0.5 * s), (3 * x_0 - 1.5).unsqueeze(-1)


def wells(n: int, seed: int) -> tuple[SDE, Tensor]:
    theta, sigma, x_0 = uniforms(seed, 3, n, 1)
    return DoubleWell(0.7 + 0.6 * theta, 0.5 + 0.4 * sigma), (3 * x_0 - 1.5).unsqueeze(-1)


def log_density(sde: SDE, start: float, y: Tensor) -> Tensor:
    return scheme_density(sde, start, y[:, 0], GRID, -4.0, 4.0).log()


@pytest.fixture(scope="module")
def scores_of_wells() -> LearnedScores:
    return learn(wells, GRID, ScoreTraining(paths=6_000, steps=1_000, batch=512, width=32, depth=2), 1)


def test_a_plain_network_learns_the_score_of_brownian_motion() -> None:
    sde, x_0 = brownian(0.0, 1.0), torch.zeros(1, dtype=torch.float64)
    scores = learn(one_point(sde, x_0), GRID, SHORT, 1)
    assert scores.used
    assert scores.held_out[0] < -10 * scores.held_out[1]
    learned = scores(sde, x_0, GRID)
    x = torch.linspace(-1.0, 1.0, 9, dtype=torch.float64).unsqueeze(1)
    for k in (5, 10, 20):
        t = k * GRID.dt
        states = x * t**0.5
        # bounded noise of training; a score of 0, or of the wrong sign, is off by 1 and more in these units
        assert (learned.pull(k, states, sde.at(states)) * t**0.5 + x).abs().max() < 0.15


def test_one_network_learns_the_scores_of_all_parameters_and_starts() -> None:
    """The best drift of reverse bridges, from the scheme's E[X_{k−1} | X_k], at new θ and x_0."""
    training = ScoreTraining(base="none", paths=10_000, steps=2_000, batch=512, width=32, depth=2)
    scores = learn(reverting_anywhere, GRID, training, 2)
    sde, x_0 = reverting_anywhere(200, 3)
    law, learned = LinearisedBase(sde, x_0, GRID), scores(sde, x_0, GRID)
    slope = 1 - sde.parameters[..., :1] * GRID.dt
    for k in (4, 10, 20):
        before, spread = law.spreads[k - 1].squeeze(-1), law.spreads[k].squeeze(-1)
        x = law.means[k] + spread.sqrt() * normals(4, 200, 5, 1)
        here = sde.at(x)
        mean = law.means[k - 1] + before * slope / spread * (x - law.means[k])
        pull = (mean - x) / GRID.dt + here.drift
        error = here.whiten(learned.pull(k, x, here) - pull)
        assert error.square().mean() < 0.03 * here.whiten(pull).square().mean()  # it is 0.002 to 0.014


@pytest.mark.parametrize("grid", [GRID, UNEVEN], ids=["equal", "uneven"])
def test_the_objective_is_the_divergence_of_steps_without_the_factor_r(grid: TimeGrid) -> None:
    """Half its excess, times T/K, is log q of the base less log q of the scores, over the steps of a path."""
    nothing = ScoreTraining(base="midpoint", paths=500, steps=0, width=16, depth=1)
    scores, paths = learn(wells, grid, nothing, 1), Paths.draw(wells, grid, 3, 5)
    scores.used = True
    for parameter in scores.network.mlp.parameters():
        parameter.add_(0.1)
    bases = scores(paths.sde, paths.x_0, grid), MidpointBase(paths.sde, paths.x_0, grid)
    drawn = torch.zeros(3, dtype=torch.float64)
    for k in range(1, grid.steps + 1):
        before, x, dt = paths.x[:, k - 1 : k], paths.x[:, k : k + 1], grid.step(k - 1)
        here = paths.sde.at(x)
        learned, plain = (
            here.log_normal(before - x - (base.pull(k, x, here) - here.drift) * dt, dt).squeeze(1)
            for base in bases
        )
        drawn += plain - learned
    excess = paths.excess(scores).sum(1) * grid.duration / grid.steps / 2
    torch.testing.assert_close(excess, drawn, rtol=1e-6, atol=1e-6)
    assert float(drawn.abs().min()) > 1e-2


@pytest.mark.parametrize("objective", ["corrected", "explicit", "paper"])
def test_every_objective_gives_the_same_pull(objective: str) -> None:
    """On geometric Brownian motion the pull at the median of X_t is σ² x (−1.5 + 2), whatever was learned."""
    sde, x_0 = geometric(mu=0.0), torch.ones(1, dtype=torch.float64)
    training = ScoreTraining(objective, base="none", paths=5_000, steps=600, batch=512, width=32, depth=2)
    learned = learn(one_point(sde, x_0), GRID, training, 2)(sde, x_0, GRID)
    exact = ExactBase(sde, x_0, GRID)
    x = torch.tensor([[0.8], [1.0], [1.2]], dtype=torch.float64)
    here = sde.at(x)
    for k in (10, 20):
        # div Σ counted twice, or not at all, would be off by 2 σ² x = 0.4 or more
        torch.testing.assert_close(learned.pull(k, x, here), exact.pull(k, x, here), rtol=0, atol=0.15)
    # without a base w = div Σ = 2 σ² x, and F/√t is −1.5 σ; but the paper's network has div Σ/(σ x) = 2 σ too
    (learned_at_1,) = learned.residual(torch.tensor(20), x[1:2], sde.at(x[1:2])) / 0.5
    assert float(learned_at_1) == pytest.approx(0.5 if objective == "paper" else -1.5, abs=0.25)


def test_learned_bridges_give_the_likelihood() -> None:
    sde, x_0 = reverting(), torch.zeros(1, dtype=torch.float64)
    training = ScoreTraining(base="none", paths=10_000, steps=1_500, batch=512, width=32, depth=2)
    scores = learn(one_point(sde, x_0), GRID, training, 3)
    y = end_points(sde, x_0, GRID, 20, 4)
    found = BridgeSampler(particles=500).estimate(sde, x_0, y, GRID, 5, scores)
    exact = BridgeSampler(particles=500).estimate(sde, x_0, y, GRID, 5)
    law = LinearisedBase(sde, x_0, GRID).log_density(20, y, sde.at(y))
    assert found.ess_fraction.mean() > 0.93 * exact.ess_fraction.mean()
    assert (found.value - law).abs().mean() < 0.02


def test_likelihoods_of_wells_are_right_at_all_parameters_and_starts(scores_of_wells: LearnedScores) -> None:
    """Against the density of the scheme by a fine grid."""
    sampler, y = BridgeSampler(particles=1_000), torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    for theta, sigma, start in ((0.8, 0.8, -1.0), (1.2, 0.6, -1.0), (1.0, 0.7, 0.3)):
        sde, x_0 = double_well(theta, sigma), torch.tensor([start], dtype=torch.float64)
        found = sampler.estimate(sde, x_0, y, GRID, 6, scores_of_wells)
        assert found.ess_fraction.min() > 0.5
        # four standard errors: a false alarm in 2,700 runs of six
        assert ((found.value - log_density(sde, start, y)).abs() < 4 * found.stderr).all()


def test_gradients_are_of_the_likelihood(scores_of_wells: LearnedScores) -> None:
    """Against central differences at the same noise."""
    sampler, y = BridgeSampler(particles=32), torch.tensor([[-0.8], [0.4]], dtype=torch.float64)
    noise = sampler.noise(GRID, y.shape[:1], 1, 7)

    def value(point: Tensor) -> Tensor:
        sde, x_0 = DoubleWell(point[0], point[1]), point[2:]
        return average(sampler.bridges(sde, x_0, y, GRID, noise, base=scores_of_wells)).value.sum()

    point = torch.tensor([1.0, 0.7, -0.5], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(value(point), point)
    with torch.no_grad():
        steps = 1e-5 * torch.eye(3, dtype=torch.float64)
        differences = torch.stack([value(point + step) - value(point - step) for step in steps]) / 2e-5
    torch.testing.assert_close(gradient, differences, rtol=1e-5, atol=1e-5)


def test_the_start_of_wells_is_found(scores_of_wells: LearnedScores) -> None:
    """The maximum of the exact likelihood; the sample mean is 0.10 away, as the drift moves the states."""
    sde, x_0 = double_well(), torch.tensor([0.4], dtype=torch.float64)
    y = end_points(sde, x_0, GRID, 30, 8)
    likelihood = Likelihood(
        lambda theta: DoubleWell(theta[0], theta[1]),
        y,
        GRID,
        BridgeSampler(particles=32),
        9,
        base=scores_of_wells,
    )
    fit = maximise(likelihood, torch.tensor([1.0, 0.7], dtype=torch.float64), y.mean(0), free=("x_0",))
    assert fit.converged
    tried = [float(fit.x_0) + shift for shift in (-0.04, 0.0, 0.04)]
    lower, top, upper = (float(log_density(sde, start, y).sum()) for start in tried)
    assert top > max(lower, upper)
    assert abs(float(y.mean() - fit.x_0)) > 0.08


def test_profiles_are_those_of_the_exact_likelihood(scores_of_wells: LearnedScores) -> None:
    """At each θ, the maximum over σ; the exact one is the best of a fine grid.

    With 100 end points and the noise of 64 bridges in common, differences to the profile at θ = 1 are known
    to 0.05 nats or so. Without the network, or at a fixed σ, they are wrong by more than 0.5.
    """
    x_0 = number(-1.0).view(1)
    y = end_points(double_well(), x_0, GRID, 100, 10)
    found, exact, fixed = [], [], []
    for theta in (0.75, 1.0, 1.25):

        def at(sigma: Tensor, theta: float = theta) -> SDE:
            return DoubleWell(number(theta), sigma.squeeze())

        likelihood = Likelihood(at, y, GRID, BridgeSampler(particles=64), 11, base=scores_of_wells)
        fit = maximise(likelihood, number(0.7).view(1), x_0)
        assert fit.converged
        found.append(fit.log_likelihood)
        sigmas = np.linspace(0.5, 0.9, 21)
        surface = [float(log_density(double_well(theta, sigma), -1.0, y).sum()) for sigma in sigmas]
        exact.append(max(surface))
        fixed.append(surface[5])
    relative = [[value - each[1] for value in each] for each in (found, exact, fixed)]
    assert relative[0] == pytest.approx(relative[1], abs=0.2)
    assert abs(relative[2][0] - relative[1][0]) > 0.5


def test_held_out_paths_choose_the_base() -> None:
    few = ScoreTraining(paths=300, steps=0)
    assert learn(wells, GRID, few, 1).base is MidpointBase
    assert learn(reverting_anywhere, GRID, few, 1).base is not NoBase


def test_a_network_that_does_not_help_is_not_used() -> None:
    """Few paths, many steps, and a base that is exact already: there is nothing to learn but noise."""
    sde, x_0 = reverting(), torch.zeros(5, dtype=torch.float64)
    training = ScoreTraining(base="linearised", paths=100, steps=500, batch=256)
    scores = learn(one_point(sde, x_0), GRID, training, 6)
    assert not scores.used
    assert scores.held_out[0] > 0
    y = end_points(sde, x_0, GRID, 3, 7)
    base, learned = LinearisedBase(sde, x_0, GRID), scores(sde, x_0, GRID)
    assert learned.pull(10, y, sde.at(y)).equal(base.pull(10, y, sde.at(y)))


def test_far_from_the_training_states_the_residual_stays(scores_of_wells: LearnedScores) -> None:
    sde, x_0 = double_well(), -torch.ones(1, dtype=torch.float64)
    x = torch.tensor([[1e2], [1e6]], dtype=torch.float64)
    near, far = scores_of_wells(sde, x_0, GRID).residual(torch.tensor(10), x, sde.at(x))
    assert near.equal(far)


def test_a_seed_gives_the_same_network() -> None:
    law = one_point(brownian(), torch.zeros(1, dtype=torch.float64))
    training = ScoreTraining(base="none", paths=200, steps=20, width=8, depth=1)
    one, same, other = (learn(law, GRID, training, seed).held_out for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_scores_of_another_problem_are_refused(scores_of_wells: LearnedScores) -> None:
    few = ScoreTraining(base="none", paths=15, steps=0)
    zero = torch.zeros(1, dtype=torch.float64)
    single = learn(one_point(brownian(), zero), GRID, few, 1)
    single(brownian(), zero, GRID)
    for start in (zero + 1, torch.zeros(2, dtype=torch.float64)):
        with pytest.raises(UserError, match="the start is not the one of training"):
            single(brownian(), start, GRID)
    batch = BrownianMotion(number(0.3).expand(3, 1), torch.tensor([[0.7], [0.7], [1.4]], dtype=torch.float64))
    for sde in (brownian(sigma=1.4), batch):
        with pytest.raises(UserError, match="has other parameters than in training"):
            single(sde, zero, GRID)
    with pytest.raises(UserError, match="another SDE than this MeanReversion"):
        single(reverting(), zero, GRID)
    shape = ellipse(3, 2).flatten()
    of_landmarks = learn(one_point(landmarks(), shape), GRID, few, 1)
    of_landmarks(landmarks(), shape, GRID)
    with pytest.raises(UserError, match="another SDE than this LandmarkDiffusion"):
        of_landmarks(landmarks(nugget=1e-2), shape, GRID)
    for grid, sentence in (
        (TimeGrid(2.0, 20), "than this one of 20 up to 2"),
        (TimeGrid(1.0, 30), "than this one of 30 up to 1"),
        (UNEVEN, "belong to another grid"),
    ):
        with pytest.raises(UserError, match=sentence):
            scores_of_wells(double_well(), zero, grid)


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match="did you mean corrected"):
        ScoreTraining(objective="correct")
    with pytest.raises(UserError, match="did you mean midpoint"):
        ScoreTraining(base="midpont")
    for option, least in {"paths": 15, "steps": 0, "batch": 1, "width": 1, "depth": 1}.items():
        for wrong in (least - 1, least + 0.5):
            sentence = f"scores: {option} must be a whole number from {least} up, but is {wrong}"
            with pytest.raises(UserError, match=sentence):
                ScoreTraining(**{option: wrong})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="rate must be a finite number above 0, but is 0"):
        ScoreTraining(rate=0)


def test_the_least_training_that_is_allowed_has_a_standard_error() -> None:
    law = one_point(brownian(), torch.zeros(1, dtype=torch.float64))
    training = ScoreTraining(base="none", paths=15, steps=1, batch=1, width=1, depth=1)
    mean, stderr = learn(law, GRID, training, 1).held_out
    assert math.isfinite(mean)
    assert stderr > 0
