"""Maximum likelihood for the parameters θ or the start x_0 of a diffusion, with standard errors.

`Likelihood` is the objective, `maximise` climbs it, and `Fit` is the result.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Self

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from ...tasks.errors import NotFiniteError, UserError
from ...tasks.sde.sde import SDE, TimeGrid, cholesky
from ...tasks.seeding import derive_seed
from ..progress import report
from .bases import BaseFactory
from .information import Floats, Information, observed_information
from .likelihood import BridgeSampler, Estimate, average, warn
from .unreached import unreached

FREE = ("theta", "x_0")
MOST_ITERATIONS = 100
PORTION = 2**24  # numbers of the end points whose gradient is computed at once, as autograd keeps all
LEAST_NUMBERS = 16  # of a step of a bridge, since a learned score keeps its hidden units in any dimension


class UnknownErrorsWarning(UserWarning):
    """The curvature of the likelihood does not give standard errors."""


@dataclass(frozen=True)
class Fit:
    """A maximum of the estimated likelihood.

    Attributes:
        theta: the parameters (d,).
        x_0: the start (D,), or one start for each end point (M, 1, D).
        theta_stderr: standard errors of θ (d,); NaN if θ was fixed or they are unknown.
        x_0_stderr: the same for x_0, in its shape.
        estimate: log-likelihood of each end point at the maximum, fields (M,).
        converged: whether L-BFGS reports convergence (as it also does after an infinite likelihood), every
            likelihood was finite, and the standard errors are known if they were asked for.
        evaluations: number of evaluations of the objective and its gradient.
    """

    theta: Tensor
    x_0: Tensor
    theta_stderr: Tensor
    x_0_stderr: Tensor
    estimate: Estimate
    converged: bool
    evaluations: int

    @property
    def log_likelihood(self) -> float:
        """The log-likelihood at the maximum, summed over end points."""
        return float(self.estimate.value.sum())


@dataclass(frozen=True)
class Likelihood:
    """The log-likelihood Σ_m log p̂(y_m | x_0, θ) of end points, as a function of θ and x_0.

    The noise of the bridges is the same in every call, so the function is smooth. Its gradient is computed
    through the simulated bridges.

    Args:
        make: returns the SDE at θ (d,).
        y: end points (M, D).
        grid: duration and number of steps.
        sampler: draws the bridges; its base "auto" is chosen anew at each θ and x_0, see `settled`.
        seed: names the noise.
        base: makes the base in place of the sampler's own, for example a learned score.

    Source: Boserup et al., arXiv 2411.08993, section 5.
    """

    make: Callable[[Tensor], SDE]
    y: Tensor
    grid: TimeGrid
    sampler: BridgeSampler
    seed: int
    base: BaseFactory | None = field(default=None, kw_only=True)

    def __call__(self, theta: Tensor, x_0: Tensor) -> Estimate:
        """Estimate log p(y_m | x_0, θ) for each end point (M,)."""
        return self.estimate(theta, x_0, slice(None), self.noise())

    def estimate(self, theta: Tensor, x_0: Tensor, rows: slice, noise: tuple[Tensor, ...]) -> Estimate:
        """Estimate log p(y_m | x_0, θ) for end points of some rows, given the noise of all."""
        own = noise[0][:, rows], noise[1][:, rows]
        sampler, sde = self.sampler, self.make(theta)
        return average(sampler.bridges(sde, x_0, self.y[rows], self.grid, own, base=self.base))

    def noise(self) -> tuple[Tensor, ...]:
        """Draw the noise of all end points, the same in every call: normals and uniforms of the bridges."""
        return self.sampler.noise(self.grid, self.y.shape[:-1], self.y.shape[-1], self.seed)

    def settled(self, theta: Tensor, x_0: Tensor) -> Self:
        """Return the likelihood with the base that the sampler chooses at θ and x_0, for every θ and x_0."""
        if self.base:
            return self
        return replace(self, sampler=self.sampler.chosen(self.make(theta), x_0, self.y, self.grid))

    def normal(self, theta: Tensor, x_0: Tensor) -> Tensor:
        """Compute log N(y_m; x_0 + T f, TΣ) for each end point (M,), with f and Σ at x_0, without bridges."""
        here, duration = self.make(theta).at(x_0), self.grid.duration
        return here.log_normal(self.y - x_0 - here.drift * duration, duration)

    def start_information(self, theta: Tensor, x_0: Tensor) -> Tensor | None:
        """Return the information (D, D) about x_0 (D,) in closed form, or None if it must be measured."""
        return None

    def gradient(self, theta: Tensor, x_0: Tensor) -> tuple[float, Tensor, Tensor]:
        """Return the sum over end points and its gradients with respect to θ and x_0.

        The end points are taken in portions, because autograd keeps all bridges of a portion in memory.
        """
        settled, (count, dim) = self.settled(theta, x_0), self.y.shape
        numbers = self.grid.steps * self.sampler.particles * max(dim**2, LEAST_NUMBERS)
        size, noise = max(1, PORTION // numbers), self.noise()
        value, in_theta, in_x_0 = 0.0, torch.zeros_like(theta), torch.zeros_like(x_0)
        for first in range(0, count, size):
            rows = slice(first, first + size)
            with torch.enable_grad():
                parts = theta.detach().requires_grad_(), x_0.detach().requires_grad_()
                start = parts[1] if x_0.dim() == 1 else parts[1][rows]
                total = settled.estimate(parts[0], start, rows, noise).value.sum()
                slopes = torch.autograd.grad(total, parts)
            value, in_theta, in_x_0 = value + float(total.detach()), in_theta + slopes[0], in_x_0 + slopes[1]
        return value, in_theta, in_x_0


def maximise(
    likelihood: Likelihood,
    theta: Tensor,
    x_0: Tensor,
    free: tuple[str, ...] = ("theta",),
    errors: bool = True,
) -> Fit:
    """Maximise a likelihood over θ, over x_0 (the diffusion mean), or over both, by L-BFGS.

    Standard errors come from the curvature at the maximum, see `information.py`. They are NaN where the
    likelihood is too rough for them, or the climb did not reach its maximum. Where the likelihood knows its
    information about x_0 in closed form, those of x_0 come from it, and x_0 is climbed in coordinates in
    which it is the identity at the initial θ and x_0.

    Args:
        likelihood: the objective; its sampler must not resample.
        theta: initial θ (d,).
        x_0: initial x_0 (D,), or one start for each end point (M, 1, D).
        free: names of the free arguments: "theta", "x_0", or both.
        errors: False leaves the standard errors NaN, and saves their 4 (1 + 2 p) evaluations or more, with p
            the number of free coordinates whose information is not known in closed form.

    Raises:
        UserError: `free` is empty or has another name, or the sampler resamples.
        NotFiniteError: no bridge reaches an end point at the initial θ and x_0.

    Warns:
        LowEffectiveSizeWarning: the weights have collapsed at the maximum.
        LostBridgesWarning: bridges overflowed at the maximum.
        UnknownErrorsWarning: the standard errors are NaN.

    Source: Boserup et al., arXiv 2411.08993, section 5, with gradient ascent in place of L-BFGS.
    """
    if not free or not set(free) <= set(FREE):
        raise UserError(f"maximise: free must be theta, x_0 or both, but is {free!r}.")
    if likelihood.sampler.threshold > 0:
        raise UserError("maximise: bridges that resample have no gradient: set the sampler's threshold to 0.")
    likelihood = likelihood.settled(theta, x_0)
    with torch.no_grad():
        initial = likelihood(theta, x_0)
    if missing := unreached(initial.value, likelihood.make(theta), x_0, likelihood.y):
        raise NotFiniteError(f"maximise: with the initial θ and x_0 {missing}")
    vector = _Free(theta, x_0, free)
    best, slope, converged = _climb(likelihood, vector)
    top, information = vector.parts(best), Information(np.full(len(best), math.nan), "")
    if errors:
        information = _errors(likelihood, vector, best, slope)
    if information.fault:
        message = (
            f"maximise: standard errors are unknown: {information.fault}; use more bridges or a better base."
        )
        warnings.warn(message, UnknownErrorsWarning, stacklevel=2)
    with torch.no_grad():
        final = likelihood(*top)
    missing = unreached(final.value, likelihood.make(top[0]), top[1], likelihood.y)
    warn(final, likelihood.sampler.particles, missing)
    unknown = torch.full_like(theta, torch.nan), torch.full_like(x_0, torch.nan)
    stderr = vector.parts(information.stderr, *unknown)
    return Fit(*top, *stderr, final, converged and not information.fault, vector.evaluations)


@dataclass
class _Free:
    """The free ones of θ and x_0 as one vector (p,).

    Args:
        theta: initial θ (d,).
        x_0: initial x_0, of any shape.
        free: "theta", "x_0", or both.

    Attributes:
        evaluations: number of evaluations of `negative`.
    """

    theta: Tensor
    x_0: Tensor
    free: tuple[str, ...]
    evaluations: int = 0

    @property
    def initial(self) -> Floats:
        """The initial values (p,)."""
        return self._vector(self.theta, self.x_0)

    def parts(
        self, point: Floats, theta: Tensor | None = None, x_0: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return θ and x_0 at a vector (p,); what is fixed has its initial values, or is as given."""
        theta, x_0 = self.theta if theta is None else theta, self.x_0 if x_0 is None else x_0
        at = torch.from_numpy(point)
        if "theta" in self.free:
            theta, at = at[: len(theta)], at[len(theta) :]
        return theta, at.view_as(x_0) if "x_0" in self.free else x_0

    def negative(self, likelihood: Likelihood, point: Floats) -> tuple[float, Floats]:
        """Return minus the log-likelihood at a vector (p,), and its gradient (p,)."""
        value, in_theta, in_x_0 = likelihood.gradient(*self.parts(point))
        self.evaluations += 1
        report("maximise", self.evaluations, self.evaluations)
        return -value, -self._vector(in_theta, in_x_0)

    def ways(self, likelihood: Likelihood) -> Floats:
        """Return W (p, p) of the climb's coordinates z: the vector is the initial one + W z.

        W is the identity, except for x_0 if its information J is known in closed form: there W Wᵀ = J⁻¹.
        """
        ways = np.eye(len(self.initial))
        information = likelihood.start_information(self.theta, self.x_0) if "x_0" in self.free else None
        if information is not None:
            k = self.x_0.numel()
            ways[-k:, -k:] = torch.linalg.inv(cholesky(information)).mT.numpy()
        return ways

    def _vector(self, theta: Tensor, x_0: Tensor) -> Floats:
        kept = {"theta": theta, "x_0": x_0.flatten()}
        found: Floats = torch.cat([kept[name] for name in FREE if name in self.free]).numpy()
        return found


