"""Learned scores: a network as a residual on a base in closed form, which serves many θ and x_0.

`LearnedScores` is a factory of bases like the classes in `bases.BASES`, and its bases are `LearnedBase`.
`training.py` trains them.
"""

import math
from dataclasses import dataclass, fields, is_dataclass
from inspect import ismethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ....tasks.errors import UserError
from ....tasks.sde.sde import SDE, Coefficients, TimeGrid
from ....tasks.seeding import generator
from ...nn.network import ReplicatedMLP, time_features
from ...nn.standardise import Standardise
from ..bases import Base


class ScoreNetwork(nn.Module):
    """A perceptron F on standardised features.

    It is in float32 while it is trained, and then in float64, as climbing a likelihood needs smooth values.
    Features beyond those of the training states are moved to the nearest of these, so the output stays
    bounded. The initial output is 0.

    Args:
        features: features of the training states (rows, inputs).
        outputs: number of outputs.
        width, depth: number of units in a hidden layer, and of hidden layers.
        seed: names the initial weights.
    """

    least: Tensor
    most: Tensor

    def __init__(self, features: Tensor, outputs: int, *, width: int, depth: int, seed: int) -> None:
        super().__init__()
        self.standardise = Standardise(features.unsqueeze(0))
        for name, bound in (("least", features.amin(0)), ("most", features.amax(0))):
            self.register_buffer(name, bound)
        self.mlp = ReplicatedMLP(
            features.shape[1], outputs, width=width, depth=depth, generators=[generator(seed)]
        )

    def inputs(self, features: Tensor) -> Tensor:
        """Return the inputs of the perceptron for features (..., inputs)."""
        standard = self.standardise(features.clamp(self.least, self.most)).view_as(features)
        return standard.to(self.mlp.weights[0].dtype)

    def output(self, inputs: Tensor) -> Tensor:
        """Return F (..., outputs) for inputs of the perceptron (..., inputs)."""
        rows: Tensor = self.mlp(inputs.reshape(1, -1, inputs.shape[-1]))
        return rows.view(*inputs.shape[:-1], -1)

    def forward(self, features: Tensor) -> Tensor:
        """Return F (..., outputs) for features (..., inputs), in their dtype."""
        return self.output(self.inputs(features)).to(features.dtype)


class Range(NamedTuple):
    """Smallest and largest values that training saw, (p,) each."""

    least: Tensor
    most: Tensor

    def admits(self, values: Tensor) -> bool:
        """Return whether the values (..., p) are those of training, in components that did not vary there."""
        fixed = self.least == self.most
        return bool(torch.isclose(values, self.least)[..., fixed].all())


@dataclass
class LearnedScores:
    """A factory of bases with the pull w + L F(θ, x_0, t, x)/√t, where w is the pull of another base.

    L is the factor of Σ = L Lᵀ and F a network, so F has the scale of the noise. A network trained by the
    objective "paper" has learned div Σ too, which is then subtracted from the pull.

    Attributes:
        model: the class of the SDE, and its fields that are not parameters.
        grid: duration and number of steps.
        base: the class of the base in closed form, whose density is also the density of the learned base.
        network: F, a function of `features_of`.
        objective: the objective of the training.
        parameters, starts: what θ and x_0 were in training.
        used: whether the network lowered the held-out objective; otherwise the pull is w.
        held_out: mean of the held-out objective and its standard error; the base alone has mean 0.
    """

    model: list[object]
    grid: TimeGrid
    base: type[Base]
    network: ScoreNetwork
    objective: str
    parameters: Range
    starts: Range
    used: bool = True
    held_out: tuple[float, float] = (math.nan, math.nan)

    def __call__(self, sde: SDE, x_0: Tensor, grid: TimeGrid) -> "LearnedBase":
        """Return the learned base.

        Raises:
            UserError: the network was trained for another SDE, other than in its parameters, or on another
                grid; or at a single θ or x_0, which is another one.
        """
        if model_of(sde) != self.model:
            raise UserError(
                f"learned scores: they belong to another SDE than this {type(sde).__name__}: "
                "learn scores of it."
            )
        if grid != self.grid:
            raise UserError(
                f"learned scores: they belong to another grid, of {self.grid.steps} steps up to "
                f"{self.grid.duration:g}, than this one of {grid.steps} up to {grid.duration:g}: "
                "learn scores on this grid."
            )
        if not self.parameters.admits(sde.parameters):
            raise UserError(
                "learned scores: the SDE has other parameters than in training, where they did not vary: "
                "learn scores from a law of parameters."
            )
        if x_0.shape[-1:] != self.starts.least.shape or not self.starts.admits(x_0):
            raise UserError(
                "learned scores: the start is not the one of training, where it did not vary: learn scores "
                "from a law of starts."
            )
        return LearnedBase(self, sde, x_0, grid)


class LearnedBase(Base):
    """The base made by `LearnedScores` for one SDE, or for a batch of them, and its starts."""

    name: ClassVar[str] = "learned"

    def __init__(self, scores: LearnedScores, sde: SDE, x_0: Tensor, grid: TimeGrid) -> None:
        super().__init__(sde, x_0, grid)
        self.scores, self.base = scores, scores.base(sde, x_0, grid)

    def pull(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        pull = self.base.pull(k, x, here)
        if not self.scores.used:
            return pull
        residual = here.colour(self.residual(torch.tensor(k), x, here)) / math.sqrt(self.grid.time(k))
        return pull + residual - counted_beside(self.scores.objective, here)

    def log_density(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        return self.base.log_density(k, x, here)

    def residual(self, k: Tensor, x: Tensor, here: Coefficients) -> Tensor:
        """Return F (..., D) at steps k, which broadcast to (...), and states x (..., D)."""
        return self.scores.network(self.features(k, x, here))

    def features(self, k: Tensor, x: Tensor, here: Coefficients) -> Tensor:
        """Return the features (..., inputs) at steps k, which broadcast to (...), and states x (..., D)."""
        return features_of(self.sde, self.x_0, self.grid, k, x, here)


def features_of(sde: SDE, x_0: Tensor, grid: TimeGrid, k: Tensor, x: Tensor, here: Coefficients) -> Tensor:
    """Return what a network is told of states x (..., D) at steps k, which broadcast to (...).

    These are x, L(x)⁻¹(x − x_0)/√t, x_0, the parameters of the SDE, features of t, and log t.
    """
    t = (torch.tensor(grid.clock, dtype=x.dtype)[k] / grid.steps).unsqueeze(-1)
    noise = here.whiten(x - x_0) / t.sqrt()
    parts = (x, noise, x_0, sde.parameters, time_features(t), t.log())
    return torch.cat([part.expand(*x.shape[:-1], part.shape[-1]) for part in parts], -1)


def model_of(sde: SDE) -> list[object]:
    """Return the class of an SDE and its fields that are not tensors, with methods taken apart."""
    found: list[object] = [type(sde)]
    names: list[str] = [field.name for field in fields(sde)] if is_dataclass(sde) else []
    for name in names:
        value = getattr(sde, name)
        if ismethod(value):
            found += [value.__func__, value.__self__]
        elif not isinstance(value, Tensor):
            found.append(value)
    return found


def counted_beside(objective: str, here: Coefficients) -> Tensor | float:
    """Return what a network trained by this objective has learned beside the pull."""
    return here.divergence if objective == "paper" else 0.0
