"""Stacking: leave-one-out predictions against refits, what the network adds, and replicates."""

import pytest
import torch

from graybench.methods.nn import stacking
from graybench.methods.nn.stacking import PENALTIES, SCALES, Stacking
from graybench.tasks.errors import NotFiniteError
from graybench.tasks.seeding import generator


def normal(*shape, seed):
    return torch.randn(*shape, generator=generator(seed))


def refit(z, y, penalties, left_out):
    """Ridge regression of y on z with a free intercept, without some rows; returns their predictions."""
    kept = torch.ones(len(y), dtype=torch.bool).index_fill(0, left_out, False)
    centre, mean = z[kept].mean(0), y[kept].mean(0)
    own = z[kept] - centre
    solved = torch.linalg.solve(own.T @ own + penalties.diag(), own.T @ (y[kept] - mean))
    return (z[left_out] - centre) @ solved + mean


@pytest.mark.parametrize("wide", [2, 30])  # with 30, there are more features than rows
def test_predictions_of_the_ridge_are_those_of_refits_without_a_fifth(wide):
    n = 14
    few, many, y = normal(1, n, 2, seed=1), normal(1, n, wide, seed=2), normal(1, n, 1, seed=3)
    y = y + 2 * few[..., :1] + many[..., :1]
    made = Stacking(few, many, 1, [generator(4)])
    few, many = made.few(few)[0], made.many(many)[0]
    predicted = made._ridge(few, many, y[0], 0)
    tried = {}
    for scale in SCALES:
        z = torch.cat([few, scale * many], 1).double()
        for penalty in PENALTIES:
            penalties = torch.full(z.shape[1:], penalty, dtype=z.dtype)
            folds = torch.arange(n).tensor_split(5)
            own = torch.cat([refit(z, y[0].double(), penalties, rows) for rows in folds])
            tried[float((own - y[0]).square().mean())] = own
    torch.testing.assert_close(predicted, tried[min(tried)].float(), rtol=1e-4, atol=1e-4)


def test_replicates_do_not_mix(monkeypatch):
    monkeypatch.setattr(stacking, "STEPS", 100)
    few, many, y = normal(3, 200, 4, seed=1), normal(3, 200, 9, seed=2), normal(3, 200, 2, seed=3)
    y = y + few[..., :2] * few[..., 2:]
    together = Stacking(few, many, 2, [generator(r) for r in range(3)])
    predicted = together.fit(few, many, y, [generator(10 + r) for r in range(3)])
    for r in range(3):
        own = slice(r, r + 1)
        alone = Stacking(few[own], many[own], 2, [generator(r)])
        single = alone.fit(few[own], many[own], y[own], [generator(10 + r)])
        torch.testing.assert_close(predicted[own], single, rtol=1e-3, atol=1e-3)
        for a, b in zip(together.state_dict().values(), alone.state_dict().values(), strict=True):
            torch.testing.assert_close(a[own], b, rtol=1e-2, atol=1e-2)


def test_the_network_learns_what_the_ridge_cannot():
    few = normal(1, 3000, 3, seed=1)
    many = normal(1, 3000, 5, seed=2)
    y = few[..., :1] * few[..., 1:2]
    made = Stacking(few, many, 1, [generator(3)])
    made.fit(few, many, y, [generator(4)])
    fresh = normal(1, 2000, 3, seed=5)
    with torch.no_grad():
        error = made(fresh, normal(1, 2000, 5, seed=6)) - fresh[..., :1] * fresh[..., 1:2]
    # 0.007 as measured; the ridge regression alone has an error of 1
    assert error.square().mean() < 0.05


def test_training_rows_are_not_predicted_from_themselves(monkeypatch):
    """y is noise, and 200 features of 50 rows could reproduce it: the error of predictions must not hide it.

    The mean square of 10 · 50 independent numbers of variance 1 is below 0.8 with probability 5e-4. With
    predictions without one row in place of one fifth, it is 0.4.
    """
    monkeypatch.setattr(stacking, "STEPS", 300)
    few, many, y = normal(10, 50, 2, seed=1), normal(10, 50, 200, seed=2), normal(10, 50, 1, seed=3)
    made = Stacking(few, many, 1, [generator(r) for r in range(10)])
    predicted = made.fit(few, many, y, [generator(100 + r) for r in range(10)])
    assert (predicted - y).square().mean() > 0.8


def test_few_rows_and_constant_features_are_no_mistake(monkeypatch):
    monkeypatch.setattr(stacking, "STEPS", 3)
    for n in (5, 6):
        few, many, y = torch.ones(1, n, 2), torch.ones(1, n, 3), normal(1, n, 1, seed=1)
        made = Stacking(few, many, 1, [generator(2)])
        assert made.fit(few, many, y, [generator(3)]).isfinite().all()
        assert made(few, many).isfinite().all()


def test_features_that_are_not_finite_are_said():
    few, y = torch.ones(1, 9, 2), normal(1, 9, 1, seed=1)
    few[0, 3, 1] = torch.nan
    made = Stacking(few, few, 1, [generator(2)])
    with pytest.raises(NotFiniteError, match="features of replicate 0"):
        made.fit(few, few, y, [generator(3)])
