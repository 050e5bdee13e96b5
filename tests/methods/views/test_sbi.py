"""Posteriors in sbi's own diagnostics: exact ones pass, overconfident ones do not; densities of θ."""

import math
import pickle
import sys

import matplotlib as mpl
import pytest
import torch
from torch import distributions

from graybench.methods import get_method
from graybench.methods.method import Posterior
from graybench.methods.rivals.baselines import PriorPosterior
from graybench.tasks.classic.linear_gaussian import LinearGaussian
from graybench.tasks.errors import UserError
from graybench.tasks.prior import CorrelatedNormal, LogNormal, Normal, Uniform
from graybench.tasks.seeding import derive_seed

pytest.importorskip("sbi")

TASK = LinearGaussian(2)
X = TASK.observations().x


class Exact(Posterior):
    """The exact posterior of TASK, its samples drawn `width` times as far from the mean."""

    def __init__(self, width=1.0):
        self.width = width

    def sample(self, n, x_o, seed):
        laws = [TASK.reference(x) for x in x_o]
        draws = torch.stack([law.sample(n, derive_seed(seed, i)) for i, law in enumerate(laws)])
        means = torch.stack([law.mean for law in laws]).unsqueeze(1)
        return means + self.width * (draws - means)

    def log_prob(self, u, x_o):
        return torch.stack([TASK.reference(x).log_prob(rows) for rows, x in zip(u, x_o, strict=True)])


def simulations(n, seed):
    drawn = TASK.simulate(n, seed)
    torch.manual_seed(seed)
    return drawn.theta.float(), drawn.x.float()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("width", "calibrated"), [(1.0, True), (0.5, False)])
def test_sbc_tells_the_exact_posterior_from_an_overconfident_one(width, calibrated):
    """Two p-values above 1e-3: the exact posterior fails 1 seed in 500."""
    from sbi.diagnostics import check_sbc, run_sbc

    theta, x = simulations(200, 1)
    posterior = Exact(width).as_sbi(TASK.prior)
    ranks, averaged = run_sbc(theta, x, posterior, num_posterior_samples=300, show_progress_bar=False)
    p_values = check_sbc(ranks, theta, averaged, num_posterior_samples=300)["ks_pvals"]
    assert bool((p_values > 1e-3).all()) == calibrated
    assert calibrated or bool((p_values < 1e-4).all())


@pytest.mark.parametrize(("width", "calibrated"), [(1.0, True), (0.5, False)])
def test_tarp_tells_the_exact_posterior_from_an_overconfident_one(width, calibrated):
    """At the exact posterior the area between coverage and level has the standard deviation 0.16/√n.

    With n = 2,000 that is 0.0036, and the bound is 5 of them and more: 1 seed in a million fails. The p-value
    of `check_tarp` is asked not to reject alone: it compares two curves of few points and rejects next to
    nothing.
    """
    from sbi.diagnostics import check_tarp, run_tarp

    theta, x = simulations(2000, 2)
    posterior = Exact(width).as_sbi(TASK.prior)
    coverage, level = run_tarp(theta, x, posterior, num_posterior_samples=200, show_progress_bar=False)
    area, p_value = check_tarp(coverage, level)
    assert (abs(area) < 0.02) == calibrated
    assert calibrated or area < -0.035
    assert not calibrated or p_value > 0.05


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("width", "calibrated"), [(1.0, True), (0.15, False)])
def test_the_local_classifier_test_rejects_the_overconfident_posterior_alone(width, calibrated):
    """The p-value is 0 if the statistic is above those of all 30 permutations: 1 exact seed in 31 fails."""
    from sbi.diagnostics import LC2ST

    theta, x = simulations(400, 3)
    posterior = Exact(width).as_sbi(TASK.prior)
    drawn = posterior.sample_batched((1,), x)[0]
    options = {"hidden_layer_sizes": (20,), "max_iter": 200, "solver": "lbfgs"}
    test = LC2ST(theta, x, drawn, num_trials_null=30, classifier_kwargs=options)
    test.train_on_observed_data().train_under_null_hypothesis(verbosity=0)
    p_value = test.p_value(posterior.sample((300,), X[0]), X[:1].float())
    assert (p_value > 0) == calibrated


