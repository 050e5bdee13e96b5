"""SCANDAL: neural likelihood estimation that also learns from joint scores [Brehmer et al. 2020].

A conditional density q(x | u), a neural spline flow [Durkan et al. 2019], is fitted to

    E[ −log q(x | u) + (a/d) Σ_i (∂_{u_i} log q(x | u) − s_i)² / E s_i² ],  s = ∇_u log p(x, z | u) = g + u,

with g the joint score, which holds the prior's −u. The second term has its minimum at E[s | u, x], which is
∇_u log p(x | u) by Fisher's identity: both terms are least at q = p. Divided by E s_i², the mean over the
training simulations, the second term is a for a q that ignores u, whatever the parameters' scales; where a
few huge scores make up E s_i², the others count for little. The gradient of q is differentiated in turn,
hence smooth activations.

The posterior ∝ N(u; 0, I) q(x_o | u) is drawn from by sbi's vectorised slice sampler, set as sbi sets it for
neural likelihood estimation. x is standardised, and dequantised with fresh noise in every minibatch where it
is discrete (`methods.rivals.dequantise`); an observation is taken as it is, the centre of its cell.

a = 1 and the learning rate of 1e-3 gave the least −log q on fresh simulations, after 800 steps on 300
simulations of `linear_gaussian` and of `galton`, among a = 0, 1 and 10 and the rates 1e-3 and 3e-3; no
posterior was looked at. Two spline transformations take 9 ms of one core a step for one component of x, 15
for ten, 60 for a hundred.

Source: Brehmer, Louppe, Pavez and Cranmer, Mining gold from implicit models to improve likelihood-free
inference, PNAS 117 (2020), https://arxiv.org/abs/1805.12244.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...tasks.errors import UserError
from ...tasks.plugin import require_whole
from ...tasks.seeding import derive_seed, generator
from ...tasks.task import Simulations
from ..method import Method, Posterior
from ..nn.single_training import train
from ..score.recipes import Standardise
from .dequantise import dequantise, spacings
from .optional_package import import_for
from .private_randomness import private_randomness, quiet
from .sbi_trainers import standard_normal

ROUNDING = 1e-7  # in float32, of s = g + u, where numbers of about 1 may cancel


class LikelihoodModel(nn.Module):
    """log q(x | u) up to the constant of the standardisation, by a conditional flow.

    Args:
        flow: a zuko flow over dim_x features with a context of d.
        x: training data that set the standardisation, (n, dim_x).
    """

    def __init__(self, flow: nn.Module, x: Tensor) -> None:
        super().__init__()
        self.flow, self.standardise = flow, Standardise(x.unsqueeze(0))

    def forward(self, u: Tensor, x: Tensor) -> Tensor:
        """Give log q(x | u) for u (n, d) and x (n, dim_x) or (1, dim_x): (n,)."""
        return self.flow(u).log_prob(self.standardise(x)[0].expand(len(u), -1))

    def with_score(self, u: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give log q(x | u), (n,), and ∇_u log q(x | u), (n, d), which can be differentiated again."""
        with torch.enable_grad():
            u = u.detach().requires_grad_(True)
            log_q = self(u, x)
            (score,) = torch.autograd.grad(log_q.sum(), u, create_graph=True)
        return log_q, score


def scandal_loss(model: LikelihoodModel, u: Tensor, x: Tensor, score: Tensor, weight: Tensor) -> Tensor:
    """Give the mean of −log q(x | u) + Σ_i w_i (∂_{u_i} log q(x | u) − s_i)² over simulations.

    Args:
        u, x: (n, d) and (n, dim_x).
        score: s = ∇_u log p(x, z | u), (n, d).
        weight: w = a/(d E s²), (d,).
    """
    log_q, found = model.with_score(u, x)
    return ((weight * (found - score).square()).sum(1) - log_q).mean()


