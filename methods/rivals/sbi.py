"""Methods of the package sbi (Boelts et al. 2025), with its own defaults unless stated otherwise.

All learn in u, where the prior is N(0, I).
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...tasks.errors import UserError
from ...tasks.plugin import require_choice, require_flag, require_whole
from ...tasks.seeding import derive_seed, generator
from ...tasks.simulations import Simulations
from ...tasks.structure import Structure
from ..method import Method, Posterior
from ..nn.averaging import VALIDATION_SHARE
from ..nn.network import take_replicate
from ..nn.optimizer import cosine
from ..score.composition import require_independent
from ..score.posterior import ScorePosterior
from ..score.schedule import BETA_MAX, BETA_MIN, T_MIN, alpha_sigma
from ..score.score_matching import DSM
from ..score.trainer import ScoreModel
from ..score.training_data import TrainingData
from .dequantise import dequantise, spacings
from .embeddings import embedding_net
from .optional_package import import_for
from .private_randomness import private_randomness, quiet
from .sbi_trainers import DensityPosterior, FlowPosterior, ItemsPosterior, WrappedPosterior, make_trainer

IID_METHODS = ("none", "fnpe", "gauss", "auto_gauss", "jac_gauss")


class SbiMethod(Method):
    """The base of sbi's methods; a subclass sets the trainer and its options.

    Attributes:
        algorithm: the name of the trainer in `sbi.inference`.
        settings_of_sbi: the trainer's options.
        posterior: the form of the posterior.
    """

    version: ClassVar[int] = 1
    least_simulations: ClassVar[int] = 3  # sbi trains on nine tenths of them and standardises these
    in_float32: ClassVar[bool] = True
    algorithm: ClassVar[str]
    settings_of_sbi: ClassVar[dict[str, Any]] = {}
    posterior: ClassVar[type[WrappedPosterior]] = WrappedPosterior

    def fit(self, simulations: Simulations, seed: int) -> Posterior:
        x = self._data(simulations.x, seed).float()
        settings = self.settings_of_sbi | self._embedded(simulations.structure, x, seed)
        made = make_trainer(self.name, self.algorithm, simulations.u.shape[1], **settings)
        with private_randomness(derive_seed(seed, "sbi")), quiet():
            made.append_simulations(simulations.u.float(), x)
            made.train()
            return self.posterior(made.build_posterior())

    def _data(self, x: Tensor, seed: int) -> Tensor:
        return x

    def _embedded(self, structure: Structure | None, x: Tensor, seed: int) -> dict[str, Any]:
        """Return the trainer's options for data with a structure."""
        return {}


class EmbeddedMethod(SbiMethod):
    """The base of sbi's methods that can embed data by a network which knows their structure.

    Attributes:
        builder: the argument of the trainer, the function of `sbi.neural_nets` that makes its value with an
            embedding network, and the name of the model and of the embedding network among its arguments.

    Args:
        embedding: use sbi's embedding network for the declared structure of the data, trained together with
            the rest, see `embedding_net`; vectors have none.
    """

    builder: ClassVar[tuple[str, str, str, str]]

    embedding: bool = False

    def __post_init__(self) -> None:
        require_flag(f"method {self.name}: embedding", self.embedding)

    def _embedded(self, structure: Structure | None, x: Tensor, seed: int) -> dict[str, Any]:
        if not self.embedding:
            return {}
        with private_randomness(derive_seed(seed, "embedding")):
            net = embedding_net(self.name, structure, x)
        if net is None:
            return {}
        argument, function, model, place = self.builder
        make = getattr(import_for(f"method {self.name}", "sbi.neural_nets"), function)
        return {argument: make(model, z_score_x="none", **{place: net})}


class SbiNPE(EmbeddedMethod):
    """Neural posterior estimation: a density q(u | x) is fitted by maximum likelihood.

        minimise −E log q(u | x)

    q is a neural spline flow, as in `sally`, instead of sbi's default, a masked autoregressive flow.

    Source: Greenberg et al., Automatic posterior transformation, arXiv 1905.07488.
    """

    name: ClassVar[str] = "sbi_npe"
    summary: ClassVar[str] = "sbi's neural posterior estimation with a spline flow."
    algorithm: ClassVar[str] = "NPE"
    settings_of_sbi: ClassVar[dict[str, Any]] = {"density_estimator": "nsf"}
    builder = ("density_estimator", "posterior_nn", "nsf", "embedding_net")
    posterior: ClassVar[type[WrappedPosterior]] = DensityPosterior


