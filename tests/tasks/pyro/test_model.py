"""The pyro adapter: scores against closed forms and differences, laws, and refused models."""

import math
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise

import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.ops.indexing import Vindex
from scipy import stats
from torch.distributions import transforms

from graybench.tasks.errors import UserError
from graybench.tasks.prior import Normal
from graybench.tasks.pyro.model import PyroTask
from graybench.tasks.seeding import generator

GROUPS, READINGS, NOISE = 3, 4, 0.5
POINTS = 50
LOADINGS = torch.tensor([[1.0, 0.5], [-0.3, 2.0], [0.7, 0.7]], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 0.8]], dtype=torch.float64)


def make(model, dim_theta=2, dim_x=1):
    """A task with this model."""
    body = {"name": "mine", "version": 1, "summary": "", "prior": Normal(std=0.5), "model": model}
    return dataclass(frozen=True)(
        type("Mine", (PyroTask,), {**body, "dim_theta": dim_theta, "dim_x": dim_x})
    )()


def groups(self, theta):
    """Two plates, one in the other: z_j ~ N(m, e^{2τ}), x_ji ~ N(z_j, NOISE²)."""
    mean, log_scale = theta
    with pyro.plate("groups", GROUPS, dim=-2):
        effect = pyro.sample("effect", dist.Normal(mean, torch.exp(log_scale)))
        with pyro.plate("readings", READINGS, dim=-1):
            pyro.sample("x", dist.Normal(effect, NOISE))


def mixture(self, theta):
    """Discrete latents in a plate: z_i ~ Bernoulli(sigmoid θ_3) chooses the mean θ_1 or θ_2 of x_i."""
    first, second, logit = theta
    means = torch.stack([first, second], -1)
    share = torch.sigmoid(logit)
    with pyro.plate("points", POINTS):
        chosen = pyro.sample("chosen", dist.Categorical(torch.stack([1 - share, share], -1)))
        pyro.sample("x", dist.Normal(Vindex(means)[..., chosen], NOISE))


def vectors(self, theta):
    """A multivariate normal and a vector of independent components, in a plate of two."""
    with pyro.plate("pairs", 2):
        place = pyro.sample("place", dist.MultivariateNormal(theta.movedim(0, -1), COVARIANCE))
        pyro.sample("x", dist.Normal(place @ LOADINGS.T, NOISE).to_event(1))


def thinned(self, theta):
    """A support may depend on a latent: N ~ Poisson(e^θ), x ~ Binomial(N, ½)."""
    total = pyro.sample("total", dist.Poisson(torch.exp(theta[0])))
    pyro.sample("x", dist.Binomial(total, probs=torch.tensor(0.5)))


def series(self, theta):
    """A loop of sites: an autoregression with a named site for each state."""
    state = pyro.sample("state_0", dist.Normal(theta[0], 1.0))
    for step in pyro.plate("steps", 2):
        state = pyro.deterministic(f"scaled_{step}", theta[1] * state, event_dim=0)
        state = pyro.sample(f"state_{step + 1}", dist.Normal(state, 1.0))
    pyro.sample("x", dist.Normal(state, NOISE))


GROUPED = make(groups, dim_x=GROUPS * READINGS)
MIXTURE = make(mixture, 3, POINTS)
VECTORS = make(vectors, 2, 6)
THINNED = make(thinned, 1)
SERIES = make(series)
TASKS = {"groups": GROUPED, "mixture": MIXTURE, "vectors": VECTORS, "thinned": THINNED, "series": SERIES}


@pytest.fixture(params=TASKS.values(), ids=TASKS)
def task(request):
    return request.param


def draw(task, n, seed=0):
    """θ from the prior and the outcome."""
    theta = 0.5 * torch.randn(n, task.dim_theta, generator=generator(seed), dtype=torch.float64)
    return theta, task.simulator(theta, generator(seed + 1))


def difference_quotient(task, theta, outcome):
    """The gradient of the joint density by central differences."""
    columns = []
    for step in 1e-5 * torch.eye(task.dim_theta, dtype=torch.float64):
        up, down = (task.log_joint(theta + s * step, outcome.x, outcome.latents) for s in (1, -1))
        columns.append((up - down) / 2e-5)
    return torch.stack(columns, 1)


