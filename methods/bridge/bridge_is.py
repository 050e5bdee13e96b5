"""Posteriors of diffusion parameters from estimated likelihoods, by importance sampling.

For each observation, J = budget/N points u are drawn, the first half of them from the prior N(0, I), the
others from a Student-t at the weighted moments of the first, and N bridges at each:

    weights  W_j ∝ N(u_j; 0, I) p̂(x_o | u_j) / (½ N(u_j; 0, I) + ½ t(u_j)),  ½ as near as J allows

p̂ is unbiased for the density it estimates, so that the weighted points are right for any N [Tran et al.
2013]; few bridges at many points are best while log p̂ has a standard deviation of about 1 or less. Samples
of the posterior are drawn from the points in proportion to W.

Points farther than 7 prior standard deviations from 0 weigh nothing. The Student-t draws some, and there the
steps may be far too long for the parameters, and p̂ wrong by thousands of nats.

The method knows the SDE and trains on nothing: the simulations that its budget buys are bridges, and it buys
them anew for each observation, where an amortised method has the same simulations for all.
"""

import math
import warnings
from dataclasses import dataclass
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
from .likelihood import LEAST_ESS, BridgeSampler, Estimate, LowEffectiveSizeWarning, average

FARTHEST = 7.0  # prior standard deviations
SHRINKAGE = 0.05  # of the first round's covariance towards the prior's, which keeps it positive definite
BRIDGES_AT_ONCE = 4096


@dataclass(frozen=True)
class WeightedPoints:
    """Points of one observation's posterior: u (J, d), log weights (J,), and the estimates at the points."""

    u: Tensor
    log_weights: Tensor
    estimate: Estimate

    @property
    def effective_size(self) -> float:
        return 1 / float(torch.softmax(self.log_weights, 0).square().sum())


class BridgePosterior(Posterior):
    """The posterior by bridges; see the module.

    Args:
        model: of the diffusion.
        dim: d, the number of parameters.
        sampler: how bridges are drawn.
        budget: number of bridges for each observation.
        seed: names the random streams.
    """

    network_evaluations = 0

    def __init__(
        self, model: DiffusionModel, dim: int, sampler: BridgeSampler, budget: int, seed: int
    ) -> None:
        self.model, self.dim, self.sampler, self.seed = model, dim, sampler, seed
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

    def log_likelihood(self, u: Tensor, x_o: Tensor, seed: int) -> Estimate:
        """Estimate log p(x_o | u) at points u (J, d) for one observation (D,): (J,); NaN raises."""
        rows = max(1, BRIDGES_AT_ONCE // self.sampler.particles)
        parts = [
            self._estimate(part, x_o, derive_seed(seed, "rows", k)) for k, part in enumerate(u.split(rows))
        ]
        found = Estimate(*(torch.cat(field) for field in zip(*parts, strict=True)))
        lost = int(found.value.isnan().sum())
        if lost:
            raise NotFiniteError(f"the likelihood is NaN at {lost} of {len(u)} points: take another base")
        return found

    def weighted_points(self, x_o: Tensor) -> WeightedPoints:
        """Give the weighted points for one observation, (D,), which are found once."""
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
                f"the posterior rests on {points.effective_size:.1f} effective points of {len(u)}: the "
                "budget is too small for it.",
                LowEffectiveSizeWarning,
                stacklevel=3,
            )
        return points

    @torch.no_grad()
    def _estimate(self, u: Tensor, x_o: Tensor, seed: int) -> Estimate:
        ends = x_o.double().expand(len(u), -1)
        sde = self.model.at(u.unsqueeze(1))
        grid = self.model.grid
        noise = self.sampler.noise(grid, ends.shape[:-1], ends.shape[-1], seed)
        # far from the posterior weights collapse, and there it makes no difference: no warning
        return average(self.sampler.bridges(sde, self.model.x_0, ends, grid, noise))


class BridgeIS(Method):
    """Importance sampling with bridge likelihoods; see the module.

    Args:
        particles: N bridges at each point.
        base: "auto", or a name in `bases.BASES`.
        kernel: "auto", "forward" or "adjoint".
        proposal: "reverse" or "guided".
        bridge_covariance: False leaves out the bridge's factor: an ablation.
        threshold: resample along the bridge where ESS/N falls below this; 0 for never.
    """

    name: ClassVar[str] = "bridge_is"
    version: ClassVar[int] = 1
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
        """Give how bridges are drawn."""
        require_whole("method bridge_is: particles", self.particles, 2)
        return BridgeSampler(**self.options())

    def fit(self, simulations: Simulations, seed: int) -> BridgePosterior:
        """Take the model and the number of simulations, and nothing else of them."""
        least = 4 * self.particles
        if len(simulations) < least:
            raise UserError(
                f"method bridge_is: {self.particles} particles need a budget of {least} or more, "
                f"not {len(simulations)}."
            )
        if not isinstance(simulations.model, DiffusionModel):
            raise UserError("method bridge_is needs simulations with the model of their diffusion.")
        dim = simulations.u.shape[1]
        return BridgePosterior(simulations.model, dim, self.sampler(), len(simulations), seed)
