"""A score model for given observations: what depends on x alone is computed once, not at every draw."""

import copy

import torch
from torch import Tensor

from .recipes import Preconditioned
from .trainer import ScoreModel


@torch.no_grad()
def condition(model: ScoreModel, x: Tensor) -> ScoreModel:
    """Return the score model for given observations, which takes no further x.

    The first layer of the network computes (u_t, x, rest) W + b. For a given x, the contribution of x is
    constant and is added to b. The mean m(x) of the preconditioned recipe becomes its intercept. R replicates
    with m observations each thus become R m replicates with dim_x = 0. `benchmark.speed.sampling` measures
    the gain.

    Args:
        model: a score model of R replicates.
        x: observations (R, m, dim_x).

    Returns:
        A copy of the model with R m replicates. It expects x of shape (R m, n, 0).
    """
    given, dim_x = copy.deepcopy(model), x.shape[2]
    for tensor in [*given.parameters(), *given.buffers()]:
        tensor.data = tensor.data.repeat_interleave(x.shape[1], 0)
    recipe, mlp = given.recipe, given.mlp
    first, d = mlp.weights[0], mlp.biases[-1].shape[-1]
    x = recipe.standardise(x.reshape(-1, 1, dim_x))
    mlp.biases[0].data = mlp.biases[0] + x @ first[:, d : d + dim_x]
    mlp.weights[0].data = torch.cat([first[:, :d], first[:, d + dim_x :]], 1)
    recipe.standardise.mean = recipe.standardise.mean[..., :0]
    recipe.standardise.std = recipe.standardise.std[..., :0]
    if isinstance(recipe, Preconditioned):
        recipe.intercept = x @ recipe.coefficients + recipe.intercept
        recipe.coefficients = recipe.coefficients[:, :0]
    return given
