"""Features of sets: the order of items, moments against least squares, and replicates."""

import pytest
import torch

from graybench.methods.nn.sets import LEAST_VARIANCE, Channels, SetFeatures, moments, orthogonal
from graybench.tasks.seeding import generator

REPLICATES, ROWS, N, K = 3, 5, 7, 2


def items(seed=1):
    return torch.randn(REPLICATES, ROWS, N, K, generator=generator(seed))


def streams(first=0, last=REPLICATES):
    return [generator(r) for r in range(first, last)]


def regressors(q, seed=2):
    return torch.randn(N, q, generator=generator(seed))


@pytest.mark.parametrize("q", [0, 1, 3])
def test_replicates_do_not_mix(q):
    together = SetFeatures(items(), streams(), regressors(q))(items())
    for r in range(REPLICATES):
        own = items()[r : r + 1]
        alone = SetFeatures(own, streams(r, r + 1), regressors(q))(own)
        for part, single in zip(together, alone, strict=True):
            torch.testing.assert_close(part[r : r + 1], single)
    assert not torch.allclose(together[1][0], together[1][1])


def test_the_order_of_items_does_not_matter_but_that_of_rows_does():
    order = torch.randperm(N, generator=generator(3))
    made = SetFeatures(items(), streams())
    for part, moved in zip(made(items()), made(items()[:, :, order]), strict=True):
        torch.testing.assert_close(part, moved, rtol=1e-3, atol=1e-4)
        assert not torch.allclose(part, part.flip(1))


def test_items_move_with_their_regressors():
    order = torch.randperm(N, generator=generator(3))
    made = SetFeatures(items(), streams(), regressors(2))
    moved = SetFeatures(items(), streams(), regressors(2)[order])
    for part, other in zip(made(items()), moved(items()[:, :, order]), strict=True):
        torch.testing.assert_close(part, other, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(made(items())[0], made(items()[:, :, order])[0], atol=1e-2)


@pytest.mark.parametrize("q", [0, 1, 3])
def test_moments_are_those_of_least_squares(q):
    basis = orthogonal(regressors(q)).double()
    torch.testing.assert_close(basis.T @ basis / N, torch.eye(q + 1, dtype=torch.float64), atol=1e-6, rtol=0)
    values = items()[0, 0].double()
    design = torch.cat([torch.ones(N, 1), regressors(q)], 1).double()
    fit = design @ torch.linalg.lstsq(design, values).solution
    coefficients, spread = moments(values.view(1, 1, N, K), basis)
    torch.testing.assert_close(basis @ coefficients[0, 0], fit, atol=1e-5, rtol=0)
    expected = ((values - fit).square().mean(0) + LEAST_VARIANCE).sqrt()
    torch.testing.assert_close(spread[0, 0], expected, atol=1e-6, rtol=0)


def test_a_regressor_that_depends_on_others_has_no_column():
    own = regressors(1)
    assert orthogonal(torch.cat([own, 2 * own + 1, torch.ones(N, 1)], 1)).shape == (N, 2)


def test_units_of_residuals_are_free_of_location_and_scale():
    """With the weights of the items themselves at 0, moving and scaling a set moves only m and s."""
    made = SetFeatures(items(), streams())
    made.weight[:, K:] = 0
    _, first = made(items())
    _, second = made(30 * items() + 5)
    count = made.weight.shape[2]
    torch.testing.assert_close(first[..., :count], second[..., :count], rtol=1e-3, atol=1e-3)
    scaled = slice(count, 2 * count)
    torch.testing.assert_close(30 * first[..., scaled], second[..., scaled], rtol=1e-2, atol=1e-2)


def test_channels_are_standardised_and_follow_the_logarithm():
    x = torch.randn(1, 4000, 1, generator=generator(4)).mul(2).exp()
    made = Channels(x)
    channels = made(x)
    torch.testing.assert_close(channels.mean(1), torch.zeros(1, 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(channels.std(1, correction=0), torch.ones(1, 2), atol=1e-4, rtol=0)
    large = x[0, :, 0] > x.median()
    pair = torch.stack([channels[0, large, 1], x[0, large, 0].log()])
    assert torch.corrcoef(pair)[0, 1] > 0.999
    assert torch.corrcoef(torch.stack([channels[0, large, 0], x[0, large, 0].log()]))[0, 1] < 0.9


def test_constant_items_have_finite_features():
    same = torch.full((1, 4, N, K), 3.0)
    for part in SetFeatures(same, streams(0, 1))(
        Channels(same.flatten(1, 2))(same.flatten(1, 2))[..., :K].view_as(same)
    ):
        assert part.isfinite().all()
