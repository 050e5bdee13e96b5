"""A method that is correct on linear Gaussian tasks, and methods with one mistake each."""

import math
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


class Likelihood(Right):
    """Least squares of x on u with a Gaussian residual, times the prior N(0, I)."""

    def fit(self, simulations, seed):
        d = simulations.u.shape[1]
        coefficients, noise = least_squares(simulations.x, simulations.u)
        gain = torch.linalg.solve(noise, coefficients[1:].T).T
        covariance = torch.linalg.inv(torch.eye(d, dtype=torch.float64) + gain @ coefficients[1:].T)
        to_mean = gain.T @ covariance
        return Gaussian(torch.cat([-coefficients[:1] @ to_mean, to_mean]), covariance)


class Altered(Right):
    """The right method, with one part of its posterior replaced.

    Args:
        part: "score", "log_prob" or "sample".
        fault: a key of `ALTERATIONS[part]`.
        size: how large the fault is.
    """

    part: str = "score"
    fault: str = ""
    size: float = 1.0

    def fit(self, simulations, seed):
        return AlteredGaussian(self, simulations.u.double(), *least_squares(simulations.u, simulations.x))

    def restore(self, state, dims):
        return AlteredGaussian(self, **state.tensors)


class AlteredGaussian(Gaussian):
    def __init__(self, method, u, coefficients, covariance):
        super().__init__(coefficients, covariance)
        self.method, self.u = method, u

    def altered(self, part, *arguments):
        right = Gaussian(self.coefficients, self.covariance)
        if part != self.method.part:
            return getattr(right, part)(*arguments)
        right.u = self.u
        return ALTERATIONS[part][self.method.fault](right, self.method.size, *arguments)

    def sample(self, n, x_o, seed):
        return self.altered("sample", n, x_o, seed)

    def score(self, u_t, x_o, t):
        return self.altered("score", u_t, x_o, t)

    def log_prob(self, u, x_o):
        return self.altered("log_prob", u, x_o)

    def state(self):
        tensors = {"u": self.u, "coefficients": self.coefficients, "covariance": self.covariance}
        return PosteriorState(self.method, tensors)


def scaled(covariance, size, first_only=False):
    """Multiply standard deviations by `size`, of all components or of the first alone."""
    factors = torch.full((len(covariance),), size, dtype=torch.float64)
    if first_only:
        factors[1:] = 1
    return covariance * factors * factors.unsqueeze(1)


def less_correlated(covariance, size):
    """Multiply correlations by `size`."""
    return size * covariance + (1 - size) * torch.diag(covariance.diagonal())


def from_training(right, jitter, n, x_o, seed):
    """Draw training u, weighted by the right posterior over the prior, and add a little noise."""
    random = generator(seed)
    points = right.u.expand(len(x_o), -1, -1)
    log_weights = right.log_prob(points, x_o) + points.square().sum(2) / 2
    rows = torch.multinomial(torch.softmax(log_weights, 1), n, replacement=True, generator=random)
    drawn = points.gather(1, rows.unsqueeze(2).expand(-1, -1, points.shape[2]))
    return drawn + jitter * torch.randn(drawn.shape, generator=random, dtype=torch.float64)


def partly_from_training(right, share, n, x_o, seed):
    fresh, kept = right.sample(n, x_o, seed), from_training(right, 0, n, x_o, seed)
    chosen = torch.rand(len(x_o), n, 1, generator=generator(seed), dtype=torch.float64) < share
    return torch.where(chosen, kept, fresh)


def chain(right, size, n, x_o, seed):
    """Return a stationary chain with the autocorrelation `size`."""
    steps = right.sample(n, x_o, seed) - right.mean(x_o)
    for k in range(1, n):
        steps[:, k] = size * steps[:, k - 1] + (1 - size**2) ** 0.5 * steps[:, k]
    return right.mean(x_o) + steps


