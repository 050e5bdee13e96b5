"""Tasks with one deliberate mistake each, and the correct tasks that they derive from.

z ~ N(θ, 1), w ~ N(θ, 1), x = z + w + noise with noise ~ N(0, 1): the joint score is (z − θ) + (w − θ), the
marginal score 2 (x − 2θ)/3, the posterior of u = θ N(2x/7, 3/7).
"""

from typing import ClassVar

import torch
from torch import Tensor

from graybench.tasks.prior import LogNormal, Normal
from graybench.tasks.reference import GaussianReference
from graybench.tasks.task import Observations, Outcome, Task


class Right(Task):
    name: ClassVar[str] = "right"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "nothing wrong"
    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score", "marginal_score", "reference"})

    prior = Normal()
    dim_theta = 1
    dim_x = 1

    def simulator(self, theta, generator):
        z, w, noise = (torch.randn(theta.shape, generator=generator, dtype=theta.dtype) for _ in range(3))
        return Outcome(2 * theta + z + w + noise, self.score(z, w), latents=theta + torch.cat([z, w], 1))

    def score(self, z, w):
        return z + w

    def log_joint(self, theta, x, latents):
        return -(latents - theta).square().sum(1) / 2

    def marginal_score(self, theta, x):
        return 2 * (x - 2 * theta) / 3

    def reference(self, x_o):
        return GaussianReference(2 * x_o / 7, torch.tensor([[3 / 7]]))


class Hidden(Right):
    """w is hidden from the score."""

    def score(self, z, w):
        return z


class Twice(Right):
    """w is counted twice."""

    def score(self, z, w):
        return z + 2 * w


class Zero(Right):
    def score(self, z, w):
        return torch.zeros_like(z)


class WrongMarginal(Right):
    """The marginal score of data with half the noise."""

    def marginal_score(self, theta, x):
        return 2 * (x - 2 * theta) / 2.5


class WrongDensity(Right):
    """`log_joint` has the latents' variance wrong."""

    def log_joint(self, theta, x, latents):
        return super().log_joint(theta, x, latents) / 2


class WrongLatents(Right):
    """z and w have a variance of 2, their score and density one of 1."""

    def simulator(self, theta, generator):
        outcome = super().simulator(theta, generator)
        stretched = theta + 2**0.5 * (outcome.latents - theta)
        noise = torch.randn(theta.shape, generator=generator, dtype=theta.dtype)
        score = (stretched - theta).sum(1, keepdim=True)
        return Outcome(stretched.sum(1, keepdim=True) + noise, score, latents=stretched)


class NarrowReference(Right):
    def reference(self, x_o):
        return GaussianReference(2 * x_o / 7, torch.tensor([[0.6 * 3 / 7]]))


class ShiftedReference(Right):
    def reference(self, x_o):
        return GaussianReference(2 * x_o / 7 + 0.2, torch.tensor([[3 / 7]]))


class PriorAsReference(Right):
    """The reference ignores x; its ranks are uniform like the posterior's."""

    capabilities = frozenset({"joint_score", "reference"})

    def reference(self, x_o):
        return GaussianReference(torch.zeros(1), torch.ones(1, 1))


class StretchedReference(Right):
    """The reference is too wide, and no marginal score shows it."""

    capabilities = frozenset({"joint_score", "reference"})

    def reference(self, x_o):
        return GaussianReference(2 * x_o / 7, torch.tensor([[1.5 * 3 / 7]]))


class WrongDiffused(Right):
    """The diffused score of the reference is 30 % too large."""

    class Steep(GaussianReference):
        def diffused_score(self, u_t, alpha, sigma):
            return 1.3 * super().diffused_score(u_t, alpha, sigma)

    def reference(self, x_o):
        return self.Steep(2 * x_o / 7, torch.tensor([[3 / 7]]))


class WrongLogProb(Right):
    """The reference's draws and scores are correct, but its density is flat."""

    class Flat(GaussianReference):
        def log_prob(self, u):
            return torch.zeros_like(u[..., 0])

    def reference(self, x_o):
        return self.Flat(2 * x_o / 7, torch.tensor([[3 / 7]]))


class Restless(Right):
    """Its observations change with every call."""

    def observations(self):
        drawn = self.simulate(10, int(torch.randint(1000, ())))
        return Observations(drawn.x, drawn.theta, drawn.u)


class Unnumbered(Right):
    """Its marginal score is not a number."""

    def marginal_score(self, theta, x):
        return theta * torch.nan


class SharedNoise(Right):
    """Half of the noise in x is the same in all rows of a batch; a single row is correct."""

    def simulator(self, theta, generator):
        z, w = (torch.randn(theta.shape, generator=generator, dtype=theta.dtype) for _ in range(2))
        noise = torch.randn(1, 1, generator=generator, dtype=theta.dtype)
        return Outcome(2 * theta + z + w + noise, self.score(z, w))

    log_joint = Task.log_joint