def closed_form(task, theta, outcome):
    """The joint score by hand, from the draws."""
    x, z, first = outcome.x, outcome.latents, theta[:, :1]
    if task is GROUPED:
        squared = (z["effect"].flatten(1) - first).square() / torch.exp(2 * theta[:, 1:])
        in_mean = (z["effect"].flatten(1) - first) / torch.exp(2 * theta[:, 1:])
        return torch.stack([in_mean.sum(1), (squared - 1).sum(1)], 1)
    if task is MIXTURE:
        chosen = z["chosen"].flatten(1).double()
        residual = (x - torch.where(chosen == 1, theta[:, 1:2], first)) / NOISE**2
        share = chosen - torch.sigmoid(theta[:, 2:])
        return torch.stack([((1 - chosen) * residual).sum(1), (chosen * residual).sum(1), share.sum(1)], 1)
    if task is VECTORS:
        centred = z["place"].reshape(-1, 2, 2) - theta.unsqueeze(1)
        return centred.sum(1) @ torch.linalg.inv(COVARIANCE)
    if task is THINNED:
        return z["total"].flatten(1).double() - torch.exp(theta)
    states = [z[f"state_{i}"].flatten() for i in range(3)]
    slope = sum((b - theta[:, 1] * a) * a for a, b in pairwise(states))
    return torch.stack([states[0] - theta[:, 0], slope], 1)


def test_joint_score_is_the_closed_form(task):
    theta, outcome = draw(task, 200)
    torch.testing.assert_close(outcome.joint_score, closed_form(task, theta, outcome))


def test_joint_score_is_the_difference_quotient_of_the_joint_density(task):
    theta, outcome = draw(task, 50)
    expected = difference_quotient(task, theta, outcome)
    torch.testing.assert_close(outcome.joint_score, expected, rtol=1e-6, atol=1e-6)


def test_joint_density_is_that_of_the_model_by_hand():
    theta, outcome = draw(GROUPED, 20)
    effect = outcome.latents["effect"].flatten(1)
    readings = outcome.x.reshape(20, GROUPS, READINGS)
    expected = stats.norm.logpdf(effect, theta[:, :1], theta[:, 1:].exp()).sum(1)
    expected += stats.norm.logpdf(readings, effect.unsqueeze(2), NOISE).sum((1, 2))
    got = GROUPED.log_joint(theta, outcome.x, outcome.latents)
    torch.testing.assert_close(got, torch.from_numpy(expected))


def test_joint_scores_average_to_zero(task):
    """|z| < 4.5 for up to three components of five tasks: correct code fails in 1 of 14,000 seeds."""
    row = torch.tensor([[0.4, -0.3, 0.2]], dtype=torch.float64)[:, : task.dim_theta]
    score = task.simulator(row.expand(20_000, -1), generator(3)).joint_score
    z = score.mean(0) / (score.std(0) / math.sqrt(len(score)))
    assert z.abs().max() < 4.5


def test_joint_scores_average_to_the_marginal_score_of_the_thinned_count():
    """x ~ Poisson(e^θ/2): E[(S − M) h(x)] = 0 for three h, |z| < 4.5 fails in 1 of 49,000 seeds."""
    theta, outcome = draw(THINNED, 40_000)
    difference = outcome.joint_score - (outcome.x - torch.exp(theta) / 2)
    for h in (torch.ones_like(theta), torch.tanh(outcome.x), torch.cos(outcome.x)):
        terms = difference * h
        assert abs(terms.mean() / terms.std()) * math.sqrt(len(terms)) < 4.5


def test_the_draws_must_be_held_fixed():
    """All is reparametrised: carried along, z = m + e^τ ε₁ and x = z + σ ε₂ make log p = const − GROUPS τ."""
    theta = torch.zeros(10, 2, dtype=torch.float64, requires_grad=True)
    with pyro.plate("simulations", 10, dim=-3):
        traced = poutine.trace(groups).get_trace(None, theta.T.reshape(2, 10, 1, 1))
    (carried,) = torch.autograd.grad(traced.log_prob_sum(), theta)
    wrong = torch.tensor([0.0, -GROUPS], dtype=torch.float64).expand(10, 2)
    torch.testing.assert_close(carried, wrong, rtol=0, atol=1e-5)
    score = GROUPED.simulator(theta, generator(1)).joint_score
    assert ((score - carried).abs() > 0.01).all()


