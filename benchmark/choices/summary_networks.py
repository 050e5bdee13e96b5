"""Networks whose features of data with structure are trained, and the loop that trains them.

They are the alternative to `methods.score.summary`, whose features are random and stay.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...methods.nn.averaging import DECAY, MovingAverage, held_out
from ...methods.nn.sets import LEAST_VARIANCE, Channels
from ...methods.nn.single_training import Loss
from ...methods.nn.stopping import Plateau, batch_size, next_look
from ...tasks.errors import NotFiniteError
from ...tasks.seeding import derive_seed, generator
from ...tasks.structure import Series, Structure

WIDTH, FEATURES = 64, 12
WINDOW = 5  # times that a convolution sees
BATCH, RATE = 32, 2e-3
FEW = 2000
MOST_POINTS = 8_000_000, 12_000_000  # items or times in all minibatches, with few simulations and with more
VALIDATION_ROWS = 512
ROWS = 256  # simulations evaluated at once


class TrainedFeatures(nn.Module):
    """Twelve features of x, (n, size) to (n, 12).

        sets      MLP of each item (two layers of 64), mean and log spread over the items, MLP
        series    two convolutions (64 channels, windows of 5), mean and log spread over the times, MLP

    Sets of sets do the first two steps at each level. The inputs, `Channels` of the items or times with their
    regressors, also skip the MLP or the convolutions, so that their own mean and log spread are known.

    Args:
        structure: of x, `Items` of vectors or of items, or `Series`.
        x: data of the training simulations (n, size), which determine means and standard deviations.
    """

    def __init__(self, structure: Structure, x: Tensor) -> None:
        super().__init__()
        self.structure = structure
        parts = structure.unflatten(x)
        self.channels = Channels(parts.flatten(0, -2).unsqueeze(0))
        size = 2 * parts.shape[-1]
        layers: list[nn.Module] = []
        for _ in range(parts.ndim - 2):
            layers += [Beside(_convolutions(size) if isinstance(structure, Series) else mlp(size)), Pool()]
            size = 2 * (size + WIDTH)
        self.layers = nn.Sequential(*layers, mlp(size, FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        parts = self.structure.unflatten(x)
        channels = self.channels(parts.flatten(0, -2).unsqueeze(0))
        features: Tensor = self.layers(channels.view(*parts.shape[:-1], -1))
        return features


class Beside(nn.Module):
    """v ↦ (v, network(v))."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, values: Tensor) -> Tensor:
        """Map (..., c) to (..., c + 64)."""
        return torch.cat([values, self.network(values)], -1)


class Pool(nn.Module):
    """The mean and the logarithm of the spread over items or times."""

    def forward(self, values: Tensor) -> Tensor:
        """Map (..., items, c) to (..., 2 c)."""
        mean = values.mean(-2)
        variance = (values - mean.unsqueeze(-2)).square().mean(-2)  # several times as fast as `torch.var`
        return torch.cat([mean, (variance + LEAST_VARIANCE).log() / 2], -1)


class _Transposed(nn.Module):
    """Exchange times and channels."""

    def forward(self, values: Tensor) -> Tensor:
        """Map (n, a, b) to (n, b, a)."""
        return values.mT


def mlp(inputs: int, outputs: int = WIDTH) -> nn.Module:
    """Return an MLP with a hidden layer of 64, whose output is activated unless it has another size."""
    layers = [nn.Linear(inputs, WIDTH), nn.SiLU(), nn.Linear(WIDTH, outputs)]
    return nn.Sequential(*layers, nn.SiLU()) if outputs == WIDTH else nn.Sequential(*layers)


def _convolutions(channels: int) -> nn.Module:
    """Return two convolutions of values (n, times, channels) to (n, times, 64)."""
    first = nn.Conv1d(channels, WIDTH, WINDOW, padding="same")
    second = nn.Conv1d(WIDTH, WIDTH, WINDOW, padding="same")
    return nn.Sequential(_Transposed(), first, nn.SiLU(), second, nn.SiLU(), _Transposed())


@torch.no_grad()
def evaluate(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the outputs (n, ·) of a network for x (n, dim_x), computed in parts."""
    return torch.cat([network(part) for part in x.split(ROWS)])


def train(
    module: nn.Module,
    loss: Loss,
    n: int,
    points: int,
    seed: int,
    positive: Callable[[Tensor], Tensor] = torch.Tensor.clone,
    effort: float = 1.0,
) -> None:
    """Train `module` in place until its held-out loss has stopped falling, by the rules of `nn.stopping`.

    The last tenth of the simulations is held out, as in `nn.single_training`. Training also ends when its
    minibatches have held eight million items or times, or twelve million with more than 2,000 simulations.

    Args:
        module: the network.
        loss: as for `nn.single_training.train`.
        n: number of simulations.
        points: number of items or times in a simulation.
        seed: the only source of randomness.
        positive: turns a held-out loss into a number above 0, of which half a hundredth is little.
        effort: factor on the largest number of items or times.

    Raises:
        NotFiniteError: no held-out loss is finite, or the final parameters are not.
    """
    n_train, random = n - held_out(n), generator(derive_seed(seed, "batches"))
    unseen = torch.arange(n_train, n)[:VALIDATION_ROWS]
    parameters: list[Tensor] = [*module.parameters()]
    average, plateau = MovingAverage(parameters, DECAY), Plateau(1)
    adam = torch.optim.Adam(parameters, RATE, fused=True)

    @torch.no_grad()
    def judged() -> Tensor:
        return loss(unseen, generator(derive_seed(seed, "validation"))).view(1)

    step, left, done = 0, effort * MOST_POINTS[n > FEW], False
    while not done:
        size, until = batch_size(BATCH, step), next_look(step)
        for _ in range(step, until):
            adam.zero_grad()
            loss(torch.randint(n_train, (size,), generator=random), random).backward()
            adam.step()
            average.update()
        average.judge(judged)
        left -= (until - step) * size * points
        step = until
        done = plateau.look(step, positive(average.best.loss))[0] or left <= 0
    if not average.finish().all():
        raise NotFiniteError("training of a summary diverged")
