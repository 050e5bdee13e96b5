"""Ways to train a summary of data with structure, each of which replaces x before `dsm` is fitted."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...methods.nn.network import ReplicatedMLP
from ...methods.score.recipes import Preconditioned
from ...methods.score.schedule import T_MIN, alpha_sigma
from ...methods.score.score_matching import DSM
from ...methods.score.summary import Summary
from ...methods.score.trainer import ScoreModel
from ...tasks.errors import UserError
from ...tasks.plugin import nearest
from ...tasks.seeding import derive_seed, generator
from ...tasks.simulations import Simulations
from ...tasks.structure import Structure
from ...tasks.task import Task
from .sufficient import STATISTICS
from .summary_networks import FEATURES, WIDTH, TrainedFeatures, evaluate, mlp, train

DRAWS = 8  # of t and ε for each simulation in joint training
FOLDS = 3
JOINT_EFFORT = 0.5
LARGEST = 10.0  # of the logarithm of a predicted variance


class Data(NamedTuple):
    """Training simulations of one replicate, in float32.

    Attributes:
        task: the name of the task.
        structure: of x.
        u, x, g: parameters (n, d), data (n, dim_x) and joint scores (n, d).
    """

    task: str
    structure: Structure
    u: Tensor
    x: Tensor
    g: Tensor

    @property
    def points(self) -> int:
        """The number of items of all levels, or of times, in a row of x."""
        return self.structure.unflatten(self.x[:1])[..., 0].numel()

    def without(self, rows: Tensor) -> "Data":
        """Return the data without some rows."""
        seen = torch.ones(len(self.u), dtype=torch.bool).index_fill(0, rows, False)
        return self._replace(u=self.u[seen], x=self.x[seen], g=self.g[seen])


class Learned(NamedTuple):
    """The result of a variant.

    Attributes:
        summary: maps x (n, dim_x) to summaries (n, k).
        training: the summaries (n, k) of the training simulations from which `dsm` learns.
        model: the score model that was trained with the summary, or None.
    """

    summary: Callable[[Tensor], Tensor]
    training: Tensor
    model: ScoreModel | None = None


def data_of(task: Task, simulations: Simulations) -> Data:
    """Return simulations of a task with joint scores as `Data`."""
    if simulations.joint_score is None:
        raise UserError(f"task {task.label} has no joint score.")
    u, x, g = simulations.u.float(), simulations.x.float(), simulations.joint_score.float()
    return Data(task.name, task.structure, u, x, g)


def raw(data: Data, seed: int) -> Learned:
    """Take x as it is."""
    return Learned(lambda x: x, data.x)


def shipped(data: Data, seed: int) -> Learned:
    """Use `methods.score.summary`, with predictions of training simulations that were made without them."""
    summary = Summary(data.structure, data.x.unsqueeze(0), data.u.shape[1], [seed])
    training = summary.fit(data.x.unsqueeze(0), data.u.unsqueeze(0))
    return Learned(lambda x: summary(x.unsqueeze(0))[0], training[0])


def shipped_in_sample(data: Data, seed: int) -> Learned:
    """Use `methods.score.summary`, with predictions of training simulations by the networks that saw them."""
    summary = shipped(data, seed).summary
    return Learned(summary, summary(data.x))


def by_hand(data: Data, seed: int) -> Learned:
    """Use statistics that are sufficient, or nearly so."""
    if data.task not in STATISTICS:
        raise UserError(f"task {data.task} has no statistics by hand: choose {' or '.join(STATISTICS)}.")
    statistics = STATISTICS[data.task]
    return Learned(statistics, statistics(data.x))


def features_trained(data: Data, seed: int) -> Learned:
    """Regress u on x by a network with trained features; the summary is the predicted mean of u."""
    return _learned(_regression(data, seed), data)


def features_trained_out_of_fold(data: Data, seed: int) -> Learned:
    """Do the same three times, each without a third of the rows, which is predicted by that network.

    The summary of other x is the mean of the three predictions.
    """
    folds = torch.arange(len(data.u)).tensor_split(FOLDS)
    networks = [_regression(data.without(rows), derive_seed(seed, "fold", k)) for k, rows in enumerate(folds)]
    own = [evaluate(network, data.x[rows]) for network, rows in zip(networks, folds, strict=True)]
    return Learned(
        lambda x: torch.stack([evaluate(network, x) for network in networks]).mean(0), torch.cat(own)
    )


def gaussian_likelihood(data: Data, seed: int) -> Learned:
    """Maximise the likelihood of u under N(mean, variance) of the network; the summary is both."""
    d = data.u.shape[1]
    network = nn.Sequential(TrainedFeatures(data.structure, data.x), nn.Linear(FEATURES, 2 * d))

    def loss(rows: Tensor, random: torch.Generator) -> Tensor:
        mean, log_variance = network(data.x[rows]).split(d, 1)
        log_variance = log_variance.clamp(-LARGEST, LARGEST)
        squares = (data.u[rows] - mean).square() * (-log_variance).exp()
        return (squares + log_variance).mean()

    train(network, loss, len(data.u), data.points, seed, torch.exp)
    return _learned(network, data)


def joint_score(data: Data, seed: int) -> Learned:
    """Regress the joint score on u and twelve features of x, which are the summary."""
    d, goal = data.u.shape[1], data.g / data.g.std(0)
    features = TrainedFeatures(data.structure, data.x)
    head = nn.Sequential(mlp(FEATURES + d), nn.Linear(WIDTH, d))

    def loss(rows: Tensor, random: torch.Generator) -> Tensor:
        predicted = head(torch.cat([features(data.x[rows]), data.u[rows]], 1))
        return (predicted - goal[rows]).square().mean()

    train(nn.ModuleList([features, head]), loss, len(data.u), data.points, seed)
    return _learned(features, data)


def joint_training(data: Data, seed: int) -> Learned:
    """Regress u first, then train the twelve features with a score network by the loss of `dsm`.

    The second part takes at most half as many items or times. Each simulation has eight draws of t and ε.
    """
    features = _regression(data, seed)[0]
    recipe = Preconditioned(data.u.unsqueeze(0), evaluate(features, data.x).unsqueeze(0))
    d, random = data.u.shape[1], [generator(derive_seed(seed, "network"))]
    network = ReplicatedMLP(recipe.n_inputs, d, width=DSM.width, depth=DSM.depth, generators=random)
    model = ScoreModel(recipe, network)

    def loss(rows: Tensor, random: torch.Generator) -> Tensor:
        n = DRAWS * len(rows)
        strata = torch.randperm(n, generator=random) + torch.rand(n, generator=random)
        t = T_MIN + (1 - T_MIN) * strata.view(1, n, 1) / n
        eps = torch.randn(1, n, d, generator=random)
        summaries = features(data.x[rows]).repeat(1, DRAWS, 1)
        return _loss(model, summaries, data.u[rows].repeat(1, DRAWS, 1), t, eps)

    both, start = nn.ModuleList([features, network]), derive_seed(seed, "joint")
    train(both, loss, len(data.u), data.points, start, effort=JOINT_EFFORT)
    return _learned(features, data)._replace(model=model)


VARIANTS: dict[str, Callable[[Data, int], Learned]] = {
    "none": raw,
    "shipped": shipped,
    "shipped in sample": shipped_in_sample,
    "features trained": features_trained,
    "features trained out of fold": features_trained_out_of_fold,
    "gaussian likelihood": gaussian_likelihood,
    "joint score": joint_score,
    "joint training": joint_training,
    "by hand": by_hand,
}


def _regression(data: Data, seed: int) -> nn.Sequential:
    network = nn.Sequential(TrainedFeatures(data.structure, data.x), nn.Linear(FEATURES, data.u.shape[1]))

    def loss(rows: Tensor, random: torch.Generator) -> Tensor:
        return (network(data.x[rows]) - data.u[rows]).square().mean()

    train(network, loss, len(data.u), data.points, seed)
    return network


def _learned(network: nn.Module, data: Data) -> Learned:
    return Learned(lambda x: evaluate(network, x), evaluate(network, data.x))


def _loss(model: ScoreModel, summaries: Tensor, u: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    alpha, sigma = alpha_sigma(t)
    return (sigma * model(alpha * u + sigma * eps, summaries, t) + eps).square().mean()


def learn(variant: str, data: Data, seed: int) -> Learned:
    """Train a variant; torch's global generator, which draws initial weights, is restored afterwards.

    Raises:
        UserError: there is no such variant, or none for this task.
    """
    if variant not in VARIANTS:
        raise UserError(f"there is no variant {variant!r}: {nearest(variant, list(VARIANTS))}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VARIANTS[variant](data, seed)
