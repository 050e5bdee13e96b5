"""Methods of the package sbi [Boelts et al. 2025] with its own defaults, as rivals in the same tables.
NPE alone has, as in `sally`, a neural spline flow where sbi's default is a masked autoregressive one.

    sbi_npe           neural posterior estimation, a neural spline flow         [Greenberg et al. 2019]
    sbi_nle           neural likelihood estimation, sampled by slice MCMC       [Papamakarios et al. 2019]
    sbi_nre           neural ratio estimation, sampled by slice MCMC            [Durkan et al. 2020]
    sbi_fmpe          flow matching                                             [Wildberger et al. 2023]
    sbi_npse          posterior score estimation, variance-exploding            [Geffner et al. 2023]
    sbi_npse_suite    the last, by sbi's trainer and loss on the suite's network, diffusion and steps

All learn in u, where the prior is N(0, I). `sbi_nle` is a density of the data, which are dequantised for it
(`rivals.dequantise`). `sbi_npse_suite` and `dsm` are the same method trained by two programs: both minimise
σ² ‖s + ε/σ‖² over the same network with Adam and a cosine of rates; sbi's trainer draws t uniformly, adds a
control variate to the loss, clips gradients and keeps no moving average. It is sampled as `dsm` is.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...tasks.errors import UserError
from ...tasks.seeding import derive_seed, generator
from ...tasks.task import Simulations
from ..method import Method, Posterior
from ..nn.averaging import VALIDATION_SHARE
from ..nn.network import take_replicate
from ..score.schedule import BETA_MAX, BETA_MIN, T_MIN, alpha_sigma
from ..score.score_matching import DSM
from ..score.trainer import ScoreModel
from .dequantise import dequantise, spacings
from .private_randomness import private_randomness, quiet
from .sbi_trainers import DensityPosterior, FlowPosterior, WrappedPosterior, make_trainer


class SbiMethod(Method):
    """What sbi's methods share; see the module. A subclass says which trainer and with what options."""

    version: ClassVar[int] = 1
    least_simulations: ClassVar[int] = 3  # sbi trains on nine tenths of them, and standardises these
    in_float32: ClassVar[bool] = True
    algorithm: ClassVar[str]
    settings_of_sbi: ClassVar[dict[str, Any]] = {}
    posterior: ClassVar[type[WrappedPosterior]] = WrappedPosterior

    def fit(self, simulations: Simulations, seed: int) -> Posterior:
        made = make_trainer(self.name, self.algorithm, simulations.u.shape[1], **self.settings_of_sbi)
        with private_randomness(derive_seed(seed, "sbi")), quiet():
            made.append_simulations(simulations.u.float(), self._data(simulations.x, seed).float())
            made.train()
            return self.posterior(made.build_posterior(), simulations.x.shape[1])

    def _data(self, x: Tensor, seed: int) -> Tensor:
        return x


class SbiNPE(SbiMethod):
    """Neural posterior estimation with a neural spline flow."""

    name: ClassVar[str] = "sbi_npe"
    summary: ClassVar[str] = "sbi's neural posterior estimation with a spline flow."
    algorithm: ClassVar[str] = "NPE"
    settings_of_sbi: ClassVar[dict[str, Any]] = {"density_estimator": "nsf"}
    posterior: ClassVar[type[WrappedPosterior]] = DensityPosterior


class SbiNLE(SbiMethod):
    """Neural likelihood estimation on dequantised data."""

    name: ClassVar[str] = "sbi_nle"
    summary: ClassVar[str] = "sbi's neural likelihood estimation, sampled by slice MCMC."
    algorithm: ClassVar[str] = "NLE"

    def _data(self, x: Tensor, seed: int) -> Tensor:
        return dequantise(x, spacings(x), generator(derive_seed(seed, "dequantise")))


class SbiNRE(SbiMethod):
    """Neural ratio estimation."""

    name: ClassVar[str] = "sbi_nre"
    summary: ClassVar[str] = "sbi's neural ratio estimation, sampled by slice MCMC."
    least_simulations: ClassVar[int] = 11  # two of them held out: each is contrasted with another one's u
    algorithm: ClassVar[str] = "NRE"


class SbiFMPE(SbiMethod):
    """Flow matching."""

    name: ClassVar[str] = "sbi_fmpe"
    summary: ClassVar[str] = "sbi's flow matching posterior estimation."
    algorithm: ClassVar[str] = "FMPE"
    posterior: ClassVar[type[WrappedPosterior]] = FlowPosterior


class SbiNPSE(SbiMethod):
    """Posterior score estimation."""

    name: ClassVar[str] = "sbi_npse"
    summary: ClassVar[str] = "sbi's posterior score estimation with its own network."
    algorithm: ClassVar[str] = "NPSE"
    posterior: ClassVar[type[WrappedPosterior]] = FlowPosterior


class SbiNPSESuite(DSM):
    """Posterior score estimation by sbi's trainer on the network of `dsm`; see the module.

    The options are those of `dsm`, but for `average` and `early_stopping`, which sbi's trainer decides.
    """

    name: ClassVar[str] = "sbi_npse_suite"
    summary: ClassVar[str] = "sbi's posterior score estimation with the suite's network, diffusion and steps."
    least_simulations: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.average != DSM.average or self.early_stopping != DSM.early_stopping:
            raise UserError(f"method {self.name}: sbi's trainer has no average, and always stops early.")

    def fit_replicates(self, simulations: Sequence[Simulations], seeds: Sequence[int]) -> list[Posterior]:
        data = self.training_data(simulations)
        model, gate = self._build(data, seeds)
        fitted: list[Posterior] = []
        for r, seed in enumerate(seeds):
            own = take_replicate(model, r)
            self._train(own, data.u[r], data.x[r], seed)
            fitted.append(self._posterior(own, take_replicate(gate, r)))
        return fitted

    def _train(self, model: ScoreModel, u: Tensor, x: Tensor, seed: int) -> None:
        """Train one replicate in place, for `steps` steps and the rest of the epoch; two epochs at least."""
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
    """Let the rates of one of sbi's trainers fall along the suite's cosine, epoch by epoch."""
    train_epoch = made._train_epoch

    def at_rate(*args: Any, **options: Any) -> Any:
        for group in made.optimizer.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * made.epoch / epochs))
        return train_epoch(*args, **options)

    made._train_epoch = at_rate


@cache
def estimator_class() -> Any:
    """Give the class of sbi's estimators whose score is that of a `ScoreModel` of one replicate."""
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
    """Give σ², (n,). sbi's own "variance" weight is (n, 1) and weighs the losses, (n,), by its mean alone."""
    return alpha_sigma(times)[1] ** 2
