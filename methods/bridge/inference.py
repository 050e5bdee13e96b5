"""Maximum likelihood for the parameters θ or the start x_0 of a diffusion, with standard errors.

`Likelihood` is the objective, `maximise` climbs it, and `Fit` is the result.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from ...tasks.errors import UserError
from ...tasks.sde.sde import SDE, TimeGrid
from ..progress import report
from .likelihood import BridgeSampler, Estimate, average, warn_of_collapse

FREE = ("theta", "x_0")
STEP = 1e-3  # of the finite differences, in units of θ or x_0
MOST_ITERATIONS = 100


@dataclass(frozen=True)
class Fit:
    """A maximum of the estimated likelihood.

    Attributes:
        theta: the parameters (d,).
        x_0: the start (D,), or one start for each end point (M, 1, D).
        theta_stderr: standard errors of θ (d,); NaN if θ was fixed or the observed information is not
            positive definite.
        x_0_stderr: the same for x_0, in its shape.
        estimate: log-likelihood of each end point at the maximum, fields (M,).
        converged: whether L-BFGS reports convergence and every likelihood was finite; L-BFGS also reports it
            after an infinite likelihood.
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
        sampler: draws the bridges.
        seed: names the noise.

    Source: Boserup et al., arXiv 2411.08993, section 5.
    """

    make: Callable[[Tensor], SDE]
    y: Tensor
    grid: TimeGrid
    sampler: BridgeSampler
    seed: int

    def __call__(self, theta: Tensor, x_0: Tensor) -> Estimate:
        """Estimate log p(y_m | x_0, θ) for each end point (M,)."""
        noise = self.sampler.noise(self.grid, self.y.shape[:-1], self.y.shape[-1], self.seed)
        return average(self.sampler.bridges(self.make(theta), x_0, self.y, self.grid, noise))

    def gradient(self, theta: Tensor, x_0: Tensor) -> tuple[float, Tensor, Tensor]:
        """Return the sum over end points and its gradients with respect to θ and x_0."""
        with torch.enable_grad():
            parts = theta.detach().requires_grad_(), x_0.detach().requires_grad_()
            total = self(*parts).value.sum()
            in_theta, in_x_0 = torch.autograd.grad(total, parts)
        return float(total.detach()), in_theta, in_x_0


def maximise(likelihood: Likelihood, theta: Tensor, x_0: Tensor, free: tuple[str, ...] = ("theta",)) -> Fit:
    """Maximise a likelihood over θ, over x_0 (the diffusion mean), or over both, by L-BFGS.

    Standard errors are the roots of the diagonal of the inverse observed information: the negative Hessian at
    the maximum, from central differences of the gradient.

    Args:
        likelihood: the objective; its sampler must not resample.
        theta: initial θ (d,).
        x_0: initial x_0 (D,), or one start for each end point (M, 1, D).
        free: names of the free arguments: "theta", "x_0", or both.

    Raises:
        UserError: `free` is empty or has another name, or the sampler resamples.

    Warns:
        LowEffectiveSizeWarning: the weights have collapsed at the maximum.

    Source: Boserup et al., arXiv 2411.08993, section 5, with gradient ascent in place of L-BFGS.
    """
    if not free or not set(free) <= set(FREE):
        raise UserError(f"maximise: free must be theta, x_0 or both, but is {free!r}.")
    if likelihood.sampler.threshold > 0:
        raise UserError("maximise: bridges that resample have no gradient: set the sampler's threshold to 0.")
    d, evaluations, finite = len(theta), 0, True
    start = torch.cat([theta, x_0.flatten()])
    varied = torch.cat([torch.full((d,), "theta" in free), torch.full((x_0.numel(),), "x_0" in free)])

    def negative(point: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal evaluations, finite
        evaluations += 1
        report("maximise", evaluations, evaluations)
        full = start.clone()
        full[varied] = torch.from_numpy(point)
        value, in_theta, in_x_0 = likelihood.gradient(full[:d], full[d:].view_as(x_0))
        finite = finite and math.isfinite(value)
        return -value, -torch.cat([in_theta, in_x_0.flatten()])[varied].numpy()

    found = minimize(
        negative, start[varied].numpy(), jac=True, method="L-BFGS-B", options={"maxiter": MOST_ITERATIONS}
    )
    converged = bool(found.success) and finite
    stderr = torch.full_like(start, torch.nan)
    stderr[varied] = _stderr(lambda point: negative(point)[1], found.x)
    top = start.clone()
    top[varied] = torch.from_numpy(found.x)
    with torch.no_grad():
        final = likelihood(top[:d], top[d:].view_as(x_0))
    warn_of_collapse(final, likelihood.sampler.particles)
    starts = top[d:].view_as(x_0), stderr[d:].view_as(x_0)
    return Fit(top[:d], starts[0], stderr[:d], starts[1], final, converged, evaluations)


def _stderr(gradient: Callable[[np.ndarray], np.ndarray], point: np.ndarray) -> Tensor:
    """Return the roots of the diagonal of the inverse Hessian, NaN unless it is positive definite."""
    steps = STEP * np.eye(len(point))
    rows = [(gradient(point + step) - gradient(point - step)) / (2 * STEP) for step in steps]
    hessian = torch.from_numpy(np.array(rows))
    factor, info = torch.linalg.cholesky_ex(0.5 * (hessian + hessian.T))
    if info:
        return torch.full((len(point),), torch.nan, dtype=torch.float64)
    return torch.cholesky_inverse(factor).diagonal().sqrt()
