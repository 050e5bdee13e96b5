"""Compositions against exact scores of Gaussians, and of methods that learn from single items."""

from dataclasses import replace

import pytest
import torch

from graybench.methods import get_method, load_posterior
from graybench.methods.method import Method
from graybench.methods.nn.network import ReplicatedMLP
from graybench.methods.score import composition
from graybench.methods.score.composition import compose, information_of
from graybench.methods.score.samplers import SAMPLERS, log_prob_ode
from graybench.methods.score.schedule import T_MIN, alpha_sigma_at, time_of_ratio
from graybench.tasks import get_task
from graybench.tasks.errors import UserError
from graybench.tasks.reference import GaussianReference
from graybench.tasks.seeding import generator
from graybench.tasks.structure import Items, Series
from graybench.tests.numbers import normal

TIMES = (T_MIN, 0.01, 0.1, 0.3, 0.6, 1.0)
EXACT = ("gauss", "jac")


def gaussians(n, **options):
    """Return the posteriors of n single draws, and of all of them."""
    task = get_task("linear_gaussian", draws=n, **options)
    x = task.observations().x[0]
    single = task.with_items(1)
    return [single.reference(row) for row in x.reshape(n, -1)], task.reference(x)


def exact_scores(references):
    """Return the diffused scores of Gaussians as a function for `compose`, differentiable in u_t."""
    means = torch.stack([r.mean for r in references]).unsqueeze(1)

    def single(u_t, t, items):
        alpha, sigma = alpha_sigma_at(t)
        precision = torch.linalg.inv(references[0].diffused(alpha, sigma).covariance)
        return -(u_t - alpha * means[items]) @ precision

    return single


def composed(kind, references):
    """Return the composed score of Gaussians with the same covariance."""
    covariance = references[0].covariance
    information = (torch.linalg.inv(covariance) - torch.eye(len(covariance))).expand(len(references), -1, -1)
    given = information if kind == "gauss" else None
    return compose(exact_scores(references), len(references), kind == "jac", given)


@pytest.mark.parametrize("rows", [1, composition.ROWS])
@pytest.mark.parametrize("n", [1, 2, 50, 200])
@pytest.mark.parametrize("kind", EXACT)
def test_gaussians_compose_exactly_at_every_time(kind, n, rows, monkeypatch):
    """Both compositions are exact for Gaussians, in blocks of any size; what is left is rounding."""
    monkeypatch.setattr(composition, "ROWS", rows)
    singles, together = gaussians(n, dim=3, rotated=True, spread=4.0)
    score = composed(kind, singles)
    for t in TIMES:
        alpha, sigma = alpha_sigma_at(t)
        u_t = together.diffused(alpha, sigma).sample(20, 3)
        exact = together.diffused_score(u_t, alpha, sigma)
        assert ((score(u_t, t) - exact) * sigma).abs().max() < 1e-9 / min(alpha, 0.1) ** 2


@pytest.mark.parametrize("n", [2, 50, 200])
def test_the_factorised_score_is_exact_without_noise_and_too_steep_with_it(n):
    """In one dimension with likelihood information h per draw, the slopes at σ² = ½ are

    exact −2/(1 + 1/(1 + n h)),    factorised −2n/(1 + 1/(1 + h)) + n − 1
    """
    singles, together = gaussians(n, dim=1)
    score = composed("factorised", singles)
    tiny = 1e-9
    alpha, sigma = alpha_sigma_at(tiny)
    u = together.sample(20, 3)
    exact = together.diffused_score(u, alpha, sigma)
    assert ((score(u, tiny) - exact) / exact.abs().mean()).abs().max() < 1e-4

    h, t = 1 / float(singles[0].covariance) - 1, time_of_ratio(1.0)
    points = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    slope = float(score(points, t).diff(dim=0))
    assert slope == pytest.approx(-2 * n / (1 + 1 / (1 + h)) + n - 1, rel=1e-9)
    assert slope / (-2 / (1 + 1 / (1 + n * h))) > n / 3  # too steep, and the more the more items


