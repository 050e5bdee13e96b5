"""A score model that is given its observations: what depends on x alone is computed once, not once a draw.

The first layer is (u_t, x, rest) W + b. For a fixed x, x's share of it becomes part of b, and m(x) of the
preconditioned recipe its intercept. So R replicates of a model, each given m observations, are R m replicates
of a model without x. `benchmark.speed.sampling` has what it saves.
"""

import copy

import torch
from torch import Tensor

from .recipes import Preconditioned
from .trainer import ScoreModel


@torch.no_grad()
def condition(model: ScoreModel, x: Tensor) -> ScoreModel:
    """Give the model for the observations x (R, m, dim_x): R m replicates, whose own x has no columns."""
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