def _climb(likelihood: Likelihood, vector: _Free) -> tuple[Floats, Floats, bool]:
    """Climb from the initial vector by L-BFGS.

    Returns:
        Where the climb ended (p,), the gradient of minus the log-likelihood there (p,), and whether L-BFGS
        reports convergence and every likelihood was finite.
    """
    first, ways, finite = vector.initial, vector.ways(likelihood), True

    def objective(moved: Floats) -> tuple[float, Floats]:
        nonlocal finite
        value, slope = vector.negative(likelihood, first + ways @ moved)
        finite = finite and math.isfinite(value)
        return value, slope @ ways

    options = {"maxiter": MOST_ITERATIONS}
    found = minimize(objective, np.zeros(len(first)), jac=True, method="L-BFGS-B", options=options)
    return first + ways @ found.x, np.linalg.solve(ways.T, found.jac), bool(found.success) and finite


def _errors(likelihood: Likelihood, vector: _Free, best: Floats, slope: Floats) -> Information:
    """Return the standard errors at the end of the climb, from two likelihoods with other noise."""
    known = likelihood.start_information(*vector.parts(best)) if "x_0" in vector.free else None
    fresh = [replace(likelihood, seed=derive_seed(likelihood.seed, "fresh", k)) for k in range(2)]
    objectives = partial(vector.negative, fresh[0]), partial(vector.negative, fresh[1])
    return observed_information(objectives, best, slope, None if known is None else known.numpy())
