"""Tasks with an option for the number of items: n items are n times one item with the same θ."""

import math

import pytest
import torch

from graybench.tasks import get_task
from graybench.tasks.errors import UserError
from graybench.tasks.likelihood import LikelihoodTask
from graybench.tasks.seeding import generator
from graybench.tasks.structure import Items, Vector

TASKS = [
    get_task("linear_gaussian", dim=3, rotated=True, spread=9.0),
    get_task("gaussian_mixture"),
    get_task("galton", positions=True),
    get_task("iid_mixture"),
    get_task("hierarchical_normal"),
]


@pytest.fixture(params=TASKS, ids=lambda task: task.name)
def task(request):
    return request.param


def singles_of(task, x):
    """The items (..., n, dim_x of one item) of x."""
    return x.unflatten(-1, (task.n_items, -1))


@pytest.mark.parametrize("n", [1, 2, 7])
def test_scores_of_items_add(task, n):
    many, one = task.with_items(n), task.with_items(1)
    drawn = many.simulate(50, 1)
    items = singles_of(many, drawn.x)
    added = sum(one.marginal_score(drawn.theta, items[:, i]) for i in range(n))
    torch.testing.assert_close(many.marginal_score(drawn.theta, drawn.x), added, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_the_posterior_of_items_is_the_product_of_theirs_over_the_prior(task, n):
    """log p(u | x_1 … x_n) − Σ_i log p(u | x_i) + (n − 1) log p(u) does not depend on u."""
    many, one = task.with_items(n), task.with_items(1)
    x = many.observations().x[0]
    together = many.reference(x)
    u = together.sample(20, 2)
    if task.name == "galton":
        u = (u / 0.005).round() * 0.005  # the density is interpolated between points of the grid
    prior = -0.5 * (u.square() + math.log(2 * math.pi)).sum(1)
    constant = together.log_prob(u) + (n - 1) * prior
    for item in singles_of(many, x):
        constant = constant - one.reference(item).log_prob(u)
    assert (constant - constant.mean()).abs().max() < 1e-6


def test_the_number_of_items_is_an_option_and_leaves_theta(task):
    many = task.with_items(7)
    assert many.n_items == many.structure.n == 7
    assert many.dim_x == 7 * many.structure.each.size == 7 * task.with_items(1).dim_x
    assert many.with_items(task.n_items) == task
    assert many.simulate(30, 4).theta.equal(task.with_items(1).simulate(30, 4).theta)
    with pytest.raises(UserError, match="whole number from 1 up, but is 0"):
        task.with_items(0)


def test_one_item_has_the_structure_of_the_item(task):
    assert task.with_items(2).structure.effective == task.with_items(2).structure
    expected = Items(4) if task.name == "hierarchical_normal" else Vector(task.with_items(1).dim_x)
    assert task.with_items(1).structure.effective == expected


@pytest.mark.parametrize(
    "made", [get_task("galton", balls=10), get_task("galton"), get_task("lotka_volterra")]
)
def test_tasks_without_such_an_option_say_so(made):
    with pytest.raises(UserError, match=f"^task {made.name}.* has no option for a number of items"):
        made.with_items(1)


@pytest.mark.parametrize("o", [0, 3])
def test_the_mixture_of_all_latents_is_what_importance_sampling_finds(o):
    """Means and squares over 5,000 resampled draws: |z| < 5 at four places fails for 1 of 400,000 seeds."""
    task = get_task("gaussian_mixture", draws=10)
    x = task.observations().x[o]
    sampled, exact = LikelihoodTask.reference(task, x), task.reference(x).sample(50_000, 1)
    for draws, other in ((sampled.draws, exact), (sampled.draws.square(), exact.square())):
        z = (draws.mean(0) - other.mean(0)) / (draws.std(0) / sampled.effective_size**0.5)
        assert z.abs().max() < 5


def test_a_mixture_of_many_draws_is_sampled_and_refused_with_two_modes():
    task = get_task("gaussian_mixture", dim=1, draws=11)
    assert (get_task("gaussian_mixture").reference_kind, task.reference_kind) == ("exact", "sampled")
    cluster = 0.1 * torch.randn(11, generator=generator(1), dtype=torch.float64)
    assert abs(float(task.reference(cluster).draws.mean())) < 0.2
    half = cluster[:5] + 0.8
    two = torch.cat([half, -half, torch.zeros(1, dtype=torch.float64)])
    with pytest.raises(ArithmeticError, match="modes"):
        task.reference(two)


def test_positions_are_the_balls_that_are_counted():
    counted, listed = get_task("galton", balls=10), get_task("galton", balls=10, positions=True)
    a, b = counted.simulate(40, 3), listed.simulate(40, 3)
    assert a.joint_score.equal(b.joint_score)
    assert torch.nn.functional.one_hot(b.x.long(), 31).sum(1).equal(a.x.long())
    grid = torch.linspace(-2, 2, 40, dtype=torch.float64)[:, None]
    apart = counted.log_likelihood(grid, a.x) - listed.log_likelihood(grid, b.x)
    ways = math.lgamma(11) - torch.lgamma(a.x.double() + 1).sum(1)
    torch.testing.assert_close(apart, ways)
    with pytest.raises(UserError, match="positions must be true or false"):
        get_task("galton", positions=1)
