"""The method `bridge_is`: posteriors of a known diffusion's parameters by importance sampling.

Bridges estimate the likelihood p(x_o | u) of each observation at a number of points u.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from ...tasks.errors import NotFiniteError, UserError
from ...tasks.plugin import require_choice, require_whole
from ...tasks.sde.diffusion_task import DiffusionModel
from ...tasks.seeding import derive_seed
from ...tasks.simulations import Simulations
from ..method import Method, Posterior
from ..progress import report
from .bases import BASES, BaseFactory, NoBase
from .learned.intervals import learn_intervals
from .learned.scores import LearnedBase
from .likelihood import (
    LEAST_ESS,
    TRIAL,
    BridgeSampler,
    Estimate,
    LowEffectiveSizeWarning,
    average,
    warn,
)
from .paths import along_path, ends_of_intervals, product
from .points import Mixture, WeightedPoints
from .proposals import KERNELS
from .unreached import LEAST, unreached

MOST_ROUNDS, LEAST_IN_ROUND = 10, 10  # in which points are drawn, and points in each
BRIDGES_AT_ONCE = 4096
TRIAL_PAIRS = 16


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
        drawn = [
            points.draw(n, derive_seed(seed, *map(str, x.tolist())))
            for x, points in zip(x_o, self.weighted_points(x_o), strict=True)
        ]
        return torch.stack(drawn) if drawn else torch.empty(0, n, self.dim, dtype=torch.float64)

    @torch.no_grad()
    def log_likelihood(self, u: Tensor, x_o: Tensor, seeds: Sequence[int]) -> Estimate:
        """Estimate log p(x_o | u).

        Args:
            u: J points for each of O observations (O, J, d).
            x_o: the observations (O, m D), the states at m times.
            seeds: O seeds, which name the noise of the bridges to each observation.

        Returns:
            The estimates, fields (O, J), with the log-likelihood −∞ where no bridge reaches an observation.
        """
        parts = []
        for k, points in enumerate(u.split(self._most_points(), 1)):
            noise = [derive_seed(seed, "rows", k) for seed in seeds]
            # No warning: bridges collapse at points far from the posterior, where W is negligible.
            parts.append(product(along_path(self.sampler, self.model, points, x_o, noise, self.base)))
        return Estimate(*(torch.cat(field, 1) for field in zip(*parts, strict=True)))

    def _most_points(self) -> int:
        """Return the number of points whose bridges are drawn at once."""
        return max(1, BRIDGES_AT_ONCE // (self.sampler.particles * len(self.model.grids)))

    def likelihood_at(self, u: Tensor, x_o: Tensor, particles: int, seed: int) -> Estimate:
        """Estimate log p(x_o | u) at one point, u (d,) and x_o (m D,), with so many bridges."""
        intervals = self._intervals(u, x_o, particles, seed)
        warn(intervals, particles, self._missing(intervals, u, x_o))
        return product(intervals)

    @torch.no_grad()
    def _intervals(self, u: Tensor, x_o: Tensor, particles: int, seed: int) -> Estimate:
        """Estimate the likelihood of each interval (m,) at one point u (d,)."""
        sampler = replace(self.sampler, particles=particles)
        found = along_path(sampler, self.model, u[None, None], x_o[None], [seed], self.base)
        return Estimate(*(field[0, 0] for field in found))

    def _missing(self, intervals: Estimate, u: Tensor, x_o: Tensor) -> str:
        """Return which interval has the likelihood 0 at u (d,), and why."""
        starts, ends = ends_of_intervals(self.model, x_o.double())
        return unreached(intervals.value, self.model.at(u[None, None]), starts, ends)

    def weighted_points(self, x_o: Tensor) -> list[WeightedPoints]:
        """Return the weighted points for each observation (O, m D); later calls return the same points.

        The points of an observation are the same in any company, up to rounding.

        Raises:
            NotFiniteError: no point explains an observation.

        Warns:
            LowEffectiveSizeWarning: the points of an observation have an effective sample size below 3.
        """
        keys = [tuple(x.tolist()) for x in x_o]
        new = list(dict.fromkeys(key for key in keys if key not in self._found))
        at_once = max(1, self._most_points() // max(len(rows) for rows in self._rounds()))
        for done in range(0, len(new), at_once):
            report("sample", done, len(new))
            group = new[done : done + at_once]
            observed = torch.tensor(group, dtype=x_o.dtype)
            seeds = [derive_seed(self.seed, *map(str, key)) for key in group]
            for key, x, seed, points in zip(group, observed, seeds, self._find(observed, seeds), strict=True):
                self._check(points, x, seed)
                self._found[key] = points
        return [self._found[key] for key in keys]

    def _rounds(self) -> Sequence[Tensor]:
        """Return the numbers of the points in each round."""
        rounds = max(2, min(MOST_ROUNDS, self.points // LEAST_IN_ROUND))
        return torch.arange(self.points).tensor_split(rounds)

    @torch.no_grad()
    def _find(self, x_o: Tensor, seeds: Sequence[int]) -> list[WeightedPoints]:
        """Return the weighted points for O observations, side by side."""
        mixtures = [Mixture(self.dim) for _ in seeds]
        drawn, found = [], []
        for k, rows in enumerate(self._rounds()):
            each = zip(mixtures, seeds, strict=True)
            drawn.append(torch.stack([m.draw(len(rows), derive_seed(seed, "round", k)) for m, seed in each]))
            noise = [derive_seed(seed, "bridges", k) for seed in seeds]
            found.append(self.log_likelihood(drawn[-1], x_o, noise))
            estimate = Estimate(*(torch.cat(field, 1) for field in zip(*found, strict=True)))
            of_each = [Estimate(*fields) for fields in zip(*estimate, strict=True)]
            parts = zip(mixtures, torch.cat(drawn, 1), of_each, strict=True)
            points = [mixture.weigh(u, own) for mixture, u, own in parts]
            for mixture, own in zip(mixtures, points, strict=True):
                mixture.fit(own)
        return points

    def _check(self, points: WeightedPoints, x_o: Tensor, seed: int) -> None:
        """Raise where no point explains x_o (m D,), and warn where few points have the weight."""
        value = points.estimate.value
        if not value.amax() > LEAST:
            best = points.u[value.argmax()]
            intervals = self._intervals(best, x_o, self.sampler.particles, seed)
            raise NotFiniteError(
                f"method bridge_is: the likelihood is next to 0 at all {len(points.u)} points; at the best "
                f"of them {self._missing(intervals, best, x_o) or 'every interval is improbable'}"
            )
        if points.effective_size < LEAST_ESS:
            warnings.warn(
                f"method bridge_is: the posterior has {points.effective_size:.1f} effective points of "
                f"{len(points.u)}: use a larger budget.",
                LowEffectiveSizeWarning,
                stacklevel=4,
            )


class BridgeIS(Method):
    """Importance sampling of the posterior with likelihoods p̂ from bridges.

    For each observation x_o, J = budget/N points u_j are drawn in J/10 rounds, 2 at the least and 10 at the
    most: from the prior N(0, I) at first, and then from a Student-t density fitted to all points before. With
    N bridges at each point, they have weights W, see `Mixture`. Samples are points drawn in proportion to W.
    Points with a component beyond ±7 have weight 0: the time steps can be too long for such parameters, and p̂
    wrong by thousands of nats.

    Where a path is observed at m times, p̂ is a product over the intervals: each has N bridges, which start at
    the observation before.

    p̂ is unbiased for the density of the discretised SDE, so the weights are valid for any N. Few bridges at
    many points are best while the standard deviation of log p̂ is about 1 or less.

    The method knows the SDE and learns nothing from the simulations, except that base and kernel "auto" are
    chosen by trials on 16 of them, whose bridges are not counted, and that the base "learned" is trained on
    paths with their parameters and starts. It spends the rest of its budget on bridges for each
    observation; amortised methods use the same simulations for all observations.

    Args:
        particles: number N of bridges at each point, 2 or more.
        base: "auto", "none", "exact", "linearised", "flow", "heat_kernel" or "midpoint", see `bases.py`; or
            "learned": half of the budget trains a network for all parameters, see `learned`; the other
            half is spent on each observation.
        kernel: "forward" or "adjoint", see `proposals.py`. "auto" is forward, which is exact for the scheme,
            unless its ESS/N is less than half of the adjoint's, or there is no drift. Adjoint has a bias of
            O(dt) if there is one.
        proposal: "reverse" or "guided", see `proposals.py`.
        bridge_covariance: False omits the variance factor of the reverse bridges, as an ablation.
        threshold: bridges resample when their ESS/N is below this; 0 never resamples.

    Raises:
        UserError: an option has an unknown value.

    Sources: Boserup et al., arXiv 2411.08993, for the likelihoods; Tran et al., Importance sampling squared,
    arXiv 1309.3339, for unbiased likelihoods in importance sampling.
    """

    name: ClassVar[str] = "bridge_is"
    version: ClassVar[int] = 3
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
        require_choice("method bridge_is", "base", self.base, ("auto", *BASES, LearnedBase.name))
        options = self.options()
        return BridgeSampler(**options | {"base": NoBase.name} if self.base == LearnedBase.name else options)

    def fit(self, simulations: Simulations, seed: int) -> BridgePosterior:
        """Return the posterior for the diffusion of the simulations, with their number as its budget.

        Base and kernel "auto" are chosen by trials on the first 16 simulations. The base "learned" is trained
        on the first half of them, and the budget is the other half.

        Raises:
            UserError: there are fewer than 4 N simulations, or 8 N with the base "learned", or too few to
                train it, or they come without their diffusion.
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
            starts, _ = ends_of_intervals(model, half.x.double())
            base = learn_intervals(model, half.u.double(), starts, derive_seed(seed, "learned"))
            budget -= len(half)
        sampler = _chosen(sampler, model, simulations[:TRIAL_PAIRS], base)
        return BridgePosterior(model, dim, sampler, budget, seed, base)


