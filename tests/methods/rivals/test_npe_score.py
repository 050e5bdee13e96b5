"""Posterior estimation with joint scores: its density against numerical truths, its score term, a fit."""

import math
import random
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from graybench.methods import get_method
from graybench.methods.rivals import npe_score
from graybench.methods.rivals.npe_score import WEIGHTS, AutoregressiveMixture, MixturePosterior
from graybench.tasks.classic.gaussian_mixture import GaussianMixture
from graybench.tasks.classic.hierarchical_normal import HierarchicalNormal
from graybench.tasks.classic.linear_gaussian import LinearGaussian
from graybench.tasks.errors import UserError
from graybench.tasks.seeding import generator

TASK = LinearGaussian(3, spread=8.0, rotated=True)  # posterior correlations up to 0.75
QUICK = {"steps": 800, "width": 32}


def random_mixture(d, k=2, scale=1.5):
    model = AutoregressiveMixture(d, torch.randn(50, k, generator=generator(1)), 4, 16, 2, 2)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(scale)
    return model.double()


def test_the_density_integrates_to_one_and_its_samples_have_its_moments():
    """On a grid of two parameters; six moments of 20,000 samples with |z| < 4.5: 1 in 24,000 seeds fails."""
    model, x = random_mixture(2), torch.tensor([[0.4, -1.0]], dtype=torch.float64)
    axis = torch.linspace(-12, 12, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        mass = model(grid, x.expand(len(grid), -1)).exp() * float(axis[1] - axis[0]) ** 2
    assert float(mass.sum()) == pytest.approx(1, abs=1e-4)
    model = model.float()
    with torch.no_grad():
        samples = model.sample(x.float().expand(20_000, -1), generator(3)).double()
    for values, at in ((samples, grid), (samples**2, grid**2), (samples.prod(1, True), grid.prod(1, True))):
        z = (values.mean(0) - (mass[:, None] * at).sum(0)) / (values.std(0) / math.sqrt(20_000))
        assert z.abs().max() < 4.5


def test_the_score_is_continuous_and_the_derivative_of_the_density():
    """Steps of the score fall with the distance: between neighbours 10⁻⁴ apart it moves by 10⁻² at most."""
    model = random_mixture(3)
    line = torch.linspace(-4, 4, 80_001, dtype=torch.float64).unsqueeze(1) * torch.ones(1, 3).double()
    _, score = model.with_score(line, torch.zeros(len(line), 2, dtype=torch.float64))
    assert score.detach().diff(dim=0).abs().max() < 1e-2
    u, x = torch.randn(20, 3, generator=generator(4)).double(), torch.randn(20, 2).double()
    _, score = model.with_score(u, x)
    for i in range(3):
        step = 1e-5 * torch.eye(3, dtype=torch.float64)[i]
        with torch.no_grad():
            difference = (model(u + step, x) - model(u - step, x)) / 2e-5
        torch.testing.assert_close(score[:, i].detach(), difference, rtol=1e-5, atol=1e-6)


def fresh_loss(posterior, task=TASK):
    fresh = task.simulate(2000, 5)
    return -float(posterior.log_prob(fresh.u.unsqueeze(1), fresh.x).mean())


@pytest.fixture(scope="module")
def small():
    return TASK.simulate(500, 6)


@pytest.fixture(scope="module")
def right(small):
    return fresh_loss(get_method("npe_score", score_weight=1.0, **QUICK).fit(small, 7))


def test_joint_scores_lower_the_loss_on_fresh_simulations(small, right):
    """−log q of the truth: 1.44 with λ = 1 and 1.72 with λ = 0, when measured; 1.18 is exact."""
    assert right < fresh_loss(get_method("npe_score", score_weight=0.0, **QUICK).fit(small, 7)) - 0.1


@pytest.mark.parametrize("wrong", ["sign", "prior", "rows"])
def test_wrong_scores_make_it_worse(small, right, wrong):
    """Scores of the opposite sign, in all or in the likelihood's part, or of other simulations.

    They still regularise: −log q is 1.71, 1.75 and 1.67, about as without scores, when measured.
    """
    g = small.joint_score
    scores = {"sign": -g, "prior": -g - 2 * small.u, "rows": g.roll(1, 0)}[wrong]
    method = get_method("npe_score", score_weight=1.0, **QUICK)
    assert fresh_loss(method.fit(replace(small, joint_score=scores), 7)) > right + 0.1


def test_the_weight_is_chosen_by_the_loss_on_held_out_simulations(small):
    """With 500 simulations a weight above 0 is chosen; the loss is −log q of the last tenth of them."""
    method = get_method("npe_score", **QUICK)
    assert method.fit(small, 7).score_weight in WEIGHTS[1:]
    data = small.u.float(), small.x.float(), small.joint_score.float()
    found = method._held_out_loss(*data, 1.0, 20, 3)
    model = method._train(*data, 1.0, 20, 3)
    assert found == pytest.approx(-float(model(data[0][450:], data[1][450:]).detach().mean()))


def test_a_weight_whose_training_diverges_is_not_chosen(small, monkeypatch):
    losses = iter([math.nan, 2.0, 1.0, math.inf])
    monkeypatch.setattr(
        AutoregressiveMixture, "forward", lambda self, u, x: torch.full((len(u),), -next(losses))
    )
    monkeypatch.setattr(npe_score, "train", lambda *args, **options: None)
    assert get_method("npe_score").fit(small, 7).score_weight == WEIGHTS[2]


def test_a_posterior_is_that_of_a_fit_with_its_chosen_weight(small):
    method = get_method("npe_score", steps=40, width=8)
    chosen = method.fit(small, 8)
    named = replace(method, score_weight=chosen.score_weight).fit(small, 8)
    x_o = TASK.observations().x[:2]
    assert torch.equal(chosen.sample(20, x_o, 9), named.sample(20, x_o, 9))


def test_short_fit_recovers_the_posterior_and_leaves_the_global_generators_alone():
    """Allowed for the fit: 0.5 standard deviations of a mean, and 0.5 of a whitened covariance."""
    method = get_method("npe_score", **(QUICK | {"steps": 1500, "score_weight": 1.0}))
    kept = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    posterior = method.fit(TASK.simulate(2000, 10).only(method.requires), 11)
    x_o = TASK.observations().x[:2]
    samples = posterior.sample(2000, x_o, 12)
    for o in range(2):
        reference = TASK.reference(x_o[o])
        root = torch.linalg.cholesky(reference.covariance)
        white = torch.linalg.solve_triangular(root, (samples[o].double() - reference.mean).T, upper=False).T
        assert white.mean(0).abs().max() < 0.5
        assert (white.T.cov() - torch.eye(3)).abs().max() < 0.5
        exact = reference.sample(4000, 13)
        found = posterior.log_prob(exact.unsqueeze(0), x_o[o : o + 1])[0].double()
        assert abs(float((reference.log_prob(exact) - found).mean())) < 0.15  # divergence, in nats
    assert torch.equal(samples, posterior.sample(2000, x_o, 12))
    assert not torch.equal(samples, posterior.sample(2000, x_o, 13))
    assert torch.equal(kept[0], torch.get_rng_state())
    assert kept[1:] == (np.random.get_state()[1].tolist(), random.getstate())


def test_a_log_density_is_differentiable_where_asked():
    posterior = MixturePosterior(random_mixture(2).float().requires_grad_(False), torch.Tensor.float, 1.0)
    u = torch.zeros(1, 3, 2, requires_grad=True)
    posterior.log_prob(u, torch.ones(1, 2)).sum().backward()
    assert u.grad is not None
    assert not posterior.log_prob(u.detach(), torch.ones(1, 2)).requires_grad
    assert posterior.sample(0, torch.ones(3, 2), 1).shape == (3, 0, 2)


def test_discrete_and_structured_data_are_taken():
    task = HierarchicalNormal()
    posterior = get_method("npe_score", steps=5, width=8).fit(task.simulate(200, 14), 15)
    assert posterior.summarise.trained.shape == (200, 3)
    assert posterior.sample(7, task.observations().x[:2], 16).shape == (2, 7, 3)
    mixture = GaussianMixture()
    simulations = mixture.simulate(100, 17)
    whole = replace(simulations, x=simulations.x.round().long())
    fitted = get_method("npe_score", steps=5, width=8).fit(whole, 18)
    assert fitted.sample(3, whole.x[:1], 1).isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score_weight": -1.0}, "score_weight must be a finite number from 0 up, but is -1.0"),
        ({"score_weight": float("inf")}, "score_weight must be a finite number from 0 up, but is inf"),
        ({"rate": "fast"}, "rate must be a finite number above 0, but is 'fast'"),
        ({"components": 0}, "components must"),
        ({"summaries": "set"}, "no summaries 'set': did you mean sets"),
    ],
)
def test_mistakes_are_answered_with_what_to_do(options, message):
    with pytest.raises(UserError, match=message):
        get_method("npe_score", **options)


def test_a_missing_package_or_score_is_named(monkeypatch):
    simulations = TASK.simulate(10, 1)
    with pytest.raises(UserError, match="method npe_score needs simulations with a joint_score: use"):
        get_method("npe_score").fit(simulations.only(frozenset()), 1)
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(UserError, match=r"pip install 'graybench\[sbi\]'"):
        get_method("npe_score").fit(simulations, 1)
