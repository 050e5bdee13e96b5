"""A method that is correct on linear Gaussian tasks, and methods with one mistake each."""

from typing import ClassVar

import torch

from graybench.methods.method import Method, Posterior, PosteriorState
from graybench.methods.score.schedule import alpha_sigma_at
from graybench.tasks.seeding import generator


class Gaussian(Posterior):
    """N(a + B x, C) for every x, with score and density."""

    def __init__(self, coefficients, covariance):
        self.coefficients, self.covariance = coefficients, covariance

    def mean(self, x_o):
        ones = torch.ones(len(x_o), 1, dtype=torch.float64)
        return (torch.cat([ones, x_o.double()], 1) @ self.coefficients).unsqueeze(1)

    def sample(self, n, x_o, seed):
        shape = (len(x_o), n, len(self.covariance))
        noise = torch.randn(shape, generator=generator(seed), dtype=torch.float64)
        return self.mean(x_o) + noise @ torch.linalg.cholesky(self.covariance).T

    def score(self, u_t, x_o, t):
        alpha, sigma = alpha_sigma_at(t)
        covariance = alpha**2 * self.covariance + sigma**2 * torch.eye(len(self.covariance))
        return -(u_t.double() - alpha * self.mean(x_o)) @ torch.linalg.inv(covariance)

    def log_prob(self, u, x_o):
        law = torch.distributions.MultivariateNormal(self.mean(x_o), self.covariance)
        return law.log_prob(u.double())

    def state(self):
        return PosteriorState(Right(), {"coefficients": self.coefficients, "covariance": self.covariance})


class Right(Method):
    """Least squares of u on x with a Gaussian residual."""

    name: ClassVar[str] = "right"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "least squares"

    def fit(self, simulations, seed):
        coefficients, covariance = least_squares(simulations.u, simulations.x)
        return Gaussian(coefficients, covariance)

    def restore(self, state, dims):
        return Gaussian(state.tensors["coefficients"], state.tensors["covariance"])


def least_squares(u, x):
    design = torch.cat([torch.ones(len(x), 1, dtype=torch.float64), x.double()], 1)
    coefficients = torch.linalg.lstsq(design, u.double()).solution
    residual = u - design @ coefficients
    return coefficients, residual.T @ residual / len(u)


class NeedsMore(Right):
    """Requires a capability that no task has."""

    requires = frozenset({"an oracle"})


class IgnoresX(Right):
    def fit(self, simulations, seed):
        coefficients, covariance = least_squares(simulations.u, 0 * simulations.x)
        return Gaussian(coefficients, covariance)


class Overconfident(Right):
    """Standard deviations are 30 % too small."""

    def fit(self, simulations, seed):
        coefficients, covariance = least_squares(simulations.u, simulations.x)
        return Gaussian(coefficients, 0.7**2 * covariance)


class Leaks(Right):
    """Keeps the simulations of every fit and uses them in the next."""

    seen: ClassVar[list] = []

    def fit(self, simulations, seed):
        self.seen.append(simulations)
        u, x = (torch.cat([getattr(s, field) for s in self.seen]) for field in ("u", "x"))
        return Gaussian(*least_squares(u, x))


class Scribbles(Right):
    def fit(self, simulations, seed):
        posterior = super().fit(simulations, seed)
        simulations.x.sub_(simulations.x.mean(0))
        return posterior


class GlobalNoise(Right):
    def fit(self, simulations, seed):
        posterior = super().fit(simulations, seed)
        posterior.coefficients = posterior.coefficients + 1e-3 * torch.randn(1, dtype=torch.float64)
        return posterior


class SetsGlobalSeed(Right):
    def fit(self, simulations, seed):
        torch.manual_seed(seed)
        return super().fit(simulations, seed)


class OneSample(Right):
    def fit(self, simulations, seed):
        return DrawsTheSame(*least_squares(simulations.u, simulations.x))


class DrawsTheSame(Gaussian):
    def sample(self, n, x_o, seed):
        return super().sample(n, x_o, 0)


class MixesObservations(Right):
    def fit(self, simulations, seed):
        return SeesTheBatch(*least_squares(simulations.u, simulations.x))


class SeesTheBatch(Gaussian):
    def mean(self, x_o):
        return super().mean(x_o) + 0.5 * super().mean(x_o).mean(0)


class Forgets(Right):
    def fit(self, simulations, seed):
        return Gaussian(*least_squares(simulations.u, simulations.x))

    def restore(self, state, dims):
        return Gaussian(state.tensors["coefficients"], torch.eye(dims[0], dtype=torch.float64))


class Worsens(Right):
    """The more simulations, the worse the score."""

    def fit(self, simulations, seed):
        posterior = WrongScore(*least_squares(simulations.u, simulations.x))
        posterior.error = len(simulations) / 1000
        return posterior


class WrongScore(Gaussian):
    def score(self, u_t, x_o, t):
        return super().score(u_t, x_o, t) + self.error


class Raises(Right):
    def fit(self, simulations, seed):
        raise ArithmeticError("no luck today")


# kind of fault, size, method: the rows of the table that `power` makes
FAULTS: list[tuple[str, str, Method]] = [
    ("none", "least squares", Right()),
    ("width", "30 % too narrow", Overconfident()),
]