def _chosen(
    sampler: BridgeSampler, model: DiffusionModel, tried: Simulations, base: BaseFactory | None
) -> BridgeSampler:
    """Return the sampler with base and kernel chosen by trials on intervals of a few simulations."""
    grid, (starts, ends) = model.grids[0], ends_of_intervals(model, tried.x.double())
    alike = [i for i, other in enumerate(model.grids) if other == grid]
    sde, starts, ends = model.at(tried.u.double()[:, None, None]), starts[:, alike], ends[:, alike]
    sampler = sampler if base else sampler.chosen(sde, starts, ends, grid)
    if sampler.kernel != "auto" or sampler.proposal == "guided" or sde.constant_covariance:
        return sampler
    if not sde.at(ends.unsqueeze(-2)).drift.any():
        return replace(sampler, kernel="adjoint")
    sizes = {}
    for kernel in KERNELS:
        trial = replace(sampler, kernel=kernel, particles=TRIAL, threshold=0.0)
        noise = trial.noise(grid, ends.shape[:-1], ends.shape[-1], 0)
        with torch.no_grad():
            found = average(trial.bridges(sde, starts, ends, grid, noise, base=base))
        sizes[kernel] = float(found.ess_fraction.mean())
    return replace(sampler, kernel="forward" if sizes["forward"] > sizes["adjoint"] / 2 else "adjoint")