def antithetic(right, size, n, x_o, seed):
    """Return each sample followed by its mirror image about the mean."""
    half = right.sample((n + 1) // 2, x_o, seed)
    return torch.stack([half, 2 * right.mean(x_o) - half], 2).flatten(1, 2)[:, :n]


def sorted_by(key, drawn):
    """Sort the rows of each observation's samples by key (m, n)."""
    return drawn.gather(1, key.argsort(1).unsqueeze(2).expand_as(drawn))


def by_x(right, size, n, x_o, seed):
    """Stretch samples by `size` where x_0 > 0, and shrink them by it elsewhere."""
    factors = torch.where(x_o[:, :1] > 0, size, 1 / size).unsqueeze(2)
    return right.mean(x_o) + factors * (right.sample(n, x_o, seed) - right.mean(x_o))


def of_shape(right, size, n, x_o, seed):
    """Return samples with the exact mean and covariance that are |z|^size sign(z) of independent normal z."""
    z = torch.randn(len(x_o), n, len(right.covariance), generator=generator(seed), dtype=torch.float64)
    moment = 2**size * math.gamma(size + 0.5) / math.gamma(0.5)  # E|z|^(2 size)
    shaped = z.abs() ** size * z.sign() / moment**0.5
    return right.mean(x_o) + shaped @ torch.linalg.cholesky(right.covariance).T


def with_(right, change, *arguments):
    return Gaussian(right.coefficients, change(right.covariance, *arguments))


def without_x(right):
    kept = right.coefficients.clone()
    kept[1:] = 0
    return Gaussian(kept, right.covariance)


def mean_without_alpha(right, size, u, x, t):
    alpha, _ = alpha_sigma_at(t)
    return right.score(u - (1 - alpha) * right.mean(x), x, t)


# (right posterior, size, arguments of the part) → what the altered part returns
ALTERATIONS = {
    "score": {
        "times": lambda p, size, u, x, t: size * p.score(u, x, t),
        "times σ": lambda p, size, u, x, t: size * alpha_sigma_at(t)[1] * p.score(u, x, t),
        "over σ": lambda p, size, u, x, t: size / alpha_sigma_at(t)[1] * p.score(u, x, t),
        "t to the power": lambda p, size, u, x, t: p.score(u, x, t**size),
        "reversed time": lambda p, size, u, x, t: p.score(u, x, 1 - t),
        "undiffused": lambda p, size, u, x, t: p.score(u, x, 0.0),
        "no α in the mean": mean_without_alpha,
        "no prior": lambda p, size, u, x, t: p.score(u, x, t) + u,
        "no x": lambda p, size, u, x, t: without_x(p).score(u, x, t),
        "exchanged": lambda p, size, u, x, t: p.score(u, x, t).flip(2),
        "clipped": lambda p, size, u, x, t: p.score(u, x, t).clamp(-size, size),
        "zero before": lambda p, size, u, x, t: p.score(u, x, t) * (t > size),
        "zero after": lambda p, size, u, x, t: p.score(u, x, t) * (t < size),
        "shifted": lambda p, size, u, x, t: p.score(u, x, t) + size,
        "correlations": lambda p, size, u, x, t: with_(p, less_correlated, size).score(u, x, t),
    },
    "log_prob": {
        "plus": lambda p, size, u, x: p.log_prob(u, x) + size,
        "times": lambda p, size, u, x: p.log_prob(u, x) * size,
        "width": lambda p, size, u, x: with_(p, scaled, size).log_prob(u, x),
        "correlations": lambda p, size, u, x: with_(p, less_correlated, size).log_prob(u, x),
        "no x": lambda p, size, u, x: without_x(p).log_prob(u, x),
        "not normalised": lambda p, size, u, x: p.log_prob(u, x) - p.log_prob(p.mean(x), x),
        "shifted": lambda p, size, u, x: p.log_prob(u + size * p.covariance.diagonal().sqrt(), x),
    },
    "sample": {
        "width": lambda p, size, *draw: with_(p, scaled, size).sample(*draw),
        "width of one": lambda p, size, *draw: with_(p, scaled, size, True).sample(*draw),
        "width by x": by_x,
        "shifted": lambda p, size, *draw: p.sample(*draw) + size * p.covariance.diagonal().sqrt(),
        "correlations": lambda p, size, *draw: with_(p, less_correlated, size).sample(*draw),
        "components sorted": lambda p, size, *draw: p.sample(*draw).sort(1).values,
        "rows sorted": lambda p, size, *draw: sorted_by((drawn := p.sample(*draw))[..., 0], drawn),
        "sorted by norm": lambda p, size, *draw: sorted_by((drawn := p.sample(*draw)).norm(dim=2), drawn),
        "sorted by density": lambda p, size, n, x, seed: sorted_by(
            p.log_prob(drawn := p.sample(n, x, seed), x), drawn
        ),
        "shape": of_shape,
        "shifted by x": lambda p, size, n, x, seed: (
            p.sample(n, x, seed) + size * x[:, :1].sign().unsqueeze(2) * p.covariance.diagonal().sqrt()
        ),
        "antithetic": antithetic,
        "chain": chain,
        "each twice": lambda p, size, n, x, seed: p.sample(n, x, seed)[:, torch.arange(n) // 2],
        "training points": from_training,
        "a share of training points": partly_from_training,
    },
}

# kind of fault, size, method: the rows of the table that `power` makes
FAULTS: list[tuple[str, str, Method]] = [
    ("none", "least squares of u on x", Right()),
    ("none", "least squares of x on u", Likelihood()),
    ("score", "wrong sign", Altered("score", "times", -1.0)),
    ("score", "half", Altered("score", "times", 0.5)),
    ("score", "20 % too small", Altered("score", "times", 0.8)),
    ("score", "25 % too large", Altered("score", "times", 1.25)),
    ("score", "times σ(t)", Altered("score", "times σ", 1.0)),
    ("score", "times −σ(t), the noise", Altered("score", "times σ", -1.0)),
    ("score", "over σ(t)", Altered("score", "over σ", 1.0)),
    ("score", "at t²", Altered("score", "t to the power", 2.0)),
    ("score", "at 1 − t", Altered("score", "reversed time")),
    ("score", "at t = 0", Altered("score", "undiffused")),
    ("score", "no α in the mean", Altered("score", "no α in the mean")),
    ("score", "without the prior", Altered("score", "no prior")),
    ("score", "without x", Altered("score", "no x")),
    ("score", "components exchanged", Altered("score", "exchanged")),
    ("score", "clipped at ±3", Altered("score", "clipped", 3.0)),
    ("score", "0 for t below 0.02", Altered("score", "zero before", 0.02)),
    ("score", "0 for t above 0.8", Altered("score", "zero after", 0.8)),
    ("score", "plus 1", Altered("score", "shifted", 1.0)),
    ("score", "correlations left out", Altered("score", "correlations", 0.0)),
    ("density", "plus 3", Altered("log_prob", "plus", 3.0)),
    ("density", "plus 0.3", Altered("log_prob", "plus", 0.3)),
    ("density", "minus 0.3", Altered("log_prob", "plus", -0.3)),
    ("density", "halved", Altered("log_prob", "times", 0.5)),
    ("density", "times 0.8", Altered("log_prob", "times", 0.8)),
    ("density", "not normalised", Altered("log_prob", "not normalised")),
    ("density", "20 % too narrow", Altered("log_prob", "width", 0.8)),
    ("density", "20 % too wide", Altered("log_prob", "width", 1.2)),
    ("density", "shifted by 0.3 standard deviations", Altered("log_prob", "shifted", 0.3)),
    ("density", "correlations halved", Altered("log_prob", "correlations", 0.5)),
    ("density", "without x", Altered("log_prob", "no x")),
    ("dependence", "components sorted", Altered("sample", "components sorted")),
    ("dependence", "correlations left out", Altered("sample", "correlations", 0.0)),
    ("dependence", "correlations halved", Altered("sample", "correlations", 0.5)),
    ("dependence", "correlations 20 % too small", Altered("sample", "correlations", 0.8)),
    ("dependence", "correlations of the wrong sign", Altered("sample", "correlations", -1.0)),
    ("order", "sorted by u_0", Altered("sample", "rows sorted")),
    ("order", "sorted by the norm of u", Altered("sample", "sorted by norm")),
    ("order", "sorted by density", Altered("sample", "sorted by density")),
    ("order", "chain with autocorrelation 0.6", Altered("sample", "chain", 0.6)),
    ("order", "each followed by its mirror image", Altered("sample", "antithetic")),
    ("order", "each sample twice", Altered("sample", "each twice")),
    ("width", "15 % too narrow", Altered("sample", "width", 0.85)),
    ("width", "20 % too narrow", Altered("sample", "width", 0.8)),
    ("width", "15 % too wide", Altered("sample", "width", 1.15)),
    ("width", "30 % too wide", Altered("sample", "width", 1.3)),
    ("width", "15 % too narrow in u_0", Altered("sample", "width of one", 0.85)),
    ("width", "15 % too wide in u_0", Altered("sample", "width of one", 1.15)),
    ("width", "35 % too wide or narrow, by x", Altered("sample", "width by x", 1.35)),
    ("bias", "0.35 standard deviations", Altered("sample", "shifted", 0.35)),
    ("bias", "0.7 standard deviations, its sign by x", Altered("sample", "shifted by x", 0.7)),
    ("shape", "light tails, as of √z", Altered("sample", "shape", 0.5)),
    ("shape", "heavy tails, as of z to the power 1.5", Altered("sample", "shape", 1.5)),
    ("memory", "training points", Altered("sample", "training points", 0.0)),
    ("memory", "training points ± 0.003", Altered("sample", "training points", 0.003)),
    ("memory", "a quarter are training points", Altered("sample", "a share of training points", 0.25)),
]
