"""A fit by JAX: what DSM's trainer does, written as a user of JAX would, compiled as one loop.

The recipe, the network, the batch, Adam and the moving average are the suite's. Nothing is held out, and
minibatches are drawn inside the loop. All networks are trained by `vmap`, and all steps by one `scan`.
"""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ...methods.nn.compiled import BETA_1, BETA_2, EPSILON
from ...methods.nn.network import ReplicatedMLP
from ...methods.score.recipes import Preconditioned
from ...methods.score.schedule import BETA_MAX, BETA_MIN, T_MIN
from ...methods.score.score_matching import DSM


def fit(mlp: ReplicatedMLP, u: Tensor, x: Tensor, steps: int) -> Callable[[], list[Any]]:
    """Return a function that trains R networks for some steps and returns their averaged parameters.

    JAX has as many threads as the process has cores when it makes its first array.

    Args:
        mlp: the networks before training.
        u, x: simulations (R, n, d) and (R, n, dim_x).
        steps: number of steps.
    """
    import jax

    recipe = Preconditioned(u, x)
    buffers = dict(recipe.named_buffers())
    given = {name: jax.numpy.asarray(value.numpy()) for name, value in buffers.items()}
    given["u"] = jax.numpy.asarray(u.numpy())
    given["x"] = jax.numpy.asarray(recipe.standardise(x).numpy())
    start = [jax.numpy.asarray(p.detach().numpy()) for p in (*mlp.weights, *mlp.biases)]
    train = jax.jit(jax.vmap(lambda own, own_start, key: _train(jax, own, own_start, key, steps)))

    def run() -> list[Any]:
        keys = jax.random.split(jax.random.key(0), len(u))
        return list(jax.block_until_ready(train(given, start, keys)))

    return run


def _train(jax: Any, given: dict[str, Any], start: list[Any], key: Any, steps: int) -> list[Any]:
    """Train one network."""
    gradient = jax.grad(lambda p, drawn: _loss(jax, p, *_regression(jax, given, drawn)))
    new, correct = 1 - DSM.average, jax.tree.map

    def step(carry: Any, own: Any) -> tuple[Any, None]:
        p, mean, square, average = carry
        number, own_key = own
        slope = gradient(p, own_key)
        mean = correct(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, mean, slope)
        square = correct(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, square, slope)
        size, scale = DSM.rate / (1 - BETA_1**number), 1 / jax.numpy.sqrt(1 - BETA_2**number)
        p = correct(lambda q, m, v: q - size * m / (jax.numpy.sqrt(v) * scale + EPSILON), p, mean, square)
        return (p, mean, square, correct(lambda a, q: a + new * (q - a), average, p)), None

    zeros = correct(jax.numpy.zeros_like, start)
    numbers = jax.numpy.arange(1, steps + 1, dtype=jax.numpy.float32)
    last, _ = jax.lax.scan(step, (start, zeros, zeros, start), (numbers, jax.random.split(key, steps)))
    averaged: list[Any] = last[3]
    return averaged


def _regression(jax: Any, given: dict[str, Any], key: Any) -> tuple[Any, Any, Any]:
    """Draw a minibatch; return inputs, goals and loss weights, as `Preconditioned` has them."""
    np = jax.numpy
    rows, strata, noise = jax.random.split(key, 3)
    n, d = given["u"].shape
    index = jax.random.randint(rows, (DSM.batch,), 0, n)
    share = (np.arange(DSM.batch) + jax.random.uniform(strata, (DSM.batch,))) / DSM.batch
    t = (T_MIN + (1 - T_MIN) * share)[:, None]
    eps = jax.random.normal(noise, (DSM.batch, d))
    integral = t * (BETA_MIN + t * (BETA_MAX - BETA_MIN) / 2)
    alpha, sigma = np.exp(-integral / 2), np.sqrt(-np.expm1(-integral))
    u_t, x = alpha * given["u"][index] + sigma * eps, given["x"][index]
    residual = u_t - alpha * (x @ given["coefficients"] + given["intercept"])
    vectors = given["eigenvectors"]
    base = -(residual @ vectors / (alpha**2 * given["eigenvalues"] + sigma**2)) @ vectors.T
    scale = alpha / np.sqrt(sigma**2 + alpha**2 / given["information"])
    whitened = residual / np.sqrt(sigma**2 + alpha**2 * given["variances"])
    angles = [np.sin(math.pi * t), np.cos(math.pi * t), np.sin(2 * math.pi * t), np.cos(2 * math.pi * t)]
    time = [np.log(sigma / alpha) / 3, 2 * t - 1, *angles]
    inputs = np.concatenate([u_t, x, *time, whitened, np.arcsinh(residual / sigma)], 1)
    return inputs, (-eps / sigma - base) / scale, sigma**2 * scale**2


def _loss(jax: Any, p: list[Any], inputs: Any, goals: Any, weights: Any) -> Any:
    layers, hidden = len(p) // 2, inputs
    for k in range(layers):
        hidden = hidden @ p[k] + p[layers + k]
        if k < layers - 1:
            hidden = jax.nn.silu(hidden)
    return (weights * (hidden - goals) ** 2).mean()