@pytest.mark.parametrize(("sampler", "steps"), [("ode", 40), ("exponential", 40), ("sde", 400)])
@pytest.mark.parametrize("kind", EXACT)
def test_samplers_of_a_composed_score_draw_the_posterior_of_all_items(kind, sampler, steps):
    """Standardised by the posterior, draws have the mean 0 and the covariance I.

    n times the mean's square is chi-squared with 2 degrees of freedom: below 30 but for 3e-7. The entries of
    the covariance have standard deviations of at most 0.045 with 1,000 draws: 0.25 is over five of them.
    """
    singles, together = gaussians(10)
    random, n = generator(7), 1000

    def draw():
        return torch.randn(n, 2, generator=random, dtype=torch.float64)

    drawn = SAMPLERS[sampler].run(composed(kind, singles), draw, steps)
    factor = torch.linalg.cholesky(together.covariance)
    standard = torch.linalg.solve_triangular(factor, (drawn - together.mean).T, upper=False).T
    assert n * standard.mean(0).square().sum() < 30
    assert (standard.T @ standard / n - torch.eye(2)).abs().max() < 0.25


@pytest.mark.parametrize(
    ("sampler", "steps", "narrowest", "widest"), [("ode", 40, 0, 0.01), ("sde", 400, 0.6, 0.85)]
)
def test_samples_of_the_factorised_score_are_too_narrow(sampler, steps, narrowest, widest):
    """Widths in those of the posterior of 20 items: measured 0.003 and 0.73, with a spread of 0.02."""
    singles, together = gaussians(20)
    random = generator(7)

    def draw():
        return torch.randn(500, 2, generator=random, dtype=torch.float64)

    drawn = SAMPLERS[sampler].run(composed("factorised", singles), draw, steps)
    widths = drawn.std(0) / together.covariance.diagonal().sqrt()
    assert widths.min() > narrowest
    assert widths.max() < widest


@pytest.mark.parametrize("kind", EXACT)
def test_log_prob_along_the_flow_is_the_density_of_all_items(kind):
    singles, together = gaussians(10)
    u = together.sample(5, 5)
    found = log_prob_ode(composed(kind, singles), u, 60)
    assert (found - together.log_prob(u)).abs().max() < 0.01


def test_covariances_of_gaussians_are_found_without_sampling_error():
    """The draws' noise is exactly standard, so what is left is the integrator's error, in float32."""
    laws = [
        GaussianReference(normal(2, seed=k), torch.diag(w))
        for k, w in enumerate(normal(3, 2).square() + 0.01)
    ]

    def score(u_t, t):
        diffused = [law.diffused(*alpha_sigma_at(t)) for law in laws]
        return (
            torch.stack(
                [-(u_t[0, k] - d.mean) @ torch.linalg.inv(d.covariance) for k, d in enumerate(diffused)]
            )
            .unsqueeze(0)
            .float()
        )

    found = information_of(score, 3, 2, "cpu")[0] + torch.eye(2)
    exact = torch.stack([law.covariance for law in laws])
    assert (found @ exact - torch.eye(2)).abs().max() < 0.01


def test_items_that_are_said_to_widen_the_prior_leave_it_as_wide():
    """A negative total information is raised to 0: then s = −u_t + Σ A_i (s_i + u_t)."""
    information = torch.diag_embed(torch.tensor([[-0.9, 0.5], [-0.9, 0.5]], dtype=torch.float64))
    u_t = normal(5, 2)

    def single(u_t, t, items):
        return -u_t + 1.0

    sigma = alpha_sigma_at(1.0)[1]
    weight = 1 + sigma**2 * torch.tensor([-0.9, 0.5], dtype=torch.float64)
    total = torch.tensor([1.0, 1 + sigma**2], dtype=torch.float64)
    found = compose(single, 2, False, information)(u_t, 1.0)
    assert torch.allclose(found, -u_t + 2 * weight / total)


@pytest.fixture(scope="module")
def trained():
    """MIX learned from 4,000 single draws, for one replicate, whatever the composition."""
    simulations = get_task("linear_gaussian").simulate(4000, 2)
    return get_method("mix", gate="matrix", composition="gauss").fit(simulations, 3)


def with_composition(posterior, kind):
    """Return the same trained posterior with another composition."""
    restored = replace(posterior.method, composition=kind).restore(posterior.state(), posterior.dims)
    restored._describe(posterior.dims, True)
    return restored


@pytest.mark.parametrize("kind", EXACT)
def test_mix_composed_over_20_items_is_near_the_exact_posterior(kind, trained):
    """Errors in standard deviations of the posterior; measured: means 0.26, widths 0.03, mostly of training.

    Means of 300 draws vary by 0.06, and widths by 0.04.
    """
    task = get_task("linear_gaussian", draws=20)
    x_o = task.observations().x[:3]
    drawn = with_composition(trained, kind).sample(300, x_o, 1).double()
    for o, x in enumerate(x_o):
        exact = task.reference(x)
        std = exact.covariance.diagonal().sqrt()
        assert ((drawn[o].mean(0) - exact.mean) / std).abs().max() < 0.6
        assert (drawn[o].std(0) / std - 1).abs().max() < 0.25


