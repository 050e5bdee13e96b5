"""Tasks with a wrong structure of their data, and correct ones: 12 readings, normal given θ."""

from typing import ClassVar

import torch

from graybench.tasks.prior import Normal
from graybench.tasks.reference import GaussianReference
from graybench.tasks.structure import Items
from graybench.tasks.task import Outcome, Task

TIMES = torch.linspace(-1, 1, 12, dtype=torch.float64)
TWICE = torch.linspace(-1, 1, 6, dtype=torch.float64).repeat(2)  # items i and i + 6 have the same number
APART = (torch.arange(12) - torch.arange(12).unsqueeze(1)).abs()
SAME_GROUP = torch.block_diag(*[torch.ones(3, 3)] * 4).double()
LAWS = {  # slope in θ and covariance of 12 readings
    "alike": (torch.ones(12), torch.eye(12)),
    "together": (torch.ones(12), torch.eye(12) + 0.1),
    "groups": (torch.ones(12), torch.eye(12) + 0.2 * SAME_GROUP),
    "interleaved": (torch.ones(12), torch.eye(12) + 0.2 * (APART % 4 == 0)),
    "series": (torch.ones(12), 0.2**APART),
    "graded": (torch.tensor([0.9, 1.0, 1.1]).repeat(4), torch.eye(12)),
    "drift": (1 + 0.1 * TIMES, torch.eye(12)),
    "louder": (torch.ones(12), (1 + 0.1 * TIMES).diag()),
    "line": (TIMES, torch.eye(12)),
    "twice": (TWICE, torch.eye(12)),
}
DECLARED = {
    "items": Items(12),
    "independent": Items(12, independent=True),
    "pairs": Items(6, 2, independent=True),
    "groups": Items(4, Items(3), independent=True),
    "all independent": Items(4, Items(3, independent=True), independent=True),
    "line": Items(12, regressors=tuple(zip(TIMES.tolist(), strict=True)), independent=True),
    "twice": Items(12, regressors=tuple(zip(TWICE.tolist(), strict=True)), independent=True),
    "swapped": Items(12, regressors=tuple(zip(TWICE.sort().values.tolist(), strict=True)), independent=True),
}


class Readings(Task):
    """12 readings, normal given θ, by one of `LAWS`, with the structure of one of `DECLARED`."""

    law: str = "alike"
    declared: str = "independent"

    name: ClassVar[str] = "readings"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "readings with a structure"
    capabilities: ClassVar[frozenset[str]] = frozenset()

    prior = Normal()
    dim_theta = 1
    dim_x = 12

    @property
    def structure(self):
        return DECLARED[self.declared]

    def simulator(self, theta, generator):
        slope, covariance = LAWS[self.law]
        noise = torch.randn(len(theta), 12, generator=generator, dtype=theta.dtype)
        return Outcome(theta * slope + noise @ torch.linalg.cholesky(covariance.double()).T)


class LikelyReadings(Readings):
    """The same with a likelihood, whose differences are exact."""

    def log_likelihood(self, theta, x):
        slope, covariance = LAWS[self.law]
        return torch.distributions.MultivariateNormal(theta * slope, covariance.double()).log_prob(x)


class ScoredReadings(Readings):
    """The same with a marginal score and a likelihood's share of it."""

    capabilities = frozenset({"marginal_score"})

    def marginal_score(self, theta, x):
        slope, covariance = LAWS[self.law]
        return ((x - theta * slope) @ torch.linalg.inv(covariance.double()) @ slope.double()).unsqueeze(1)


class KnownReadings(Readings):
    """The same with an exact reference."""

    capabilities = frozenset({"reference"})

    def reference(self, x_o):
        slope, covariance = LAWS[self.law]
        weights = torch.linalg.solve(covariance.double(), slope.double())
        variance = 1 / (1 + weights @ slope.double())
        return GaussianReference((variance * weights @ x_o).unsqueeze(0), variance.reshape(1, 1))


# kind of fault, size, task: the rows of the table that `power` makes
FAULTS: list[tuple[str, str, Task]] = [
    ("none", "independent items", Readings()),
    ("none", "items with a common latent", Readings("together", "items")),
    ("none", "independent items of 2", Readings("alike", "pairs")),
    ("none", "groups of items", Readings("groups", "groups")),
    ("none", "items with regressors", Readings("line", "line")),
    ("none", "items with repeated regressors", Readings("twice", "twice")),
    ("structure", "a series with a correlation of 0.2, as items", Readings("series", "items")),
    ("structure", "groups with a correlation of 0.17, as items", Readings("groups", "items")),
    ("structure", "the same, interleaved", Readings("interleaved", "items")),
    ("structure", "items in interleaved groups, as other groups", Readings("interleaved", "groups")),
    ("structure", "signal 10 % above and below the mean, within groups", Readings("graded", "groups")),
    ("structure", "signal 10 % above and below the mean, as items", Readings("drift", "items")),
    ("structure", "variance 10 % above and below the mean, as items", Readings("louder", "items")),
    ("structure", "a common latent, correlation of 0.09, as independent", Readings("together")),
    ("structure", "the same within groups, correlation of 0.17", Readings("groups", "all independent")),
    ("structure", "regressors left out", Readings("line")),
    ("structure", "regressors in another order", Readings("twice", "swapped")),
]
