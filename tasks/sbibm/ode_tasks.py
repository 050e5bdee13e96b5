"""The tasks of sbibm with differential equations: SIR and Lotka-Volterra.

sbibm solves the equations with Julia; here `solver` does, together with their derivatives in the rates. Only
the noise of the data is random, so the joint score is the marginal score, by the chain rule through these
derivatives.
"""

import math
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from ..prior import LogNormal
from ..structure import Series
from ..task import Outcome
from .base import SbibmTask
from .solver import log_populations

PEOPLE, TRIALS = 1e6, 1000
DAYS = tuple(17.0 * k for k in range(10))
TIMES = tuple(2.1 * k for k in range(10))
NOISE = 0.1
LEAST, MOST = math.log(1e-10), math.log(1e4)


class _OdeTask(SbibmTask):
    """A task with noisy data around a solution. Data and score take one solution."""

    @abstractmethod
    def solution(self, theta: Tensor) -> Tensor:
        """Return the logarithm of the noiseless data, (n, dim_x), differentiable, for θ (n, d)."""

    @abstractmethod
    def observe(self, solution: Tensor, generator: torch.Generator) -> Tensor:
        """Draw x around a solution, both (n, dim_x)."""

    @abstractmethod
    def log_noise(self, solution: Tensor, x: Tensor) -> Tensor:
        """Return the log-density of x, (n,), given a solution."""

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Solve, observe, and differentiate the log-density of the data, for θ (n, d)."""
        with torch.enable_grad():
            point = theta.detach().requires_grad_()
            solution = self.solution(point)
            x = self.observe(solution.detach(), generator)
            score = torch.autograd.grad(self.log_noise(solution, x).sum(), point)[0]
        return Outcome(x, score, latents=())

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return log p(x | θ), (n,)."""
        return self.log_noise(self.solution(theta), x.double())


class Sir(_OdeTask):
    """An epidemic among N = 10⁶ people, one of them infected at first.

        S' = −β S I/N,   I' = β S I/N − γ I,   θ = (β, γ)
        x_k ~ Binomial(1000, I(t_k)/N) at t = 0, 17, …, 153
        log β ~ N(log 0.4, 0.5²),   log γ ~ N(log 0.125, 0.2²)

    Source: Lueckmann et al. 2021, task T.9.
    """

    name: ClassVar[str] = "sbibm_sir"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "sbibm: ten counts of infected people along an epidemic, two rates."
    folder: ClassVar[str] = "sir"
    prior = LogNormal((math.log(0.4), math.log(0.125)), (0.5, 0.2))
    dim_theta = 2
    dim_x = len(DAYS)
    structure = Series(len(DAYS))

    def solution(self, theta: Tensor) -> Tensor:
        """Return log(I/N) at the ten times, (n, 10)."""
        infection, recovery = theta.unbind(1)
        rates = torch.stack([torch.zeros_like(infection), infection, recovery, infection], 1)
        start = (math.log1p(-1 / PEOPLE), -math.log(PEOPLE))
        return log_populations(rates, start, DAYS)[:, :, 1]

    def observe(self, solution: Tensor, generator: torch.Generator) -> Tensor:
        """Test 1000 people at random at each time, and count the infected."""
        trials = torch.full_like(solution, TRIALS)
        return torch.binomial(trials, solution.exp(), generator=generator)

    def log_noise(self, solution: Tensor, x: Tensor) -> Tensor:
        """Return the binomial log-density, (n,), stable for shares near 0."""
        ways = math.lgamma(TRIALS + 1) - torch.lgamma(x + 1) - torch.lgamma(TRIALS - x + 1)
        return (ways + x * solution + (TRIALS - x) * torch.log1p(-solution.exp())).sum(1)


class LotkaVolterra(_OdeTask):
    """30 prey X and 1 predator Y at first.

        X' = α X − β X Y,   Y' = −γ Y + δ X Y,   θ = (α, β, γ, δ)
        log x_k ~ N(log X(t_k), 0.1²) at t = 0, 2.1, …, 18.9, and the same for Y; x is (n, 20), prey first
        log θ ~ N(μ, 0.5²),   μ = −0.125 for α and γ, −3 for β and δ

    As in sbibm, X and Y are clamped between 10⁻¹⁰ and 10⁴. A clamped value does not depend on θ and adds
    nothing to the score.

    Source: Lueckmann et al. 2021, task T.10.
    """

    name: ClassVar[str] = "sbibm_lotka_volterra"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "sbibm: numbers of prey and predators at ten times, four rates."
    folder: ClassVar[str] = "lotka_volterra"
    prior = LogNormal((-0.125, -3.0, -0.125, -3.0), 0.5)
    dim_theta = 4
    dim_x = 2 * len(TIMES)
    structure = Series(len(TIMES), channels=2, channels_last=False)

    def solution(self, theta: Tensor) -> Tensor:
        """Return log X at the ten times, then log Y, clamped, (n, 20)."""
        populations = log_populations(theta, (math.log(30.0), 0.0), TIMES)
        return populations.transpose(1, 2).flatten(1).clamp(LEAST, MOST)

    def observe(self, solution: Tensor, generator: torch.Generator) -> Tensor:
        """Multiply by log-normal noise."""
        noise = torch.randn(solution.shape, generator=generator, dtype=solution.dtype)
        return torch.exp(solution + NOISE * noise)

    def log_noise(self, solution: Tensor, x: Tensor) -> Tensor:
        """Return the log-normal log-density, (n,)."""
        terms = x.log() + ((x.log() - solution) / NOISE).square() / 2
        return -terms.sum(1) - x.shape[1] * (math.log(NOISE) + math.log(2 * math.pi) / 2)