def test_a_transform_that_remembers_its_last_value_does_not_hide_the_gradient():
    def model(self, theta):
        place = transforms.AffineTransform(theta[0], torch.exp(theta[1]), cache_size=1)
        pyro.sample("x", dist.TransformedDistribution(dist.Normal(0.0, 1.0), [place]))

    theta, outcome = draw(make(model), 50)
    z = (outcome.x - theta[:, :1]) / torch.exp(theta[:, 1:])
    expected = torch.cat([z / torch.exp(theta[:, 1:]), z**2 - 1], 1)
    torch.testing.assert_close(outcome.joint_score, expected, rtol=1e-5, atol=1e-5)


def test_nested_plates_share_what_they_should():
    """Moments of x given θ at six places: |z| < 4.5 fails in 1 of 24,000 seeds."""
    n, mean, log_scale = 40_000, 0.3, -0.5
    theta = torch.tensor([[mean, log_scale]], dtype=torch.float64).expand(n, 2)
    x = GROUPED.simulator(theta, generator(5)).x - mean
    readings = x.reshape(n, GROUPS, READINGS)
    between, within = math.exp(2 * log_scale), NOISE**2
    cases = [
        (readings[:, 0, 0], 0.0),
        (readings[:, 2, 3], 0.0),
        (readings[:, 1, 2].square(), between + within),
        (readings[:, 0, 0] * readings[:, 0, 1], between),  # in one group
        (readings[:, 0, 0] * readings[:, 1, 0], 0.0),  # in two groups
        (readings[:-1, 0, 0] * readings[1:, 0, 0], 0.0),  # in two simulations
    ]
    for values, expected in cases:
        assert abs(values.mean() - expected) / (values.std() / math.sqrt(len(values))) < 4.5


def test_mixture_points_have_the_law_of_the_mixture():
    """Mean and variance of x_i at two points: |z| < 4.5 fails in 1 of 36,000 seeds."""
    theta = torch.tensor([[-1.0, 0.5, 0.8]], dtype=torch.float64).expand(40_000, 3)
    x = MIXTURE.simulator(theta, generator(6)).x
    share = 1 / (1 + math.exp(-0.8))
    mean = 0.5 * share - (1 - share)
    variance = NOISE**2 + share * (1 - share) * 1.5**2
    for i in (0, POINTS - 1):
        for values, expected in ((x[:, i], mean), ((x[:, i] - mean).square(), variance)):
            assert abs(values.mean() - expected) / (values.std() / math.sqrt(len(values))) < 4.5


def test_a_row_does_not_depend_on_other_rows(task):
    theta, outcome = draw(task, 30)
    rows = slice(7, 11)
    latents = {name: value[rows] for name, value in outcome.latents.items()}
    alone = task.log_joint(theta[rows], outcome.x[rows], latents)
    torch.testing.assert_close(alone, task.log_joint(theta, outcome.x, outcome.latents)[rows])
    if task in (GROUPED, VECTORS, SERIES):  # of these the draws of a row can be compared one by one
        elsewhere = theta + 1
        elsewhere[rows] = theta[rows]
        other = task.simulator(elsewhere, generator(1))
        torch.testing.assert_close(other.x[rows], outcome.x[rows])
        torch.testing.assert_close(other.joint_score[rows], outcome.joint_score[rows])


def test_the_global_generator_is_left_alone_and_without_influence(task):
    theta, first = draw(task, 10)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    _, second = draw(task, 10)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.joint_score, second.joint_score)
    random = generator(1)
    assert torch.equal(task.simulator(theta, random).x, first.x)
    assert not torch.equal(task.simulator(theta, random).x, first.x)  # the generator has moved on
    with pytest.raises(UserError):
        make(lambda self, theta: None).simulator(theta[:, :1].expand(-1, 2), generator(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_joint_density_needs_every_latent():
    theta, outcome = draw(GROUPED, 5)
    with pytest.raises(UserError, match="site 'effect' has no value among the given latents"):
        GROUPED.log_joint(theta, outcome.x, {})


def test_the_modules_import_without_pyro_and_the_task_says_what_to_install():
    program = """
import sys
sys.modules["pyro"] = None
from graybench import UserError
from graybench.tasks.pyro.robust_regression import RobustRegression
try:
    RobustRegression().simulate(1, seed=0)
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 'task robust_regression needs pyro: pip install "graybench[pyro]"' in done.stdout