class SbiNLE(SbiMethod):
    """Neural likelihood estimation: a density q(x | u) is fitted by maximum likelihood.

        minimise −E log q(x | u),    p(u | x_o) ∝ N(u; 0, I) q(x_o | u)

    q is a density of the data themselves, so there is no embedding network, and discrete columns are
    dequantised, see `dequantise`. The posterior is sampled by slice sampling.

    Source: Papamakarios et al., Sequential neural likelihood, arXiv 1805.07226.
    """

    name: ClassVar[str] = "sbi_nle"
    summary: ClassVar[str] = "sbi's neural likelihood estimation, sampled by slice MCMC."
    algorithm: ClassVar[str] = "NLE"

    def _data(self, x: Tensor, seed: int) -> Tensor:
        return dequantise(x, spacings(x), generator(derive_seed(seed, "dequantise")))


class SbiNRE(EmbeddedMethod):
    """Neural ratio estimation: a classifier learns the ratio of likelihood and evidence.

        r(x, u) ≈ p(x | u)/p(x),    p(u | x_o) ∝ N(u; 0, I) r(x_o, u)

    The posterior is sampled by slice sampling.

    Source: Durkan et al., On contrastive learning for likelihood-free inference, arXiv 2002.03712.
    """

    name: ClassVar[str] = "sbi_nre"
    summary: ClassVar[str] = "sbi's neural ratio estimation, sampled by slice MCMC."
    least_simulations: ClassVar[int] = 11  # two are held out: each is contrasted with the u of the other
    algorithm: ClassVar[str] = "NRE"
    builder = ("classifier", "classifier_nn", "resnet", "embedding_net_x")


class SbiFMPE(EmbeddedMethod):
    """Flow matching: a velocity field v that carries noise ε to the posterior is learned by regression.

        minimise E ‖v(u_t, x, t) − (ε − u)‖²,    u_t = (1 − t) u + t ε

    Source: Wildberger et al., Flow matching for scalable simulation-based inference, arXiv 2305.17161.
    """

    name: ClassVar[str] = "sbi_fmpe"
    summary: ClassVar[str] = "sbi's flow matching posterior estimation."
    algorithm: ClassVar[str] = "FMPE"
    builder = ("vf_estimator", "posterior_flow_nn", "mlp", "embedding_net")
    posterior: ClassVar[type[WrappedPosterior]] = FlowPosterior


class SbiNPSE(EmbeddedMethod):
    """Posterior score estimation: denoising score matching with sbi's own network and loss weight λ.

        minimise E λ(t) ‖s(u_t, x, t) + ε/σ‖²,    u_t = u + σ(t) ε

    The diffusion is variance-exploding, sbi's default.

    Args:
        iid_method: "none", or sbi's way to compose scores of items that are independent given θ. The method
            then learns from single items, and its posterior takes x_o (m, k · dim_x) for any number k of
            items. "fnpe" is the factorised score of Geffner et al.; the others are of Linhart et al. "gauss"
            takes half of the prior's covariance for the covariance of each p(u | x_i), "auto_gauss" estimates
            it from draws (in sbi 0.27, as the mean of their squares about 0), and "jac_gauss" takes the
            Jacobian of the score, in minutes for each observation.

    Raises:
        UserError: `embedding` is not a bool, or there is no such iid_method.

    Source: Geffner et al., Compositional score modeling for simulation-based inference, arXiv 2209.14249.
    Linhart et al., Diffusion posterior sampling for simulation-based inference in tall data settings, arXiv
    2404.07593.
    """

    name: ClassVar[str] = "sbi_npse"
    summary: ClassVar[str] = "sbi's posterior score estimation with its own network."
    algorithm: ClassVar[str] = "NPSE"
    builder = ("vf_estimator", "posterior_score_nn", "mlp", "embedding_net")
    posterior: ClassVar[type[WrappedPosterior]] = FlowPosterior

    iid_method: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice(f"method {self.name}", "iid_method", self.iid_method, IID_METHODS)

    @property
    def composes(self) -> bool:
        return self.iid_method != "none"

    def fit(self, simulations: Simulations, seed: int) -> Posterior:
        """Fit one replicate.

        Raises:
            UserError: there is an iid_method, and x is not made of items that are independent given θ.
        """
        if not self.composes:
            return super().fit(simulations, seed)
        require_independent(f"method {self.name}: iid_method={self.iid_method}", simulations.structure)
        fitted = super().fit(simulations, seed)
        assert isinstance(fitted, WrappedPosterior)
        return ItemsPosterior(fitted.posterior, self.iid_method)