def test_one_item_is_composed_as_without_composition(trained):
    x_o = get_task("linear_gaussian").observations().x[:2]
    u = normal(2, 5, 2)
    plain = with_composition(trained, "none")
    for kind in ("factorised", "gauss", "jac"):
        one = with_composition(trained, kind)
        assert one.sample(10, x_o, 1).equal(plain.sample(10, x_o, 1))
        assert one.score(u, x_o, 0.3).equal(plain.score(u, x_o, 0.3))
        assert one.log_prob(u, x_o).equal(plain.log_prob(u, x_o))
        assert one.evaluations(x_o) == plain.network_evaluations


@pytest.mark.parametrize("kind", ["factorised", "gauss", "jac"])
def test_observations_do_not_mix_and_order_does_not_matter(kind, trained):
    posterior = with_composition(trained, kind)
    x_o = get_task("linear_gaussian", draws=6).observations().x[:3]
    u = normal(3, 5, 2)
    scores = posterior.score(u, x_o, 0.2)
    assert torch.allclose(posterior.score(u[1:2], x_o[1:2], 0.2), scores[1:2], rtol=1e-3, atol=1e-3)
    turned = x_o.reshape(3, 6, 2).flip(1).flatten(1)
    assert torch.allclose(posterior.score(u, turned, 0.2), scores, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("kind", "passes"), [("factorised", 1), ("gauss", 1), ("jac", 3)])
def test_every_item_counts_as_an_evaluation(kind, passes, trained, monkeypatch):
    """Rows of the network per sample; each of two backward passes of `jac` counts as an evaluation."""
    posterior = with_composition(trained, kind)
    x_o = get_task("linear_gaussian", draws=3).observations().x[:1]
    if kind == "gauss":
        posterior.information(posterior.items(x_o))  # not counted
    rows, forward = 0, ReplicatedMLP.forward

    def counting(self, inputs):
        nonlocal rows
        rows += inputs[..., 0].numel()
        return forward(self, inputs)

    monkeypatch.setattr(ReplicatedMLP, "forward", counting)
    posterior.sample(7, x_o, 1)
    assert rows * passes == 7 * posterior.evaluations(x_o)


def test_replicates_sampled_together_are_those_sampled_alone():
    task = get_task("linear_gaussian", draws=3)
    method = get_method("dsm", steps=30, composition="gauss")
    posteriors = method.fit_replicates([task.with_items(1).simulate(100, r) for r in (1, 2)], [3, 4])
    x_o = task.observations().x[:2]
    together = method.sample_replicates(posteriors, 20, x_o, [5, 6])
    alone = [p.sample(20, x_o, seed) for p, seed in zip(posteriors, [5, 6], strict=True)]
    assert torch.allclose(together, torch.stack(alone), atol=1e-3)


def test_a_composing_posterior_can_be_saved_and_loaded(trained, tmp_path):
    trained.save(tmp_path)
    x_o = get_task("linear_gaussian", draws=2).observations().x
    assert load_posterior(tmp_path).sample(5, x_o, 1).equal(trained.sample(5, x_o, 1))


@pytest.mark.parametrize("structure", [None, Series(2), Items(1, 2), Items(1, Items(2, independent=True))])
def test_items_that_are_not_independent_are_refused(structure):
    simulations = replace(get_task("linear_gaussian").simulate(10, 1), structure=structure)
    method: Method = get_method("dsm", steps=1, composition="jac")
    with pytest.raises(UserError, match="composition=jac needs x of items that are independent given θ"):
        method.fit(simulations, 1)


def test_observations_must_be_a_whole_number_of_items(trained):
    with pytest.raises(UserError, match=r"^x_o must have shape \(m, k · 2\) for k blocks of items.*\(1, 5\)"):
        trained.sample(3, torch.zeros(1, 5), 1)
    with pytest.raises(UserError, match=r"\(m, k · 2\).*\(1, 0\)"):
        trained.sample(3, torch.zeros(1, 0), 1)
    with pytest.raises(UserError, match=r"x_o must have shape \(m, 2\)"):
        with_composition(trained, "none").sample(3, torch.zeros(1, 4), 1)
    with pytest.raises(UserError, match="there is no composition 'gaus': did you mean gauss"):
        get_method("dsm", composition="gaus")
