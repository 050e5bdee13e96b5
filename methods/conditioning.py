"""A score model that is given its observations: what depends on x alone is computed once, not once a draw.

The first layer is (u_t, x, rest) W + b. For a fixed x, x's share of it becomes part of the bias, and m(x) of
the preconditioned recipe its intercept; the other layers stay. `benchmark.bench_sampling` has what it saves.
"""

import copy

import torch
from torch import Tensor

from methods.recipes import Preconditioned
from methods.trainer import ScoreModel


@torch.no_grad()
def condition(model: ScoreModel, x: Tensor, n: int) -> ScoreModel:
    """Give the model for n draws of each observation of x (R, m, dim_x): it has m n rows and takes no x.

    Its argument x is (R, m n, 0), and t may be (1, 1, 1).
    """
    given = copy.deepcopy(model)
    recipe, mlp = given.recipe, given.mlp
    first, d, dim_x = mlp.weights[0], mlp.biases[-1].shape[-1], x.shape[-1]
    x = recipe.standardise(x)
    bias = mlp.biases[0] + x @ first[:, d : d + dim_x]
    mlp.biases[0].data = bias.repeat_interleave(n, 1)
    mlp.weights[0].data = torch.cat([first[:, :d], first[:, d + dim_x :]], 1)
    recipe.standardise.mean = recipe.standardise.mean[..., :0]
    recipe.standardise.std = recipe.standardise.std[..., :0]
    if isinstance(recipe, Preconditioned):
        recipe.intercept = (x @ recipe.coefficients + recipe.intercept).repeat_interleave(n, 1)
        recipe.coefficients = recipe.coefficients[:, :0]
    return given
