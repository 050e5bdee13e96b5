"""Batched networks against torch's own layers, and the preconditioned recipe against closed forms."""

import copy

import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from graybench.methods.nn.network import (
    ReplicatedMLP,
    stack_replicates,
    take_replicate,
    time_features,
)
from graybench.methods.score.recipes import RIDGE_PENALTIES, Plain, Preconditioned, asinh, ridge
from graybench.methods.score.schedule import alpha_sigma
from graybench.tasks.reference import GaussianReference
from graybench.tasks.seeding import generator

R, N, P, D = 3, 60, 4, 2


def network(outputs=D, seeds=(1, 2, 3)):
    mlp = ReplicatedMLP(P, outputs, width=8, depth=2, generators=[generator(s) for s in seeds])
    random = generator(9)
    for tensor in (mlp.weights[-1], mlp.biases[-1]):  # the output layer starts at 0
        tensor.data = torch.randn(tensor.shape, generator=random)
    return mlp


def as_sequential(mlp, r):
    layers = []
    for weight, bias in zip(mlp.weights, mlp.biases, strict=True):
        linear = nn.Linear(*weight.shape[1:])
        linear.weight.data, linear.bias.data = weight.data[r].T.clone(), bias.data[r, 0].clone()
        layers += [linear, nn.SiLU()]
    return nn.Sequential(*layers[:-1])


def test_each_replicate_is_an_ordinary_mlp_with_its_own_gradient():
    mlp, inputs = network(), torch.randn(R, N, P, generator=generator(4))
    outputs = mlp(inputs)
    outputs.square().mean((1, 2)).sum().backward()
    for r in range(R):
        alone = as_sequential(mlp, r)
        expected = alone(inputs[r])
        torch.testing.assert_close(outputs[r], expected)
        expected.square().mean().backward()
        for layer, weight in zip(alone[::2], mlp.weights, strict=True):
            torch.testing.assert_close(weight.grad[r], layer.weight.grad.T)


@pytest.mark.parametrize("block", [1, 100, 8 * N, 8 * N * 2, 10**6])
def test_without_gradients_parts_make_the_whole(block, monkeypatch):
    """Parts of a row, of some rows of a replicate, of one replicate, of two, and of everything."""
    mlp = network().double()
    inputs = torch.randn(R, N, P, generator=generator(5), dtype=torch.float64)
    expected = mlp(inputs)
    monkeypatch.setattr("graybench.methods.nn.network.BLOCK", block)
    with torch.no_grad():
        found = mlp(inputs)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-12, atol=1e-12)
    assert not found.requires_grad
    assert expected.requires_grad


def test_a_replicate_starts_from_its_own_seed_whatever_the_others():
    together = ReplicatedMLP(P, D, width=8, depth=2, generators=[generator(s) for s in (1, 2, 3)])
    alone = ReplicatedMLP(P, D, width=8, depth=2, generators=[generator(2)])
    for a, b in zip(together.parameters(), alone.parameters(), strict=True):
        assert torch.equal(a[1:2], b)


def test_taking_and_stacking_replicates_are_inverse():
    mlp = network()
    stacked = stack_replicates([take_replicate(mlp, r) for r in range(R)])
    for a, b in zip(mlp.parameters(), stacked.parameters(), strict=True):
        assert torch.equal(a, b)
    before = copy.deepcopy(mlp.state_dict())
    for tensor in take_replicate(mlp, 0).parameters():
        tensor.data.zero_()
    assert all(torch.equal(before[key], value) for key, value in mlp.state_dict().items())


def test_time_features_are_t_and_two_harmonics():
    t = torch.tensor([[0.0], [0.25], [0.5]])
    half = 0.5**0.5
    expected = [[0, 0, 1, 0, 1], [0.25, half, half, 1, 0], [0.5, 1, 0, 0, -1]]
    torch.testing.assert_close(time_features(t), torch.tensor(expected), rtol=0, atol=1e-6)


def test_ridge_chooses_and_measures_by_leaving_one_out():
    """Every fold refitted by scikit-learn: the intercept is the mean of u, as x stays centred."""
    random = generator(3)
    x = torch.randn(2, 25, 6, generator=random, dtype=torch.float64)
    x = x - x.mean(1, keepdim=True)
    mixing = torch.randn(6, D, generator=random, dtype=torch.float64)
    u = x @ mixing + 2 * torch.randn(2, 25, D, generator=random, dtype=torch.float64)
    coefficients, intercept, covariance = ridge(x, u)
    for r in range(2):
        best = None
        for penalty in RIDGE_PENALTIES:
            residuals = []
            for i in range(25):
                kept = torch.arange(25) != i
                fold = Ridge(alpha=penalty).fit(x[r, kept].numpy(), u[r, kept].numpy())
                residuals.append(u[r, i] - torch.from_numpy(fold.predict(x[r, i : i + 1].numpy())[0]))
            left_out = torch.stack(residuals)
            if best is None or left_out.square().mean() < best[0]:
                best = (left_out.square().mean(), penalty, left_out)
        _, penalty, left_out = best
        whole = Ridge(alpha=penalty).fit(x[r].numpy(), u[r].numpy())
        torch.testing.assert_close(coefficients[r], torch.from_numpy(whole.coef_.T))
        torch.testing.assert_close(intercept[r, 0], torch.from_numpy(whole.intercept_))
        torch.testing.assert_close(covariance[r], left_out.T @ left_out / 25, rtol=1e-6, atol=1e-9)