class LikelihoodPosterior(Posterior):
    """Slice samples of N(u; 0, I) q(x_o | u).

    Args:
        log_likelihood: log q(x | u) up to a constant for u (n, d) and x (n, dim_x) or (1, dim_x): (n,).
        dim, dim_x: of u and of x.
    """

    def __init__(self, log_likelihood: Callable[[Tensor, Tensor], Tensor], dim: int, dim_x: int) -> None:
        self.log_likelihood, self.dim, self.dim_x = log_likelihood, dim, dim_x

    def sample(self, n: int, x_o: Tensor, seed: int) -> Tensor:
        posteriors = import_for("method scandal", "sbi.inference.posteriors")
        with private_randomness(seed), quiet():
            sampler = posteriors.MCMCPosterior(self._potential, standard_normal(self.dim))
            drawn: Tensor = sampler.sample_batched((n,), x=x_o.float(), show_progress_bars=False)
        return drawn.transpose(0, 1)

    def _potential(self, u: Tensor, x_o: Tensor) -> Tensor:
        return self.log_likelihood(u, x_o) - 0.5 * u.square().sum(1)


class Scandal(Method):
    """A likelihood flow trained on data and on joint scores; see the module for the mathematics.

    Args:
        score_weight: a, from 0 up; 0 is neural likelihood estimation.
        steps: training steps.
        batch: simulations in a minibatch, drawn with replacement.
        rate: the first learning rate; it falls to 0 along a cosine.
        transforms: spline transformations of the flow.
        bins: of a spline.
        width, depth: units in a hidden layer, and hidden layers, of the network behind a transformation.
    """

    name: ClassVar[str] = "scandal"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "SCANDAL: a likelihood flow trained on data and joint scores."
    requires: ClassVar[frozenset[str]] = frozenset({"joint_score"})
    in_float32: ClassVar[bool] = True

    score_weight: float = 1.0
    steps: int = 3000
    batch: int = 128
    rate: float = 1e-3
    transforms: int = 2
    bins: int = 8
    width: int = 64
    depth: int = 2

    def __post_init__(self) -> None:
        for option in ("steps", "batch", "transforms", "width", "depth"):
            require_whole(f"method {self.name}: {option}", getattr(self, option), 1)
        require_whole(f"method {self.name}: bins", self.bins, 2)
        if not self.rate > 0 or not self.score_weight >= 0:
            raise UserError(f"method {self.name}: rate must be above 0, and score_weight from 0 up.")

    def fit(self, simulations: Simulations, seed: int) -> Posterior:
        model = self.fit_likelihood(simulations, seed)
        return LikelihoodPosterior(model, simulations.u.shape[1], simulations.x.shape[1])

    def fit_likelihood(self, simulations: Simulations, seed: int) -> LikelihoodModel:
        """Fit q(x | u)."""
        u, x, score = simulations.u.float(), simulations.x.float(), likelihood_score(self.name, simulations)
        d, spacing = u.shape[1], spacings(simulations.x).float()
        model = self._model(d, dequantise(x, spacing, generator(derive_seed(seed, "standardise"))), seed)
        weight = self.score_weight / (d * mean_square(score))

        def loss(rows: Tensor, random: torch.Generator) -> Tensor:
            return scandal_loss(model, u[rows], dequantise(x[rows], spacing, random), score[rows], weight)

        train(model, loss, len(u), steps=self.steps, batch=self.batch, rate=self.rate, seed=seed)
        return model.requires_grad_(False)

    def _model(self, d: int, x: Tensor, seed: int) -> LikelihoodModel:
        zuko = import_for(f"method {self.name}", "zuko")
        with private_randomness(derive_seed(seed, "network")):
            flow = zuko.flows.NSF(
                x.shape[1],
                d,
                transforms=self.transforms,
                bins=self.bins,
                hidden_features=[self.width] * self.depth,
                activation=nn.SiLU,
            )
        return LikelihoodModel(flow, x)


def likelihood_score(method: str, simulations: Simulations) -> Tensor:
    """Give s = ∇_u log p(x, z | u) = g + u in float32, (n, d), for the method of that name.

    Raises:
        UserError: the simulations have no joint score.
    """
    if simulations.joint_score is None:
        raise UserError(f"method {method} needs simulations with a joint_score.")
    return (simulations.joint_score + simulations.u).float()


def mean_square(score: Tensor) -> Tensor:
    """Give E s_i² of each component, and 1 for one that is 0 but for rounding: (n, d) to (d,)."""
    square = score.square().mean(0)
    return torch.where(square > ROUNDING**2, square, torch.ones_like(square))
