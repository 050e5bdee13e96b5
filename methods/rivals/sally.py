"""SALLY: locally sufficient statistics from the regressed score, then a posterior given them.

By Fisher's identity the joint likelihood score s = ∇_u log p(x, z | u) = g + u has the mean

    E[s | x, u] = ∇_u log p(x | u) =: t(x, u),

and near a reference point u_ref the family

    log p(x | u) ≈ log p(x | u_ref) + ⟨u − u_ref, t(x, u_ref)⟩ + const(u)

is exponential with the d statistics t(x, u_ref), which are sufficient there [Brehmer et al. 2020]. They
simulate at u_ref alone, and regress t(x, u_ref) on x. Here the simulations come from the prior, so ŝ(x, u) is
regressed on x and u together, over all of them, and read at the prior's centre:

    ŝ = argmin E Σ_i (ŝ_i(x, u) − s_i)²/E r_i²,    statistics T(x) = ŝ(x, 0).

ŝ is a ridge regression on standardised x and u, whose left-out residuals are r, plus a network on them in
units of √E r_i². Then sbi's neural posterior estimation learns p(u | T), with a neural spline flow and
otherwise sbi's defaults.

What it loses: away from u = 0 the d statistics are not sufficient, so that with many simulations the
posterior is p(u | T(x)) and not p(u | x), but for families that are exponential in u throughout, as a linear
Gaussian; where x is unlikely under u = 0, ŝ(x, 0) extrapolates; and both fits see the same simulations. T is
passed on as asinh((T − median)/(5 MAD)), component by component, MAD being the median absolute deviation:
no information is lost, and heavy tails do no harm to the flow. Discrete data need no noise, for no density of
x is learnt. (In units of 1 MAD the bulk is bent too: on 1,000 simulations of `linear_gaussian`, one seed,
−log p of fresh ones was worse than without asinh by 0.035, in units of 5 MAD by 0.004.)

Source: Brehmer, Louppe, Pavez and Cranmer, Mining gold from implicit models to improve likelihood-free
inference, PNAS 117 (2020), https://arxiv.org/abs/1805.12244.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from ...tasks.errors import UserError
from ...tasks.plugin import require_whole
from ...tasks.seeding import derive_seed, generator
from ...tasks.task import Simulations
from ..method import Method, Posterior
from ..nn.network import ReplicatedMLP
from ..nn.single_training import train
from ..score.recipes import Standardise, ridge
from .private_randomness import private_randomness, quiet
from .sbi_trainers import DensityPosterior, make_trainer
from .scandal import likelihood_score

LINEAR = 5.0  # median absolute deviations within which the squashing of the statistics is nearly linear


class ScoreRegression(nn.Module):
    """ŝ(x, u) = ridge + √E r² · network, on standardised x and u.

    Args:
        u, x, score: the training simulations, (n, d), (n, dim_x) and (n, d).
        width, depth: of the network.
        random: starts the network's weights.
    """

    coefficients: Tensor
    intercept: Tensor
    scale: Tensor

    def __init__(
        self, u: Tensor, x: Tensor, score: Tensor, width: int, depth: int, random: torch.Generator
    ) -> None:
        super().__init__()
        inputs = torch.cat([x, u], 1).unsqueeze(0)
        self.standardise = Standardise(inputs)
        coefficients, intercept, covariance = ridge(self.standardise(inputs), score.unsqueeze(0))
        square = covariance.diagonal(dim1=1, dim2=2).unsqueeze(1)
        self.register_buffer("coefficients", coefficients)
        self.register_buffer("intercept", intercept)
        self.register_buffer("scale", torch.where(square > 0, square, torch.ones_like(square)).sqrt())
        self.network = ReplicatedMLP(
            inputs.shape[2], u.shape[1], width=width, depth=depth, generators=[random]
        )

    def forward(self, u: Tensor, x: Tensor) -> Tensor:
        """Give ŝ(x, u) for u (n, d) and x (n, dim_x): (n, d)."""
        inputs = self.standardise(torch.cat([x, u], 1).unsqueeze(0))
        base = inputs @ self.coefficients + self.intercept
        return (base + self.scale * self.network(inputs))[0]

    def loss(self, u: Tensor, x: Tensor, score: Tensor) -> Tensor:
        """Give the mean over simulations and components of (ŝ_i − s_i)²/E r_i²."""
        return ((self(u, x) - score) / self.scale[0]).square().mean()


class Statistics:
    """T(x) = ŝ(x, 0), and its squashed form asinh((T − median)/(5 MAD)).

    Args:
        regression: ŝ.
        x: the training data, which set the median and the deviation.
        dim: d.
    """

    def __init__(self, regression: ScoreRegression, x: Tensor, dim: int) -> None:
        self.regression, self.dim = regression, dim
        found = self.raw(x)
        self.median = found.median(0).values
        deviation = (found - self.median).abs().median(0).values
        self.unit = LINEAR * torch.where(deviation > 0, deviation, torch.ones_like(deviation))

    @torch.no_grad()
    def raw(self, x: Tensor) -> Tensor:
        """Give T(x) for x (n, dim_x): (n, d)."""
        return self.regression(torch.zeros(len(x), self.dim), x.float())

    def __call__(self, x: Tensor) -> Tensor:
        """Give asinh((T(x) − median)/(5 MAD)): (n, d)."""
        return torch.asinh((self.raw(x) - self.median) / self.unit)


class Sally(Method):
    """Posterior estimation on locally sufficient statistics; see the module for the mathematics.

    Args:
        steps: training steps of the regression.
        batch: simulations in a minibatch, drawn with replacement.
        rate: the first learning rate; it falls to 0 along a cosine.
        width, depth: units in a hidden layer, and hidden layers, of the regression's network.
    """

    name: ClassVar[str] = "sally"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "SALLY: posterior estimation on the regressed score at the prior's centre."
    requires: ClassVar[frozenset[str]] = frozenset({"joint_score"})
    least_simulations: ClassVar[int] = 3  # those of `sbi_npe`
    in_float32: ClassVar[bool] = True

    steps: int = 3000
    batch: int = 128
    rate: float = 3e-3
    width: int = 64
    depth: int = 3

    def __post_init__(self) -> None:
        for option in ("steps", "batch", "width", "depth"):
            require_whole(f"method {self.name}: {option}", getattr(self, option), 1)
        if not self.rate > 0:
            raise UserError(f"method {self.name}: rate must be above 0, but is {self.rate}.")

    def fit(self, simulations: Simulations, seed: int) -> Posterior:
        statistics = self.fit_statistics(simulations, seed)
        made = make_trainer(self.name, "NPE", simulations.u.shape[1], density_estimator="nsf")
        with private_randomness(derive_seed(seed, "posterior")), quiet():
            made.append_simulations(simulations.u.float(), statistics(simulations.x)).train()
            return DensityPosterior(made.build_posterior(), simulations.x.shape[1], statistics)

    def fit_statistics(self, simulations: Simulations, seed: int) -> Statistics:
        """Regress the likelihood score on x and u, and read it at u = 0."""
        u, x, score = simulations.u.float(), simulations.x.float(), likelihood_score(self.name, simulations)
        random = generator(derive_seed(seed, "network"))
        regression = ScoreRegression(u, x, score, self.width, self.depth, random)

        def loss(rows: Tensor, _: torch.Generator) -> Tensor:
            return regression.loss(u[rows], x[rows], score[rows])

        train(regression, loss, len(u), steps=self.steps, batch=self.batch, rate=self.rate, seed=seed)
        return Statistics(regression.requires_grad_(False), x, u.shape[1])