def test_ridge_covariance_is_honest_with_more_columns_than_rows():
    """Pure noise: held-out residuals have the variance of u, where training residuals would have none."""
    random = generator(8)
    x, u = torch.randn(1, 40, 100, generator=random), torch.randn(1, 40, 1, generator=random)
    _, _, covariance = ridge(x - x.mean(1, keepdim=True), u)
    assert 0.5 < float(covariance / u.var()) < 2  # with 40 rows, off by a factor of 2 once in 10,000 seeds


def test_preconditioned_base_is_the_exact_score_of_a_linear_gaussian():
    """u ~ N(0, I), x = A u + noise: with m(x) and S from the ridge fit, the base is the diffused score."""
    random, n = generator(5), 20_000
    mixing = torch.tensor([[1.0, 0.4], [-0.3, 0.8]], dtype=torch.float64)
    u = torch.randn(1, n, D, generator=random, dtype=torch.float64)
    x = u @ mixing.T + 0.3 * torch.randn(1, n, D, generator=random, dtype=torch.float64)
    recipe = Preconditioned(u, x)
    precision = torch.eye(D, dtype=torch.float64) + mixing.T @ mixing / 0.09
    covariance = torch.linalg.inv(precision)
    u_t = torch.randn(1, 10, D, generator=random, dtype=torch.float64)
    for t in (0.01, 0.2, 0.7):
        time = torch.full((1, 10, 1), t, dtype=torch.float64)
        _, base, _ = recipe(u_t, x[:, :10], time)
        alpha, sigma = (float(v) for v in alpha_sigma(torch.tensor(t, dtype=torch.float64)))
        for i in range(10):
            posterior = GaussianReference(covariance @ mixing.T @ x[0, i] / 0.09, covariance)
            expected = posterior.diffused_score(u_t[:, i], alpha, sigma)[0]
            # the fit's own error: relative 1/√n on S, and on m(x)
            torch.testing.assert_close(base[0, i], expected, rtol=0.06, atol=0.06 / sigma)


def test_plain_recipe_is_minus_the_output_over_sigma():
    u, x = torch.randn(1, N, D, generator=generator(1)), 7 + torch.randn(1, N, 3, generator=generator(2))
    recipe, t = Plain(u, x), torch.rand(1, N, 1, generator=generator(3))
    inputs, base, scale = recipe(u, x, t)
    assert inputs.shape[2] == recipe.n_inputs
    torch.testing.assert_close(scale, -1 / alpha_sigma(t)[1])
    assert (base == 0).all()
    standardised = inputs[0, :, D : D + 3]
    torch.testing.assert_close(standardised.mean(0), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(standardised.std(0, correction=0), torch.ones(3))


@pytest.mark.parametrize("recipe", [Plain, Preconditioned])
@pytest.mark.parametrize("constant", [1.0, 0.1, 7.3])
def test_constant_data_is_no_obstacle_and_not_blown_up(recipe, constant):
    """0.1 and 7.3 are no short binary fractions: their computed standard deviation is rounding, not 0."""
    u, x = torch.randn(2, N, 1, generator=generator(1)), torch.full((2, N, 3), constant)
    made = recipe(u, x)
    inputs, base, _ = made(u, x + 0.5, torch.full((2, N, 1), 0.3))
    assert inputs[..., 1:4].max() < 1
    assert torch.isfinite(base).all()


@pytest.mark.parametrize("n", [1, 2, 3 * D - 1])
def test_few_simulations_leave_the_prior(n):
    """Below 3 simulations a parameter the base is −u_t, the score of the diffused prior."""
    u, x = torch.randn(1, n, D, generator=generator(3)), torch.randn(1, n, P, generator=generator(4))
    u_t, t = torch.randn(1, 20, D, generator=generator(1)), torch.rand(1, 20, 1, generator=generator(2))
    _, base, _ = Preconditioned(u, x)(u_t, x[:, :1].expand(-1, 20, -1), t)
    torch.testing.assert_close(base, -u_t)


def test_three_simulations_a_parameter_make_a_regression():
    """At n = 3d the base's law at t → 0 is N(m(x), S) of the ridge fit."""
    u, x = torch.randn(1, 3 * D, D, generator=generator(3)), torch.randn(1, 3 * D, P, generator=generator(4))
    made = Preconditioned(u, x)
    _, intercept, covariance = ridge(made.standardise(x), u)
    vectors, values = made.eigenvectors[0], made.eigenvalues[0, 0]
    torch.testing.assert_close(vectors @ values.diag() @ vectors.T, covariance[0])
    torch.testing.assert_close(made.intercept, intercept)


def test_asinh_is_right_over_the_range_of_float32():
    sizes = torch.logspace(-38, 38, 2001)
    x = torch.cat([sizes, -sizes, torch.tensor([0.0, torch.inf, -torch.inf, torch.nan])])
    with torch.no_grad():
        found = asinh(x)
    expected = torch.asinh(x.double())
    torch.testing.assert_close(found.double(), expected, rtol=2e-7, atol=0, equal_nan=True)
    (slope,) = torch.autograd.grad(asinh(zero := torch.zeros(1, requires_grad=True)), zero)
    assert slope == 1
