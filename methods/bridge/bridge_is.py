"""The method `bridge_is`: posteriors of a known diffusion's parameters by importance sampling.

Bridges estimate the likelihood p(x_o | u) of each observation at a number of points u.
"""

import math
import warnings
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from scipy.stats import multivariate_t
from torch import Tensor

from ...tasks.errors import NotFiniteError, UserError
from ...tasks.importance import FREEDOM, draw_student_t, weighted_moments
from ...tasks.plugin import require_whole
from ...tasks.sde.diffusion_task import DiffusionModel
from ...tasks.seeding import derive_seed, generator
from ...tasks.task import Simulations
from ..method import Method, Posterior
from ..progress import report
from .bases import BaseFactory, NoBase
from .learned.intervals import learn_intervals
from .learned.scores import LearnedBase
from .likelihood import (
    LEAST_ESS,
    BridgeSampler,
    Estimate,
    LowEffectiveSizeWarning,
    average,
    warn,
)

FARTHEST = 7.0  # prior standard deviations
SHRINKAGE = 0.05  # towards the prior's covariance, which keeps the estimate positive definite
BRIDGES_AT_ONCE = 4096
TRIAL_PAIRS = 16


def along_path(
    sampler: BridgeSampler,
    model: DiffusionModel,
    u: Tensor,
    x_o: Tensor,
    seed: int,
    base: BaseFactory | None = None,
) -> Estimate:
    """Estimate the likelihood of each interval between observations; bridges start at the observation before.

    Args:
        sampler: draws the bridges.
        model: the diffusion, with m intervals.
        u: points (J, d).
        x_o: one observation (m D,), the states at m times.
        seed: names the noise.
        base: makes the base in place of the sampler's own.

    Returns:
        The estimates, fields (J, m), with intervals of equal duration and steps next to each other.
    """
    starts, ends = _ends_of_intervals(model, x_o.double())
    sde, parts = model.at(u[:, None, None]), []
    for k, grid in enumerate(dict.fromkeys(model.grids)):
        equal = [i for i, other in enumerate(model.grids) if other == grid]
        y = ends[equal].expand(len(u), -1, -1)
        noise = sampler.noise(grid, y.shape[:-1], y.shape[-1], derive_seed(seed, "grid", k) if k else seed)
        parts.append(average(sampler.bridges(sde, starts[equal], y, grid, noise, base=base)))
    return Estimate(*(torch.cat(field, -1) for field in zip(*parts, strict=True)))


