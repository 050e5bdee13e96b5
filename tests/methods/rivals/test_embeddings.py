"""sbi's embedding networks: an exact posterior recovered, the order of items, layouts, and what has none."""

import pickle
from typing import ClassVar

import pytest
import torch

from graybench import Field, GridReference, Items, Normal, Outcome, Series, Task, Vector, generator
from graybench.methods import get_method
from graybench.tasks.errors import UserError

pytest.importorskip("sbi", reason="sbi is not installed")

from graybench.methods.rivals.embeddings import embedding_net

ITEMS = 20
GRID = torch.linspace(-5, 5, 2001, dtype=torch.float64)


class Spread(Task):
    """x_i ~ N(0, e^θ), i = 1 … 20: the posterior depends on Σ x_i² alone."""

    name: ClassVar[str] = "spread"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "The variance of 20 items."
    capabilities: ClassVar[frozenset[str]] = frozenset({"reference"})
    prior = Normal()
    dim_theta = 1
    dim_x = ITEMS
    structure = Items(ITEMS, independent=True)

    def simulator(self, theta, generator):
        noise = torch.randn(len(theta), ITEMS, generator=generator, dtype=theta.dtype)
        return Outcome((theta / 2).exp() * noise)

    def reference(self, x_o):
        log_likelihood = -ITEMS / 2 * GRID - x_o.square().sum() / 2 * (-GRID).exp()
        return GridReference(GRID, log_likelihood - GRID.square() / 2)


TASK = Spread()
X = TASK.observations().x


def shuffled(x, seed):
    return x[:, torch.randperm(x.shape[1], generator=generator(seed))]


def distance_and_width(name, embedding):
    """Return the mean distance of posterior means, in exact standard deviations, and that of the widths."""
    exact = torch.stack([TASK.reference(x).sample(4000, 1) for x in X])
    posterior = get_method(name, embedding=embedding).fit(TASK.simulate(300, 1), 2)
    samples = posterior.sample(500, X, 3).double()
    distance = ((samples.mean(1) - exact.mean(1)) / exact.std(1)).abs().mean()
    return float(distance), float((samples.std(1) / exact.std(1)).mean())


def test_npe_is_nearer_to_the_exact_posterior_with_an_embedding():
    """With five pairs of seeds the distance is 0.25 to 0.44 with the embedding, 1.6 to 2 without."""
    assert distance_and_width("sbi_npe", True)[0] < 0.7 < 1.2 < distance_and_width("sbi_npe", False)[0]


def test_fmpe_is_near_the_exact_posterior():
    """With five pairs of seeds the distance is 0.14 to 0.43, and the width 0.95 to 1.15."""
    distance, width = distance_and_width("sbi_fmpe", True)
    assert distance < 0.7
    assert 0.75 < width < 1.35


@pytest.mark.parametrize("name", ["sbi_npe", "sbi_nre", "sbi_fmpe", "sbi_npse"])
def test_the_posterior_does_not_depend_on_the_order_of_items(name):
    posterior = get_method(name, embedding=True).fit(TASK.simulate(60, 1), 2)
    samples = [posterior.sample(5, x, 3) for x in (X[:1], shuffled(X[:1], 4))]
    torch.testing.assert_close(*samples, rtol=1e-3, atol=1e-3)
    again = pickle.loads(pickle.dumps(posterior))
    assert torch.equal(again.sample(5, X[:1], 3), samples[0])


def test_without_an_embedding_the_order_matters():
    posterior = get_method("sbi_npe").fit(TASK.simulate(60, 1), 2)
    samples = [posterior.sample(5, x, 3) for x in (X[:1], shuffled(X[:1], 4))]
    assert (samples[0] - samples[1]).abs().max() > 0.01


def features(structure, x, seed=1):
    torch.manual_seed(seed)
    return embedding_net("sbi_npe", structure, x)


def test_groups_are_embedded_by_networks_within_networks():
    x = torch.randn(50, 24, generator=generator(1))
    net = features(Items(4, Items(3, 2)), x)
    groups = x.unflatten(1, (4, 3, 2))
    same = [groups[:, [2, 0, 3, 1]], groups[:, :, [2, 0, 1]]]
    other = [groups.transpose(1, 2), groups[..., [1, 0]]]
    for moved in same:
        torch.testing.assert_close(net(moved.flatten(1)), net(x), rtol=1e-4, atol=1e-4)
    for moved in other:
        assert (net(moved.reshape(50, 24)) - net(x)).abs().max() > 0.01


def test_items_move_with_their_regressors():
    """Equal regressors may change places; items with different ones may not."""
    net = features(
        Items(4, regressors=((0.0,), (1.0,), (0.0,), (1.0,))), x := torch.randn(50, 4, generator=generator(1))
    )
    torch.testing.assert_close(net(x[:, [2, 1, 0, 3]]), net(x), rtol=1e-4, atol=1e-4)
    assert (net(x[:, [1, 0, 2, 3]]) - net(x)).abs().max() > 0.01


def test_the_layout_of_channels_makes_no_difference():
    x = torch.randn(50, 30, generator=generator(1))
    turned = x.unflatten(1, (15, 2)).transpose(1, 2).flatten(1)
    by_time, by_channel = (features(Series(15, 2, last), data) for last, data in ((True, x), (False, turned)))
    assert by_time(x).shape == (50, 20)
    torch.testing.assert_close(by_time(x), by_channel(turned))


@pytest.mark.parametrize(
    "structure", [Series(4), Series(9, 3), Field((4, 12)), Items(3, Series(10)), Items(3, Field((5, 5)))]
)
def test_every_size_has_a_network_that_tells_rows_apart(structure):
    x = torch.randn(7, structure.size, generator=generator(1))
    found = features(structure, x)(x)
    assert found.shape == (7, 20)
    assert ((found - found.roll(1, 0)).abs().amax(1) > 1e-3).all()


def test_a_vector_has_none():
    for structure in (None, Vector(3), Series(3)):
        assert embedding_net("sbi_npe", structure, torch.zeros(5, 3)) is None
    with pytest.raises(UserError, match="sbi has no embedding network for a field in 3 directions"):
        embedding_net("sbi_npe", Field((4, 4, 4)), torch.zeros(5, 64))
    with pytest.raises(UserError, match="method 'sbi_nle' has no option 'embedding'"):
        get_method("sbi_nle", embedding=True)