def test_pairplot_draws_its_samples():
    pytest.importorskip("six")  # sbi.analysis imports it, but sbi does not ask for it
    mpl.use("Agg")
    from sbi.analysis import pairplot

    figure, axes = pairplot(Exact().as_sbi().sample((100,), X[0]))
    assert axes.shape == (2, 2)
    mpl.pyplot.close(figure)


PRIORS = {
    "normal": (
        Normal([1.0, -2.0], [0.5, 3.0]),
        distributions.Normal(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])),
    ),
    "log_normal": (LogNormal(0.3, 0.8), distributions.LogNormal(torch.full((2,), 0.3), 0.8)),
    "uniform": (
        Uniform([-1.0, 2.0], [1.0, 2.5]),
        distributions.Uniform(torch.tensor([-1.0, 2.0]), torch.tensor([1.0, 2.5])),
    ),
}


@pytest.mark.parametrize(("prior", "law"), PRIORS.values(), ids=list(PRIORS))
def test_the_prior_method_has_the_priors_own_density_in_theta(prior, law):
    posterior = PriorPosterior(2).as_sbi(prior).set_default_x(X[0])
    theta = law.sample((50,))
    torch.testing.assert_close(posterior.log_prob(theta), law.log_prob(theta).sum(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "prior",
    [*(prior for prior, _ in PRIORS.values()), CorrelatedNormal((1.0, 2.0), ((2.0, 0.0), (-0.7, 0.4)))],
    ids=[*PRIORS, "correlated"],
)
def test_densities_of_theta_have_the_jacobian_of_autograd(prior):
    """T is differentiated by autograd alone; u comes from the samples themselves."""
    posterior = Exact().as_sbi(prior)
    torch.manual_seed(4)
    theta = posterior.sample((20,), X[0]).double()
    u = prior.to_u(theta)
    jacobians = torch.stack([torch.autograd.functional.jacobian(prior.to_theta, row) for row in u])
    expected = TASK.reference(X[0].float()).log_prob(u) - torch.linalg.det(jacobians).abs().log()
    torch.testing.assert_close(posterior.log_prob(theta, X[0]), expected.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(posterior.potential(theta, X[0]), expected.float(), rtol=1e-5, atol=1e-5)


def test_a_density_integrates_to_one_and_is_zero_outside_the_support():
    """By the midpoint rule over the support of θ; on both sides of it the density is 0."""
    centres = (torch.arange(1000) + 0.5) / 1000 * 4 - 1  # U(-1, 3)
    grid = torch.cartesian_prod(centres, centres)
    log_prob = Exact().as_sbi(Uniform(-1.0, 3.0)).set_default_x(X[0]).log_prob
    assert float(log_prob(grid).exp().sum()) * (4 / 1000) ** 2 == pytest.approx(1, abs=1e-3)
    outside = torch.tensor([[-1.5, 0.0], [0.0, 3.5], [3.1, -1.1]])
    assert log_prob(outside).tolist() == [-math.inf] * 3


def test_sampling_is_ruled_by_the_global_seed():
    posterior = Exact().as_sbi().set_default_x(X[0])

    def draw(seed):
        torch.manual_seed(seed)
        return torch.stack([posterior.sample((5,)), posterior.sample((5,))])

    first = draw(1)
    assert torch.equal(first, draw(1))
    assert not torch.equal(first, draw(2))
    assert not torch.equal(first[0], first[1])


def test_shapes_are_those_of_sbi():
    posterior = Exact().as_sbi()
    assert posterior.sample((3, 4), X[0]).shape == (3, 4, 2)
    assert posterior.sample(x=X[:1]).shape == (2,)
    drawn = posterior.sample_batched((3, 4), X[:5])
    assert drawn.shape == (3, 4, 5, 2)
    assert drawn.dtype == torch.float32
    assert pickle.loads(pickle.dumps(posterior)).sample((2,), X[0]).shape == (2, 2)


def test_samples_go_with_their_observation():
    """|z| < 5 at 20 means: an implementation that keeps the order fails in 1 of 80,000 seeds."""
    torch.manual_seed(5)
    drawn = Exact().as_sbi().sample_batched((30, 20), X).flatten(0, 1)
    laws = [TASK.reference(x) for x in X]
    z = [
        (rows.mean(0) - law.mean) / law.covariance.diagonal().sqrt() * math.sqrt(600)
        for rows, law in zip(drawn.transpose(0, 1), laws, strict=True)
    ]
    assert torch.stack(z).abs().max() < 5


def test_the_mode_of_a_gaussian_is_its_mean():
    torch.manual_seed(6)
    posterior = Exact().as_sbi().set_default_x(X[0])
    mode = posterior.map(num_iter=300, num_to_optimize=5, num_init_samples=50, learning_rate=0.02)
    torch.testing.assert_close(mode[0].double(), TASK.reference(X[0]).mean, rtol=0, atol=0.02)


def test_the_mode_of_a_fitted_posterior_is_where_its_density_is_highest():
    """By sbi's gradient ascent: nowhere on a wide grid, or a fine one around it, is it 0.02 nats higher."""
    fitted = get_method("sbi_npe").fit(TASK.simulate(200, 1), 2)
    posterior = fitted.as_sbi(TASK.prior).set_default_x(X[0])
    torch.manual_seed(9)
    mode = posterior.map(num_iter=100, num_to_optimize=2, num_init_samples=50, learning_rate=0.05)
    line = torch.arange(-3, 3, 0.05)
    near = torch.linspace(-0.1, 0.1, 41)
    at = TASK.prior.to_u(mode).float()
    for grid in (torch.cartesian_prod(line, line), at + torch.cartesian_prod(near, near)):
        density = fitted.log_prob(torch.cat([at, grid]).unsqueeze(0), X[:1])[0]
        assert not density.requires_grad
        assert float(density[0] - density.max()) > -0.02


@pytest.mark.parametrize("name", ["dsm", "sbi_npe", "sbi_fmpe", "sbi_npse", "sally"])
def test_the_gradient_of_a_density_is_its_slope(name):
    """By autograd against central differences: those of an ODE that is solved to 1e-4 err by 0.01."""
    options = {"dsm": {"steps": 200}, "sally": {"steps": 200}}.get(name, {})
    fitted = get_method(name, **options).fit(TASK.simulate(200, 1), 2)
    posterior = fitted.as_sbi()
    at, step = TASK.reference(X[0]).mean + 0.1, torch.tensor([0.01, 0.0])
    at = at.float().unsqueeze(0)
    theta = at.clone().requires_grad_(True)
    value = posterior.log_prob(theta, X[:1], track_gradients=True)
    (gradient,) = torch.autograd.grad(value.sum(), theta)
    with torch.no_grad():
        assert not fitted.log_prob(theta.unsqueeze(0), X[:1]).requires_grad
    around = [posterior.log_prob(at + sign * step, X[:1]) for sign in (1, -1)]
    assert not around[0].requires_grad
    slope = float(around[0] - around[1]) / 0.02
    assert float(gradient[0, 0]) == pytest.approx(slope, rel=0.02, abs=0.02)


def test_a_trained_posterior_is_the_one_that_sbi_sees():
    fitted = get_method("rejection_abc", least=20).fit(TASK.simulate(500, 7), 1)
    torch.manual_seed(8)
    seen = fitted.as_sbi(LogNormal()).sample((200,), X[0]).double().log()
    assert torch.cdist(seen, fitted.nearest(X[:1])[0]).min(1).values.max() < 1e-5


def test_mistakes_are_answered(monkeypatch):
    posterior = Exact().as_sbi()
    with pytest.raises(UserError, match="one observation, but x has 3: use sample_batched"):
        posterior.sample((2,), X[:3])
    for density in (posterior.log_prob, posterior.potential):
        with pytest.raises(UserError, match="one observation, but x has 3"):
            density(torch.zeros(1, 2), X[:3])
    with pytest.raises(ValueError, match="set_default_x"):
        posterior.sample((2,))
    with pytest.raises(NotImplementedError, match="has no log_prob"):
        get_method("rejection_abc").fit(TASK.simulate(50, 1), 1).as_sbi().log_prob(torch.zeros(1, 2), X[:1])
    monkeypatch.delitem(sys.modules, "graybench.methods.views.sbi")
    monkeypatch.setitem(sys.modules, "sbi.inference.posteriors.base_posterior", None)
    with pytest.raises(UserError, match=r"pip install 'graybench\[sbi\]'"):
        Exact().as_sbi()
