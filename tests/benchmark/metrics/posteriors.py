"""Posteriors that are exact, and posteriors that are wrong by a known amount."""

from dataclasses import dataclass

import torch

from graybench.benchmark.metrics.fitted import Fitted
from graybench.benchmark.metrics.truth import truth_of
from graybench.methods.method import Posterior
from graybench.tasks.classic.linear_gaussian import LinearGaussian
from graybench.tasks.seeding import derive_seed, generator
from graybench.tests.benchmark.toys import Line

TASK = LinearGaussian(3)


class Exact(Posterior):
    """The posterior of `TASK`, its standard deviations times `width`, its means moved by `shift` of them."""

    def __init__(self, width=1.0, shift=0.0, task=TASK):
        self.width, self.shift, self.task = width, shift, task

    def _law(self, x):
        drawn = self.task.reference(x).sample(20_000, 5)
        return drawn.mean(0), drawn.std(0)

    def sample(self, n, x_o, seed):
        drawn = []
        for o, x in enumerate(x_o):
            mean, std = self._law(x)
            own = self.task.reference(x).sample(n, derive_seed(seed, o))
            drawn.append(mean + self.width * (own - mean) + self.shift * std)
        return torch.stack(drawn)


class Gaussian(Posterior):
    """N(0, width²) for every x, with its density."""

    def __init__(self, width):
        self.width = width

    def sample(self, n, x_o, seed):
        return self.width * torch.randn(len(x_o), n, 3, generator=generator(seed), dtype=torch.float64)

    def log_prob(self, u, x_o):
        return -0.5 * (u / self.width).square().sum(-1)


class Space(Line):
    """`Line` in three dimensions: the exact posterior is N(x/2, I/2)."""

    name = "space"
    dim_theta = dim_x = 3


@dataclass(frozen=True)
class Halved(Posterior):
    """N(x/2, I/2), its standard deviations times `width`, its means moved by `shift` of them."""

    width: float = 1.0
    shift: float = 0.0

    def sample(self, n, x_o, seed):
        noise = torch.randn(len(x_o), n, x_o.shape[1], generator=generator(seed), dtype=x_o.dtype)
        return x_o.unsqueeze(1) / 2 + 0.5**0.5 * (self.width * noise + self.shift)


class Kept:
    """Draws (pairs, n, d) in the form in which sbi's diagnostics ask a posterior for them."""

    def __init__(self, drawn):
        self.drawn = drawn

    def sample_batched(self, *_, **__):
        return self.drawn.transpose(0, 1)


def fitted(*posteriors, task=TASK):
    truth = truth_of(task, 2, 300)
    x_o = truth.observations.x
    samples = torch.stack([task.prior.to_theta(p.sample(300, x_o, 3)) for p in posteriors])
    return Fitted(truth, [], list(posteriors), samples)


def values(metric, cell):
    return [row["value"] for row in metric(cell)]
