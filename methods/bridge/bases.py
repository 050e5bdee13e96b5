"""Approximations in closed form of the transition density p(X_t = x | X_0 = x_0) of an SDE.

Each `Base` provides the drift of reverse bridges and the density for resampling. `tasks.sde.sde` defines the
notation. Boserup et al. (arXiv 2411.08993) learn this score by a network, as `learned/training.py` does.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from ...tasks.errors import UserError
from ...tasks.landmarks.diffusion import LandmarkCoefficients, LandmarkDiffusion
from ...tasks.landmarks.pruning import log_normal
from ...tasks.sde.sde import SDE, Coefficients, TimeGrid, cholesky


class Base(ABC):
    """An approximation p(x) ≈ p(X_t = x | X_0 = x_0) at the grid's times t = t_k, k = 1 … K.

    Reverse bridges need its *pull* w = Σ ∇log p + div Σ: the drift of the reversed SDE is −f + w. In the
    formulas of bases, dt = t_k − t_{k−1} is the step from x towards x_0.

    Args:
        sde: the model.
        x_0: the start; broadcasts to (..., D).
        grid: duration and number of steps.
    """

    name: ClassVar[str]

    def __init__(self, sde: SDE, x_0: Tensor, grid: TimeGrid) -> None:
        self.sde, self.x_0, self.grid = sde, x_0, grid

    @abstractmethod
    def pull(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        """Return w (..., D) at step k for states x (..., D) with the coefficients `here`."""

    @abstractmethod
    def log_density(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        """Return log p (...) at step k for states x (..., D) with the coefficients `here`."""


class NoBase(Base):
    """No approximation: score 0, w = div Σ, log p = 0."""

    name: ClassVar[str] = "none"

    def pull(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        return here.divergence

    def log_density(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        return torch.zeros_like(x[..., 0])


class DensityBase(Base):
    """A base defined by its log-density; autograd computes the score."""

    def score(self, k: int, x: Tensor) -> Tensor:
        """Return ∇log p (..., D) at step k for states x (..., D)."""
        differentiate = torch.is_grad_enabled()
        with torch.enable_grad():
            point = x if x.requires_grad else x.detach().requires_grad_()
            total = self.log_density(k, point, self.sde.at(point)).sum()
            (score,) = torch.autograd.grad(total, point, create_graph=differentiate)
        return score

    def pull(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        return here.times(self.score(k, x)) + here.divergence


class ExactBase(DensityBase):
    """The exact transition density, `SDE.log_transition`.

    Raises:
        UserError: the SDE has no transition density in closed form.
    """

    name: ClassVar[str] = "exact"

    def __init__(self, sde: SDE, x_0: Tensor, grid: TimeGrid) -> None:
        super().__init__(sde, x_0, grid)
        if type(sde).log_transition is SDE.log_transition:
            raise UserError("the base exact needs an SDE with a transition density in closed form: use auto.")

    def log_density(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        return self.sde.log_transition(self.x_0, x, self.grid.time(k))


class LinearisedBase(Base):
    """The Gaussian law N(m_k, C_k) of the Euler scheme for the SDE linearised at x_0.

        m_k = m_{k−1} + (f(x_0) + A (m_{k−1} − x_0)) dt,    A = ∂f/∂x at x_0,    m_0 = x_0
        C_k = B C_{k−1} Bᵀ + Σ(x_0) dt,                     B = I + A dt,        C_0 = 0
        w = div Σ − Σ C_k⁻¹ (x − m_k)

    It is the exact law of the scheme for Ornstein-Uhlenbeck processes. If Σ depends on x, C_k is replaced by
    C_k + (Σ(x) − Σ(x_0)) dt; otherwise a step towards x_0 could overshoot.
    """

    name: ClassVar[str] = "linearised"

    def __init__(self, sde: SDE, x_0: Tensor, grid: TimeGrid) -> None:
        super().__init__(sde, x_0, grid)
        drift, slope, self.covariance = _linearise(sde, x_0)
        mean, spread = x_0.expand_as(drift), torch.zeros_like(self.covariance)
        identity = torch.eye(x_0.shape[-1], dtype=x_0.dtype)
        self.means, self.spreads, self.factors, self.precisions = [mean], [spread], [spread], [spread]
        for k in range(grid.steps):
            dt = grid.step(k)
            step = identity + slope * dt
            mean = mean + (drift + _apply(slope, mean - x_0)) * dt
            spread = step @ spread @ step.mT + self.covariance * dt
            self.means.append(mean)
            self.spreads.append(spread)
            if sde.constant_covariance:  # C_k does not depend on x
                self.factors.append(cholesky(spread))
                self.precisions.append(torch.cholesky_inverse(self.factors[-1]))

    def pull(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        deviation = x - self.means[k]
        if self.sde.constant_covariance:
            pulled = _apply(self.precisions[k], deviation)
        else:
            pulled = torch.cholesky_solve(deviation.unsqueeze(-1), self._factor(k, x, here)).squeeze(-1)
        return here.divergence - here.times(pulled)

    def log_density(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        return log_normal((x - self.means[k]).unsqueeze(-1), self._factor(k, x, here))

    def _factor(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        """Return the Cholesky factor of C_k (..., D, D)."""
        if self.sde.constant_covariance:
            return self.factors[k]
        return cholesky(self.spreads[k] + (_dense(here, x.shape) - self.covariance) * self.grid.step(k - 1))


class FlowBase(Base):
    """The Gaussian law N(m_k, C_k) of the Euler scheme, linearised along its path without noise.

        m_k = m_{k−1} + f(m_{k−1}) dt,                m_0 = x_0
        C_k = B C_{k−1} Bᵀ + Σ(m_{k−1}) dt,           B = I + (∂f/∂x)(m_{k−1}) dt,    C_0 = 0
        w = f(x) + (m_{k−1} + C_{k−1} Bᵀ C_k⁻¹ (x − m_k) − x)/dt

    With this w, the step of a bridge from x has the mean of X_{k−1} given X_k = x in this law. A step along
    Σ ∇log p has it only up to O(dt), because the scheme takes f at X_{k−1}, and not at x.

    Source: Whitaker et al., Improved bridge constructs for stochastic differential equations, 2017, who guide
    bridges forwards by this law.
    """

    name: ClassVar[str] = "flow"

    def __init__(self, sde: SDE, x_0: Tensor, grid: TimeGrid) -> None:
        super().__init__(sde, x_0, grid)
        identity, mean = torch.eye(x_0.shape[-1], dtype=x_0.dtype), x_0
        self.means: list[Tensor] = []
        self.factors: list[Tensor] = []  # of C_k
        self.returns: list[Tensor] = []  # C_{k−1} Bᵀ
        spread = back = identity.new_zeros(identity.shape)
        for k in range(grid.steps + 1):
            self.means.append(mean)
            self.factors.append(cholesky(spread))
            self.returns.append(back)
            if k < grid.steps:
                dt, (drift, slope, covariance) = grid.step(k), _linearise(sde, mean)
                turn = identity + slope * dt
                back = spread @ turn.mT
                mean, spread = mean + drift * dt, turn @ back + covariance * dt

    def pull(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        solved = torch.cholesky_solve((x - self.means[k]).unsqueeze(-1), self.factors[k])
        before = self.means[k - 1] + (self.returns[k] @ solved).squeeze(-1)
        return here.drift + (before - x) / self.grid.step(k - 1)

    def log_density(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        return log_normal((x - self.means[k]).unsqueeze(-1), self.factors[k])


class HeatKernelBase(Base):
    """The second-order heat kernel of the diffusion of landmarks.

    For n landmarks x_i in R^m with Σ = k ⊗ I_m, kernel width ℓ and a constant drift f:

        K̄ = ½ (k(x_0) + k(x)),    C = k(x) dt + K̄ (t − dt),    p = C⁻¹ (x_0 + f t − x)
        G_ij = k_ij (−(t/2) p_i·p_j + (m/2) (k⁻¹)_ij)
        w = k (p + Σ_j G_ij (x_i − x_j)/ℓ²) + ½ div Σ
        log p(x) ≈ log N(x_0 + f t − x; 0, C ⊗ I_m)

    The pull w is of second order, the log-density of first order.

    Raises:
        UserError: the SDE is not a diffusion of landmarks.
    """

    name: ClassVar[str] = "heat_kernel"

    def __init__(self, sde: SDE, x_0: Tensor, grid: TimeGrid) -> None:
        super().__init__(sde, x_0, grid)
        self.start = _landmarks(sde.at(x_0))

    def pull(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        here = _landmarks(here)
        momentum = torch.cholesky_solve(self._to_start(k, here), self._factor(k, here))
        m, t = momentum.shape[-1], self.grid.time(k)
        inverse = torch.cholesky_inverse(here.factor)
        weights = here.kernel * (m / 2 * inverse - t / 2 * momentum @ momentum.mT)
        score = momentum.flatten(-2) + here.weighted_differences(weights)
        return here.times(score) + 0.5 * here.divergence

    def log_density(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        here = _landmarks(here)
        return log_normal(self._to_start(k, here), self._factor(k, here))

    def _factor(self, k: int, here: LandmarkCoefficients) -> Tensor:
        """Return the Cholesky factor of C (..., n, n)."""
        average = 0.5 * (self.start.kernel + here.kernel)
        return cholesky(here.kernel * self.grid.step(k - 1) + average * self.grid.time(k - 1))

    def _to_start(self, k: int, here: LandmarkCoefficients) -> Tensor:
        return self.start.positions + here.as_rows(here.drift * self.grid.time(k)) - here.positions


class MidpointBase(DensityBase):
    """The second-order heat kernel of any SDE, with coefficients averaged by Simpson's rule.

        x̄ = ½ (x_0 + x),    K̄ = (k(x_0) + 4 k(x̄) + k(x))/6,    C = k(x) dt + K̄ (t − dt),    Σ = k ⊗ I_m
        log p(x) ≈ log N(x − x_0; 0, C ⊗ I_m) + (x − x_0 − ½ f t)·Σ⁻¹ f − ½ (x − x_0)·Σ⁻¹ div Σ

    with f, Σ and div Σ at x̄. The heat kernel of ½ tr(Σ ∇∇ᵀ) is exp(−d²/2t) times factors for the volume and
    the drift in the metric Σ⁻¹. Here the distance d is measured along the straight line, and the last term is
    the drift factor. Autograd makes this base at least twice as slow as `heat_kernel`, but its score is the
    gradient of its log-density, as resampling requires.
    """

    name: ClassVar[str] = "midpoint"

    def __init__(self, sde: SDE, x_0: Tensor, grid: TimeGrid) -> None:
        super().__init__(sde, x_0, grid)
        self.start = sde.at(x_0)

    def log_density(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        moved, t = x - self.x_0, self.grid.time(k)
        middle = self.sde.at(0.5 * (self.x_0 + x))
        average = (self.start.kernel + 4 * middle.kernel + here.kernel) / 6
        factor = cholesky(here.kernel * self.grid.step(k - 1) + average * self.grid.time(k - 1))
        along = moved - 0.5 * t * middle.drift
        drift = (along * middle.solve(middle.drift)).sum(-1)
        spread = 0.5 * (moved * middle.solve(middle.divergence)).sum(-1)
        return log_normal(here.as_rows(moved), factor) + drift - spread


BUILT_IN = (NoBase, ExactBase, LinearisedBase, FlowBase, HeatKernelBase, MidpointBase)
BASES: dict[str, type[Base]] = {b.name: b for b in BUILT_IN}
BaseFactory = Callable[[SDE, Tensor, TimeGrid], Base]


def candidates(sde: SDE) -> tuple[str, ...]:
    """Return the names of the bases among which "auto" chooses for an SDE, the cheapest first."""
    if isinstance(sde, LandmarkDiffusion):
        return HeatKernelBase.name, MidpointBase.name
    return FlowBase.name, MidpointBase.name


def _landmarks(here: Coefficients) -> LandmarkCoefficients:
    if not isinstance(here, LandmarkCoefficients):
        raise UserError("the base heat_kernel is for landmarks only: use midpoint.")
    return here


def _linearise(sde: SDE, x_0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return f, ∂f/∂x and Σ at x_0, with the batch dimensions of the SDE's parameters."""
    differentiate = torch.is_grad_enabled()
    with torch.enable_grad():
        shape = sde.at(x_0).drift.shape
        point = x_0.expand(shape) if x_0.requires_grad else x_0.detach().expand(shape).requires_grad_()
        drift = sde.at(point).drift + 0 * point  # keeps a constant drift in the graph
        rows = [
            torch.autograd.grad(drift[..., i].sum(), point, create_graph=differentiate, retain_graph=True)[0]
            for i in range(shape[-1])
        ]
    slope = torch.stack(rows, -2)
    here = sde.at(point if differentiate else point.detach())
    return drift if differentiate else drift.detach(), slope, _dense(here, shape)


def _dense(here: Coefficients, shape: torch.Size) -> Tensor:
    """Return Σ as a matrix (..., D, D) at states of shape (..., D)."""
    units = torch.eye(shape[-1], dtype=torch.float64)
    return torch.stack([here.times(unit.expand(shape)) for unit in units], -1)


def _apply(matrix: Tensor, v: Tensor) -> Tensor:
    return (matrix @ v.unsqueeze(-1)).squeeze(-1)