def _ends_of_intervals(model: DiffusionModel, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return both ends of each interval, (..., m, 1, D) and (..., m, D), for observations x (..., m D)."""
    ends = x.unflatten(-1, (len(model.grids), -1))
    starts = torch.cat([model.x_0.expand_as(ends[..., :1, :]), ends[..., :-1, :]], -2)
    return starts.unsqueeze(-2), ends


def product(intervals: Estimate) -> Estimate:
    """Return the likelihood of a path, fields (...), from those of its intervals (..., m).

    Logs add, and so do squared errors, as the intervals have bridges of their own. ESS and tail are
    those of the worst interval.
    """
    return Estimate(
        value=intervals.value.sum(-1),
        stderr=intervals.stderr.square().sum(-1).sqrt(),
        ess_fraction=intervals.ess_fraction.amin(-1),
        final_ess_fraction=intervals.final_ess_fraction.amin(-1),
        lost_fraction=intervals.lost_fraction.mean(-1),
        tail=intervals.tail.nan_to_num(-math.inf).amax(-1),
    )


@dataclass(frozen=True)
class WeightedPoints:
    """Weighted points of the posterior for one observation.

    Attributes:
        u: the points (J, d).
        log_weights: log W, not normalised (J,).
        estimate: the likelihood at each point, fields (J,).
    """

    u: Tensor
    log_weights: Tensor
    estimate: Estimate

    @property
    def effective_size(self) -> float:
        """The effective sample size 1/Σ_j W_j² of the normalised weights."""
        return 1 / float(torch.softmax(self.log_weights, 0).square().sum())


class BridgePosterior(Posterior):
    """The posterior of `BridgeIS`: points weighted anew for each observation.

    Args:
        model: the diffusion with its parameters, start and grid.
        dim: number d of parameters.
        sampler: draws the bridges.
        budget: number of bridges for each observation.
        seed: names the random streams.
        base: makes the base in place of the sampler's own.
    """

    network_evaluations = 0

    def __init__(
        self,
        model: DiffusionModel,
        dim: int,
        sampler: BridgeSampler,
        budget: int,
        seed: int,
        base: BaseFactory | None = None,
    ) -> None:
        self.model, self.dim, self.sampler, self.seed, self.base = model, dim, sampler, seed, base
        self.points = budget // sampler.particles
        self._found: dict[tuple[float, ...], WeightedPoints] = {}

    def sample(self, n: int, x_o: Tensor, seed: int) -> Tensor:
        drawn = []
        for done, x in enumerate(x_o):
            report("sample", done, len(x_o))
            points = self.weighted_points(x)
            random = generator(derive_seed(seed, *map(str, x.tolist())))
            shares = torch.softmax(points.log_weights, 0)
            drawn.append(points.u[torch.multinomial(shares, n, replacement=True, generator=random)])
        return torch.stack(drawn)

    @torch.no_grad()
    def log_likelihood(self, u: Tensor, x_o: Tensor, seed: int) -> Estimate:
        """Estimate log p(x_o | u).

        Args:
            u: points (J, d).
            x_o: one observation (D,).
            seed: names the noise of the bridges.

        Returns:
            The estimates, fields (J,).

        Raises:
            NotFiniteError: no estimate is finite.
        """
        rows = max(1, BRIDGES_AT_ONCE // (self.sampler.particles * len(self.model.grids)))
        # No warning: bridges collapse at points far from the posterior, where W is negligible.
        parts = [
            product(along_path(self.sampler, self.model, part, x_o, derive_seed(seed, "rows", k), self.base))
            for k, part in enumerate(u.split(rows))
        ]
        found = Estimate(*(torch.cat(field) for field in zip(*parts, strict=True)))
        if not found.value.isfinite().any():
            raise NotFiniteError(
                f"method bridge_is: the likelihood is finite at none of {len(u)} points: use another base"
            )
        return found

    def likelihood_at(self, u: Tensor, x_o: Tensor, particles: int, seed: int) -> Estimate:
        """Estimate log p(x_o | u) at one point, u (d,) and x_o (D,), with so many bridges."""
        sampler = replace(self.sampler, particles=particles)
        with torch.no_grad():
            intervals = along_path(sampler, self.model, u.unsqueeze(0), x_o, seed, self.base)
        warn(intervals, particles)
        return Estimate(*(field.squeeze(0) for field in product(intervals)))

    def weighted_points(self, x_o: Tensor) -> WeightedPoints:
        """Return the weighted points for one observation x_o (D,); later calls return the same points.

        Warns:
            LowEffectiveSizeWarning: the points have an effective sample size below 3.
        """
        key = tuple(x_o.tolist())
        if key not in self._found:
            self._found[key] = self._find(x_o, derive_seed(self.seed, *map(str, key)))
        return self._found[key]

    @torch.no_grad()
    def _find(self, x_o: Tensor, seed: int) -> WeightedPoints:
        d, first = self.dim, self.points // 2
        prior = torch.randn(first, d, generator=generator(derive_seed(seed, "prior")), dtype=torch.float64)
        found = self.log_likelihood(prior, x_o, derive_seed(seed, "first"))
        mean, covariance = weighted_moments(prior, found.value)
        scale = (1 - SHRINKAGE) * covariance + SHRINKAGE * torch.eye(d, dtype=torch.float64)
        drawn, _ = draw_student_t(mean, scale, self.points - first, derive_seed(seed, "adapted"))
        more = self.log_likelihood(drawn, x_o, derive_seed(seed, "second"))
        u = torch.cat([prior, drawn])
        estimates = Estimate(*(torch.cat(pair) for pair in zip(found, more, strict=True)))
        log_prior = -0.5 * u.square().sum(1) - d / 2 * math.log(2 * math.pi)
        adapted = multivariate_t(mean.numpy(), scale.numpy(), FREEDOM).logpdf(u.numpy())
        both = torch.stack([log_prior, torch.from_numpy(adapted)])
        shares = torch.tensor([first, len(drawn)], dtype=torch.float64) / len(u)
        log_weights = log_prior + estimates.value - torch.logsumexp(both + shares.log().unsqueeze(1), 0)
        log_weights[u.abs().amax(1) > FARTHEST] = -math.inf
        points = WeightedPoints(u, log_weights, estimates)
        if points.effective_size < LEAST_ESS:
            warnings.warn(
                f"method bridge_is: the posterior has {points.effective_size:.1f} effective points of "
                f"{len(u)}: use a larger budget.",
                LowEffectiveSizeWarning,
                stacklevel=3,
            )
        return points


class BridgeIS(Method):
    """Importance sampling of the posterior with likelihoods p̂ from bridges.

    For each observation x_o, J = budget/N points u_j are drawn: the first half from the prior N(0, I), the
    second half from a Student-t density t with the weighted mean and covariance of the first half. With N
    bridges at each point:

        W_j ∝ N(u_j; 0, I) p̂(x_o | u_j) / (½ N(u_j; 0, I) + ½ t(u_j))

    Samples are points drawn in proportion to W. If J is odd, the shares of the two halves replace ½. Points
    with a component beyond ±7 have weight 0: the time steps can be too long for such parameters, and p̂ wrong
    by thousands of nats.

    Where a path is observed at m times, p̂ is a product over the intervals: each has N bridges, which start at
    the observation before.

    p̂ is unbiased for the density of the discretised SDE, so the weights are valid for any N. Few bridges at
    many points are best while the standard deviation of log p̂ is about 1 or less.

    The method knows the SDE and learns nothing from the simulations, except that the base "auto" is chosen
    by a trial on 16 of them, whose bridges are not counted, and that the base "learned" is trained on paths
    with their parameters and starts. It spends the rest of its budget on bridges for each observation;
    amortised methods use the same simulations for all observations.

    Args:
        particles: number N of bridges at each point, 2 or more.
        base: "auto", "none", "exact", "linearised", "heat_kernel" or "midpoint", see `bases.py`; or
            "learned": half of the budget trains a network for all parameters, see `learned.py`; the other
            half is spent on each observation.
        kernel: "auto", "forward" or "adjoint", see `proposals.py`.
        proposal: "reverse" or "guided", see `proposals.py`.
        bridge_covariance: False omits the variance factor of the reverse bridges, as an ablation.
        threshold: bridges resample when their ESS/N is below this; 0 never resamples.

    Raises:
        UserError: an option has an unknown value.

    Sources: Boserup et al., arXiv 2411.08993, for the likelihoods; Tran et al., Importance sampling squared,
    arXiv 1309.3339, for unbiased likelihoods in importance sampling.
    """

    name: ClassVar[str] = "bridge_is"
    version: ClassVar[int] = 2
    summary: ClassVar[str] = (
        "Likelihoods of a known diffusion by bridges; spends its budget on every observation."
    )
    requires: ClassVar[frozenset[str]] = frozenset({"sde_path"})

    particles: int = 2
    base: str = "auto"
    kernel: str = "auto"
    proposal: str = "reverse"
    bridge_covariance: bool = True
    threshold: float = 0.0

    def __post_init__(self) -> None:
        self.sampler()

    def sampler(self) -> BridgeSampler:
        """Return the sampler of bridges with these options."""
        require_whole("method bridge_is: particles", self.particles, 2)
        options = self.options()
        return BridgeSampler(**options | {"base": NoBase.name} if self.base == LearnedBase.name else options)

    def fit(self, simulations: Simulations, seed: int) -> BridgePosterior:
        """Return the posterior, which uses only the model and the number of the simulations.

        Raises:
            UserError: the budget is below 4 N, or the simulations come without their diffusion.
        """
        least = 4 * self.particles * (2 if self.base == LearnedBase.name else 1)
        if len(simulations) < least:
            raise UserError(
                f"method bridge_is: {self.particles} particles need a budget of {least} or more, "
                f"but it is {len(simulations)}."
            )
        if not isinstance(simulations.model, DiffusionModel):
            raise UserError(
                "method bridge_is needs simulations with their diffusion: use a task with the capability "
                "sde_path."
            )
        model, sampler, base = simulations.model, self.sampler(), None
        dim, budget = simulations.u.shape[1], len(simulations)
        if self.base == LearnedBase.name:
            half = simulations[: budget // 2]
            starts, _ = _ends_of_intervals(model, half.x.double())
            base = learn_intervals(model, half.u.double(), starts, derive_seed(seed, "learned"))
            budget -= len(half)
        else:
            tried, grid = simulations[:TRIAL_PAIRS], model.grids[0]
            starts, ends = _ends_of_intervals(model, tried.x.double())
            alike = [i for i, other in enumerate(model.grids) if other == grid]
            sde = model.at(tried.u.double()[:, None, None])
            sampler = sampler.chosen(sde, starts[:, alike], ends[:, alike], grid)
        return BridgePosterior(model, dim, sampler, budget, seed, base)
