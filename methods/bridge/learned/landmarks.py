"""Scores of landmark diffusions learned once for all amplitudes, length-scales and starts.

`learn_landmarks` trains an attention network over landmarks. The result, `LandmarkScores`, is a factory of
bases: midpoint with a learned residual of the pull.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from ....tasks.errors import UserError
from ....tasks.landmarks.diffusion import LandmarkCoefficients, LandmarkDiffusion
from ....tasks.plugin import require_positive, require_whole
from ....tasks.sde.sde import SDE, Coefficients, TimeGrid, cholesky, euler_path
from ....tasks.seeding import derive_seed, generator
from ...nn.averaging import held_out
from ...nn.network import time_features
from ..bases import MidpointBase
from .training import descend

LARGEST = 10.0  # of a field
FIELDS = 12
RIDGE = 1e-2  # for fields that coincide
SIZE = 0.02  # of coefficients: a nat in 50 steps of 16 landmarks in the plane has √(2/(50 · 32)) = 0.035
CHUNK, ROWS = 64, 1024  # paths and states that are computed at once

LandmarkLaw = Callable[[int, int], tuple[LandmarkDiffusion, Tensor]]
"""`law(n, seed)` draws n pairs of θ and x_0: a diffusion and starts that broadcast to states (n, 1, D)."""


@dataclass(frozen=True)
class LandmarkTraining:
    """The settings of `learn_landmarks`.

    Args:
        paths: number of Euler paths, 15 or more; a tenth is held out.
        steps: number of Adam steps.
        batch: number of states in a minibatch.
        rate: initial learning rate of the cosine schedule.
        width: numbers in the description of a landmark, a multiple of `heads`.
        heads: number of heads of attention.
        layers: number of layers of attention.

    Raises:
        UserError: an option is out of range.
    """

    paths: int = 4_000
    steps: int = 900
    batch: int = 512
    rate: float = 5e-3
    width: int = 64
    heads: int = 4
    layers: int = 2

    def __post_init__(self) -> None:
        least = {"paths": 15, "steps": 1, "batch": 1, "width": 1, "heads": 1, "layers": 1}
        for option, smallest in least.items():
            require_whole(f"landmark scores: {option}", getattr(self, option), smallest)
        if self.width % self.heads:
            raise UserError(
                f"landmark scores: width must be a multiple of heads, but is {self.width} with {self.heads}."
            )
        require_positive("landmark scores: rate", self.rate)


class Described(NamedTuple):
    """What the network reads of states.

    Attributes:
        inputs: the description of each landmark (..., n, inputs), float32.
        shape: exp(−|x_i − x_j|²/(2 ℓ²)) (..., n, n), float32.
        fields: vectors at each landmark (..., n, FIELDS, m), in units of a/√t.
    """

    inputs: Tensor
    shape: Tensor
    fields: Tensor


def describe(base: MidpointBase, k: Tensor, x: Tensor, here: LandmarkCoefficients, pull: Tensor) -> Described:
    """Describe states x (..., D) at steps k, which broadcast to (...).

    With v = x − x_0, k_0, k_½ and k_1 the kernel at x_0, halfway and at x, p = (k_0 + 4 k_½ + k_1)⁻¹ 6 v/t,
    A_ij = −(k_½)_ij (x_i − x_j)·(v_i − v_j)/ℓ² and, with positions and kernel halfway or at x,

        q_i = −2 Σ_j k_ij p_i·p_j (x_i − x_j)/ℓ²,

    the fields are the base's Σ ∇log p, div Σ at x and halfway, k_1 p, k_0 p, v/t, A p, t k_1 q, t k_½ q,
    t k_1 q with q at x, a² nugget p, and k_1 Σ_j k_ij (k⁻¹)_ij (x_i − x_j)/ℓ². v/t is the pull of Brownian
    motion, A p and k q bend a geodesic away from the straight line. Longer vectors are shortened to 10.
    """
    sde = base.sde
    assert isinstance(sde, LandmarkDiffusion)
    t = base.grid.times[k][..., None, None]
    start, middle = base.start, sde.at(0.5 * (base.x_0 + x))
    assert isinstance(start, LandmarkCoefficients)
    squared, own = here.length.square(), here.kernel.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    v = here.positions - start.positions
    average = (start.kernel + 4 * middle.kernel + here.kernel) / 6
    p = torch.cholesky_solve(v, cholesky(average)) / t
    along = _differences_dot(middle.positions, v)
    bend, local = (_bend(each, p, squared) for each in (middle, here))
    fields = torch.stack(
        [
            here.as_rows(pull - here.divergence),
            here.as_rows(here.divergence),
            here.as_rows(middle.divergence),
            here.kernel @ p,
            start.kernel @ p,
            v / t,
            -(middle.kernel * along / squared) @ p,
            t * (here.kernel @ bend),
            t * (middle.kernel @ bend),
            t * (here.kernel @ local),
            sde.nugget * own * p,
            here.kernel
            @ here.as_rows(here.weighted_differences(here.kernel * torch.cholesky_inverse(here.factor))),
        ],
        -2,
    )
    fields = fields * (t / own).sqrt().unsqueeze(-1)
    fields = fields / (1 + fields.square().sum(-1, keepdim=True) / LARGEST**2).sqrt()
    rough = p * (t * own * sde.nugget).sqrt()
    centred = start.positions - start.positions.mean(-2, keepdim=True)
    share = t / base.grid.duration
    shape = here.kernel / own * (1 + sde.nugget)
    parts = [fields.flatten(-2), rough, centred / here.length, v / own.sqrt()]
    parts += [time_features(share), share.log(), sde.parameters.unsqueeze(-2)]
    inputs = torch.cat([part.expand(*v.shape[:-1], part.shape[-1]) for part in parts], -1)
    return Described(inputs.float(), shape.float(), fields)


def _differences_dot(x: Tensor, v: Tensor) -> Tensor:
    """Return (x_i − x_j)·(v_i − v_j) (..., n, n)."""
    products = x @ v.mT
    own = products.diagonal(dim1=-2, dim2=-1)
    return own.unsqueeze(-1) + own.unsqueeze(-2) - products - products.mT


def _bend(here: LandmarkCoefficients, p: Tensor, squared_length: Tensor) -> Tensor:
    weights = -2 * here.kernel * (p @ p.mT) / squared_length
    return weights.sum(-1, keepdim=True) * here.positions - weights @ here.positions


class LandmarkNetwork(nn.Module):
    """Attention over landmarks, whose outputs are coefficients c_f of the fields of each landmark.

    Landmarks attend more to near ones: each head adds a learned multiple of exp(−|x_i − x_j|²/(2 ℓ²)) to its
    scores. The coefficients are 0 at first. A permutation of the landmarks permutes them, and the number of
    landmarks is free. As the fields are far from orthogonal, the network's outputs are coefficients of
    combinations F T that are orthonormal over the training states, in units of 0.02.

    Args:
        inputs: descriptions of the training states (rows, inputs), whose mean and spread standardise.
        gram: mean products of whitened fields over the training states (FIELDS, FIELDS).
        training: width, heads and layers.
        seed: names the initial weights.
    """

    mean: Tensor
    std: Tensor
    combinations: Tensor

    def __init__(self, inputs: Tensor, gram: Tensor, training: LandmarkTraining, seed: int) -> None:
        super().__init__()
        scale = gram.diagonal().sqrt()
        correlation = gram / (scale.unsqueeze(1) * scale) + RIDGE * torch.eye(len(gram), dtype=gram.dtype)
        inverse = torch.linalg.inv(torch.linalg.cholesky(correlation))  # of F T: T = diag(1/scale) L⁻ᵀ
        self.register_buffer("combinations", (SIZE * inverse / scale).float())
        self.register_buffer("mean", inputs.mean(0))
        std = inputs.std(0)
        self.register_buffer("std", torch.where(std > 1e-5 * inputs.abs().amax(0), std, torch.inf))
        self.heads, width, random = training.heads, training.width, generator(seed)
        self.enter = _linear(inputs.shape[1], width, random)
        self.mix = nn.ModuleList(_linear(width, 3 * width, random) for _ in range(training.layers))
        self.leave = nn.ModuleList(_linear(width, width, random) for _ in range(training.layers))
        self.widen = nn.ModuleList(_linear(width, 2 * width, random) for _ in range(training.layers))
        self.narrow = nn.ModuleList(_linear(2 * width, width, random) for _ in range(training.layers))
        self.nearness = nn.Parameter(torch.linspace(0, 3, self.heads).repeat(training.layers, 1))
        self.coefficients = nn.Linear(width, FIELDS)
        for parameter in self.coefficients.parameters():
            nn.init.zeros_(parameter)

    def forward(self, inputs: Tensor, shape: Tensor) -> Tensor:
        """Return c (rows, n, FIELDS) for descriptions (rows, n, inputs) and nearness (rows, n, n)."""
        hidden = self.enter(((inputs - self.mean) / self.std).clamp(-5, 5))
        layers = zip(self.mix, self.leave, self.widen, self.narrow, self.nearness, strict=True)
        for mix, leave, widen, narrow, nearness in layers:
            split = mix(_normalised(hidden)).unflatten(-1, (3, self.heads, -1))
            query, key, value = split.permute(2, 0, 3, 1, 4)
            near = nearness[:, None, None] * shape.unsqueeze(1)
            mixed = scaled_dot_product_attention(query, key, value, attn_mask=near)
            hidden = hidden + leave(mixed.transpose(1, 2).flatten(-2))
            hidden = hidden + narrow(silu(widen(_normalised(hidden))))
        found: Tensor = self.coefficients(_normalised(hidden)) @ self.combinations
        return found


def _linear(inputs: int, outputs: int, random: torch.Generator) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    bound = 1 / math.sqrt(inputs)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=random)
    return layer


def _normalised(x: Tensor) -> Tensor:
    return nn.functional.layer_norm(x, x.shape[-1:])


@dataclass
class LandmarkScores:
    """A factory of bases with the pull w + (a/√t) Σ_f c_f F_f, where w is midpoint's and F are the fields.

    Attributes:
        dimensions, nugget: of the diffusion.
        duration: T.
        network: c.
        used: whether the network lowered the held-out objective; otherwise the pull is w.
        held_out: mean of the held-out objective, in nats of a path, and its standard error; midpoint has 0.
    """

    dimensions: int
    nugget: float
    duration: float
    network: LandmarkNetwork
    used: bool = True
    held_out: tuple[float, float] = (math.nan, math.nan)

    def __call__(self, sde: SDE, x_0: Tensor, grid: TimeGrid) -> "LandmarkBase":
        """Return the learned base; the numbers of steps and of landmarks are free.

        Raises:
            UserError: the SDE is no diffusion of landmarks, or its dimensions, its nugget or the duration
                differ from training.
        """
        if not isinstance(sde, LandmarkDiffusion):
            raise UserError(f"landmark scores: they are for landmarks, not for a {type(sde).__name__}.")
        wanted = (self.dimensions, self.nugget, self.duration)
        if (sde.dimensions, sde.nugget, grid.duration) != wanted:
            raise UserError(
                f"landmark scores: they belong to dimensions, nugget and duration {wanted}, not to "
                f"{(sde.dimensions, sde.nugget, grid.duration)}: learn scores of this diffusion."
            )
        return LandmarkBase(self, sde, x_0, grid)


class LandmarkBase(MidpointBase):
    """The base that `LandmarkScores` makes; its density is midpoint's."""

    name: ClassVar[str] = "landmark_scores"

    def __init__(self, scores: LandmarkScores, sde: LandmarkDiffusion, x_0: Tensor, grid: TimeGrid) -> None:
        super().__init__(sde, x_0, grid)
        self.scores = scores

    def pull(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        pull = super().pull(k, x, here)
        if not self.scores.used:
            return pull
        assert isinstance(here, LandmarkCoefficients)
        seen = describe(self, torch.tensor(k), x, here, pull)
        rows = (-1, *seen.inputs.shape[-2:])
        shape = seen.shape.expand(*seen.inputs.shape[:-1], -1)
        found = self.scores.network(seen.inputs.reshape(rows), shape.reshape(-1, *shape.shape[-2:]))
        found = found.to(x.dtype).view(*seen.inputs.shape[:-1], FIELDS)
        size = (here.kernel.diagonal(dim1=-2, dim2=-1).mean(-1) / self.grid.time(k)).sqrt()
        return pull + size.unsqueeze(-1) * (found.unsqueeze(-1) * seen.fields).sum(-2).flatten(-2)


@dataclass(frozen=True)
class States:
    """Training states; whitened means L⁻¹, times √(dt/r), the scale in which a step's noise is 1.

    Attributes:
        inputs, shape: see `Described`.
        fields: whitened (a/√t) F (rows, n, FIELDS, m), which the coefficients multiply before whitening.
        factor: whitens sums of fields (rows, n, n).
        goal: whitened −(v + w) (rows, n, m).
    """

    inputs: Tensor
    shape: Tensor
    fields: Tensor
    factor: Tensor
    goal: Tensor

    def rows(self, index: Tensor) -> "States":
        return States(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    def gain(self, network: LandmarkNetwork) -> Tensor:
        """Compute ½ |error|² less that of the base (rows,)."""
        found = network(self.inputs, self.shape)
        summed = (found.unsqueeze(-1) * self.fields).sum(-2)
        moved = torch.linalg.solve_triangular(self.factor, summed, upper=False)
        return (0.5 * moved.square() - moved * self.goal).sum((-2, -1))


@torch.enable_grad()
def learn_landmarks(
    law: LandmarkLaw, grid: TimeGrid, training: LandmarkTraining, seed: int
) -> LandmarkScores:
    """Train the coefficients on Euler paths, each with its own θ and x_0.

    With v = (X_{k+1} − X_k)/dt, w midpoint's pull, R the residual and r = t_k/t_{k+1}, training minimises

        Σ_{k=1}^{K−1} (dt/2r) (|L⁻¹(R + v + w)|² − |L⁻¹(v + w)|²)

    in the mean over paths: the divergence KL(bridge | proposal) of the reverse bridges less that of midpoint,
    in nats, as a path to X_K is a bridge to it. Its gradient needs no bridges and cannot overflow. The
    network is used only if it is below 0 on held-out paths.

    Args:
        law: draws θ and x_0 for each path.
        grid: duration and number of steps, 2 or more.
        training: the settings.
        seed: names the paths, the minibatches and the initial weights.

    Raises:
        NotFiniteError: the training diverged.
    """
    unseen = held_out(training.paths)
    train = _states(law, grid, training.paths - unseen, derive_seed(seed, "train"))
    network = untrained(train, training, derive_seed(seed, "network"))
    random = generator(derive_seed(seed, "minibatches"))

    def loss(step: int) -> Tensor:
        index = torch.randint(len(train.goal), (training.batch,), generator=random)
        return train.rows(index).gain(network).mean()

    descend(network, loss, training.steps, training.rate)
    held = _states(law, grid, unseen, derive_seed(seed, "held out"))
    gains = torch.cat([held.rows(part).gain(network) for part in torch.arange(len(held.goal)).split(ROWS)])
    gains = gains.view(unseen, -1).sum(1)
    sde, _ = law(1, derive_seed(seed, "law"))
    found = LandmarkScores(sde.dimensions, sde.nugget, grid.duration, network)
    found.held_out = float(gains.mean()), float(gains.std() / unseen**0.5)
    found.used = found.held_out[0] < 0
    return found


def untrained(states: States, training: LandmarkTraining, seed: int) -> LandmarkNetwork:
    """Return a network for these training states, with coefficients 0."""
    gram, rows = torch.zeros(FIELDS, FIELDS, dtype=torch.float64), len(states.goal)
    for part in torch.arange(rows).split(ROWS):
        own = states.rows(part)
        columns = own.fields.transpose(-2, -1).flatten(-2)  # (rows, n, m FIELDS)
        white = torch.linalg.solve_triangular(own.factor, columns, upper=False)
        white = white.unflatten(-1, (-1, FIELDS)).flatten(0, -2).double()
        gram += white.T @ white
    return LandmarkNetwork(states.inputs.flatten(0, 1), gram / states.goal.numel(), training, seed)


@torch.no_grad()
def _states(law: LandmarkLaw, grid: TimeGrid, paths: int, seed: int) -> States:
    """Draw Euler paths and return their states 2 … K, path by path, in float32."""
    parts = []
    for first in range(0, paths, CHUNK):
        own = derive_seed(seed, first)
        parts.append(_some_states(law, grid, min(CHUNK, paths - first), own))
    return States(*(torch.cat([getattr(s, name) for s in parts]) for name in States.__dataclass_fields__))


def _some_states(law: LandmarkLaw, grid: TimeGrid, paths: int, seed: int) -> States:
    sde, x_0 = law(paths, derive_seed(seed, "law"))
    size = (grid.steps, paths, 1, x_0.shape[-1])
    noise = torch.randn(size, generator=generator(derive_seed(seed, "paths")), dtype=torch.float64)
    path = euler_path(sde, x_0, grid, noise)
    base, columns = MidpointBase(sde, x_0, grid), []
    for k in range(2, grid.steps + 1):
        before, x = path[..., k - 1, :], path[..., k, :]
        here = sde.at(x)
        pull = base.pull(k, x, here)
        seen = describe(base, torch.tensor(k), x, here, pull)
        dt = grid.step(k - 1)
        scale = math.sqrt(dt * grid.clock[k] / grid.clock[k - 1])
        size_of = (here.kernel.diagonal(dim1=-2, dim2=-1).mean(-1) / grid.time(k)).sqrt()
        goal = here.as_rows(here.whiten((before - x) / dt - pull)) * scale
        fields = seen.fields * (scale * size_of)[..., None, None, None]
        columns.append([seen.inputs, seen.shape, fields.float(), here.factor.float(), goal.float()])
    joined = [torch.cat(column, 1).flatten(0, 1) for column in zip(*columns, strict=True)]
    return States(*joined)