class SbiNPSESuite(DSM):
    """Posterior score estimation by sbi's trainer, on the network and diffusion of `dsm`.

    This is the method `dsm` trained by another program. Both minimise

        E σ² ‖s(u_t, x, t) + ε/σ‖²

    over the same network with Adam. sbi's trainer takes a given number of steps, here along a cosine of the
    learning rate and on minibatches of one size. It draws t uniformly, adds a control variate to the loss,
    clips gradients and keeps no moving average. Samples are drawn as for `dsm`.

    The options are described at `ScoreMatching`; `average` and `early_stopping` must keep their defaults,
    because sbi's trainer has no average and always stops early.

    Raises:
        UserError: an option has an unknown or impossible value.

    Source: Geffner et al., Compositional score modeling for simulation-based inference, arXiv 2209.14249.
    """

    name: ClassVar[str] = "sbi_npse_suite"
    summary: ClassVar[str] = "sbi's posterior score estimation with the suite's network and diffusion."
    least_simulations: ClassVar[int] = 2

    steps: int = 3000

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole(f"method {self.name}: steps", self.steps, 1)
        if self.average != DSM.average or self.early_stopping != DSM.early_stopping:
            raise UserError(
                f"method {self.name}: sbi's trainer has no average, and always stops early: leave average "
                "and early_stopping out."
            )

    def _train(self, data: TrainingData, seeds: Sequence[int]) -> list[ScorePosterior]:
        model, gate = self._build(data, seeds)
        fitted = []
        for r, seed in enumerate(seeds):
            own = take_replicate(model, r)
            self._train_one(own, data.u[r], data.x[r], seed)
            fitted.append(self._posterior(own, take_replicate(gate, r)))
        return fitted

    def _train_one(self, model: ScoreModel, u: Tensor, x: Tensor, seed: int) -> None:
        """Train one replicate in place for at least `steps` steps, in whole epochs; two epochs at least."""
        seen = int((1 - VALIDATION_SHARE) * len(u))
        epochs = math.ceil(self.steps / (seen // min(self.batch, seen)))
        made = make_trainer(
            self.name, "NPSE", u.shape[1], vf_estimator=lambda *_: estimator_class()(model, u, x)
        )
        with private_randomness(derive_seed(seed, "sbi")), quiet():
            made.append_simulations(u, x)
            follow_cosine(made, self.rate, epochs)
            made.train(
                training_batch_size=self.batch,
                validation_fraction=VALIDATION_SHARE,
                stop_after_epochs=epochs + 1,
                max_num_epochs=max(1, epochs - 1),  # sbi counts from 0
            )


def follow_cosine(made: Any, rate: float, epochs: int) -> None:
    """Make the learning rate of one of sbi's trainers follow the suite's cosine, epoch by epoch."""
    train_epoch = made._train_epoch

    def at_rate(*args: Any, **options: Any) -> Any:
        for group in made.optimizer.param_groups:
            group["lr"] = rate * cosine(made.epoch, epochs)
        return train_epoch(*args, **options)

    made._train_epoch = at_rate


@cache
def estimator_class() -> Any:
    """Return the class of sbi's estimators that take the score of a `ScoreModel` of one replicate."""
    from sbi.neural_nets.estimators.score_estimator import VPScoreEstimator

    class SuiteEstimator(VPScoreEstimator):
        def __init__(self, model: ScoreModel, u: Tensor, x: Tensor) -> None:
            super().__init__(
                model,
                u.shape[1:],
                x.shape[1:],
                weight_fn=_variance,
                beta_min=BETA_MIN,
                beta_max=BETA_MAX,
                t_min=T_MIN,
            )

        def forward(self, input: Tensor, condition: Tensor, time: Tensor) -> Tensor:
            rows = torch.broadcast_shapes(input.shape[:-1], condition.shape[:-1])
            given = input, condition, time.unsqueeze(-1)
            flat = (v.expand(*rows, v.shape[-1]).reshape(1, -1, v.shape[-1]) for v in given)
            return self.net(*flat).reshape(*rows, -1)

    return SuiteEstimator


def _variance(times: Tensor) -> Tensor:
    """Return σ² (n,).

    sbi's own "variance" weight has shape (n, 1), so it multiplies the losses (n,) by its mean only.
    """
    return alpha_sigma(times)[1] ** 2