class Neighbours(Right):
    """A run uses the parameters of the previous row."""

    def simulator(self, theta, generator):
        outcome = super().simulator(theta, generator)
        return Outcome(outcome.x + 0.6 * theta.roll(1, 0), outcome.joint_score)

    log_joint = Task.log_joint


class CentredTheta(Right):
    """Half of the batch's mean parameter is subtracted."""

    def simulator(self, theta, generator):
        outcome = super().simulator(theta, generator)
        return Outcome(outcome.x - theta.mean() / 2, outcome.joint_score)

    log_joint = Task.log_joint


class CentredNoise(Right):
    """The noise of a batch is centred by its mean, so a single run has none."""

    def simulator(self, theta, generator):
        outcome = super().simulator(theta, generator)
        noise = outcome.x - 2 * theta
        return Outcome(2 * theta + noise - noise.mean(), outcome.joint_score)

    log_joint = Task.log_joint


class GlobalNumbers(Right):
    def simulator(self, theta, generator):
        outcome = super().simulator(theta, generator)
        return Outcome(outcome.x + 0.01 * torch.randn(theta.shape), outcome.joint_score)

    log_joint = Task.log_joint


class Retried(Right):
    """Runs with a negative z are repeated at the same θ."""

    def simulator(self, theta, generator):
        w, noise = (torch.randn(theta.shape, generator=generator, dtype=theta.dtype) for _ in range(2))
        z = torch.full_like(theta, -torch.inf)
        while (again := theta + z < 0).any():
            z = torch.where(again, torch.randn(theta.shape, generator=generator, dtype=theta.dtype), z)
        return Outcome(2 * theta + z + w + noise, self.score(z, w))

    prior = Normal(0.0, 0.5)
    log_joint = Task.log_joint


class Undetached(Right):
    """z = θ + e^θ ε is differentiated too: the total derivative of log N(z; θ, e^2θ) is −1."""

    def simulator(self, theta, generator):
        eps, noise = (torch.randn(theta.shape, generator=generator, dtype=theta.dtype) for _ in range(2))
        with torch.enable_grad():
            leaf = theta.detach().requires_grad_()
            z = leaf + leaf.exp() * eps
            density = torch.distributions.Normal(leaf, leaf.exp()).log_prob(z)
            (score,) = torch.autograd.grad(density.sum(), leaf)
        return Outcome(z.detach() + noise, score)

    log_joint = Task.log_joint
    capabilities = frozenset({"joint_score"})


class MovingSupport(Right):
    """z ~ U(0, θ) has the score −1/θ inside its support; the score ignores the moving edge."""

    def simulator(self, theta: Tensor, generator):
        z = theta * torch.rand(theta.shape, generator=generator, dtype=theta.dtype)
        noise = torch.randn(theta.shape, generator=generator, dtype=theta.dtype)
        return Outcome(z + noise, -1 / theta)

    prior = LogNormal()
    log_joint = Task.log_joint
    capabilities = frozenset({"joint_score"})


class WrongPrior(Right):
    """A prior whose chain rule forgets the factor σ."""

    class Forgetful(Normal):
        def pull_back(self, u, score):
            return score

    prior = Forgetful(0.0, 2.0)


class NotFinite(Right):
    """One run in a thousand divides by zero."""

    def simulator(self, theta, generator):
        outcome = super().simulator(theta, generator)
        unlucky = torch.rand(theta.shape, generator=generator) < 1e-3
        return Outcome(torch.where(unlucky, torch.inf, outcome.x), outcome.joint_score)


class Raises(Right):
    def marginal_score(self, theta, x):
        raise ArithmeticError("no luck today")


class RareDecisions(Right):
    """Nothing is wrong: but for |θ| near 0 every z ~ Bernoulli(sigmoid(10 θ)) is the same."""

    capabilities = frozenset({"joint_score"})
    log_joint = Task.log_joint

    def simulator(self, theta, generator):
        chance = torch.sigmoid(10 * theta)
        z = (torch.rand(theta.shape, generator=generator, dtype=theta.dtype) < chance).to(theta.dtype)
        return Outcome(z, 10 * (z - chance))


class HeavyTails(Right):
    """Nothing is wrong: z ~ N(θ, 1) in Cauchy noise."""

    capabilities = frozenset({"joint_score"})
    log_joint = Task.log_joint

    def simulator(self, theta, generator):
        z, a, b = (torch.randn(theta.shape, generator=generator, dtype=theta.dtype) for _ in range(3))
        return Outcome(theta + z + a / b, z)


class NumpyDensity(Right):
    """Nothing is wrong, but `log_joint` cannot be differentiated by autograd."""

    def log_joint(self, theta, x, latents):
        return super().log_joint(theta, x, latents).detach()


# kind of fault, size, task: the rows of the table that `power` makes
FAULTS: list[tuple[str, str, Task]] = [
    ("none", "one parameter", Right()),
    ("latents", "one of two is hidden", Hidden()),
]
