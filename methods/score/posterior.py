"""The posterior of a score-matching method: a trained score model, its gate and a sampler."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...tasks.errors import UserError
from ...tasks.seeding import derive_seed, generator
from ...tasks.simulations import Simulations
from ..device import CPU
from ..method import Method, Posterior, PosteriorState
from ..nn.network import stack_replicates
from ..progress import report
from . import targets
from .composition import DRAWS, ROWS, compose, information_of
from .conditioning import condition
from .gates.choice import Choice
from .gates.gate import Gate
from .gates.of_time import TimeGate
from .samplers import SAMPLERS, Score, log_prob_ode
from .schedule import T_MIN, alpha_sigma
from .summary import Summary, structure_facts
from .trainer import ScoreModel

LOG_PROB_STEPS = 60
# The least numbers of draws and of columns of x for which conditioning the model pays: with fewer draws the
# conditioned model is as large as their activations, and with fewer columns it saves little (results/speed).
MANY_DRAWS, WIDE_X = 64, 32


class ScorePosterior(Posterior):
    """The posterior of one replicate of a trained score model.

    Args:
        model, gate: the score model and the gate of one replicate; both stay on the CPU.
        score_field: the field of the simulations that the target uses; None for DSM.
        sampler: a name in `SAMPLERS`.
        steps: number of steps of the sampler.
        method: the method that fitted the posterior and can restore it.
        device: where the network is evaluated.
        composition: how scores of several blocks of items are composed, a name in `composition.COMPOSITIONS`.

    Attributes:
        choice: the choice of the gate; None if the gate was named.
        summary: the summary that replaces x, on the CPU; None if the model takes x itself.
        network_evaluations: number of network evaluations for a sample, those of the last step included,
            given one block of items; see `evaluations`.
    """

    def __init__(
        self,
        model: ScoreModel,
        gate: Gate,
        score_field: str | None,
        sampler: str,
        steps: int,
        method: Method,
        device: str = CPU,
        composition: str = "none",
    ) -> None:
        self.model, self.gate = model.requires_grad_(False), gate.requires_grad_(False)
        self.score_field, self.sampler, self.steps = score_field, sampler, steps
        self.method, self.device, self.composition = method, device, composition
        self.composes = composition != "none"
        self.choice: Choice | None = None
        self.summary: Summary | None = None
        self.network_evaluations: int = SAMPLERS[sampler].cost(steps, _dim_theta(model))
        self._informed: tuple[Tensor, Tensor] | None = None

    def sample(self, n: int, x_o: Tensor, seed: int) -> Tensor:
        return sample_together([self], n, x_o, [seed])[0]

    def score(self, u_t: Tensor, x_o: Tensor, t: float) -> Tensor:
        """Return the learned score (m, n, d) at u_t (m, n, d) for x_o (m, k · dim_x) and t in [`T_MIN`, 1].

        Raises:
            UserError: an argument is wrong, or t is below `T_MIN`, where no score was learned.
        """
        if t < T_MIN:
            raise UserError(
                f"the score was learned for t from {T_MIN} to 1, but t is {t}: use {T_MIN} or more."
            )
        score = _score_of([self], self.model, x_o, u_t.shape[1], once=True)
        return score(u_t.to(self.device).unsqueeze(0), t)[0].cpu()

    def log_prob(self, u: Tensor, x_o: Tensor) -> Tensor:
        """Return log p(u | x_o) (m, n) along the probability-flow ODE, in float64.

        Each step costs 2 d backward passes, see `samplers.log_prob_ode`. The density is the density of the
        samples: exactly for Gaussians, and up to the approximation of `last_step` otherwise.
        """
        model = stack_replicates([self.model]).double()
        score = _score_of([self], model, x_o, u.shape[1])
        return log_prob_ode(score, u.double().to(self.device).unsqueeze(0), LOG_PROB_STEPS)[0].cpu()

    def evaluations(self, x_o: Tensor) -> int:
        """Return the number of network evaluations for a sample given x_o (m, k · dim_x).

        It is k times `network_evaluations` for k blocks of items. With `jac` each of the d backward passes
        through a block counts as a further evaluation. The draws from which `gauss` estimates covariances,
        once for each x_o, are not counted.
        """
        k = self.items(x_o).shape[1]
        passes = 1 + _dim_theta(self.model) if self.composition == "jac" and k > 1 else 1
        return self.network_evaluations * k * passes

    def items(self, x_o: Tensor) -> Tensor:
        """Return the blocks of items (m, k, dim_x) of observations x_o (m, k · dim_x)."""
        dim_x = x_o.shape[1] if self.dims is None else self.dims[1]
        return x_o.unflatten(1, (x_o.shape[1] // dim_x, dim_x))

    def information(self, items: Tensor) -> Tensor:
        """Return Σ_i⁻¹ − I (m, k, d, d) of the posteriors of single blocks, for `gauss`.

        Blocks (m, k, ·) are given as the model takes them, as summaries if there are any. The results are
        estimated from draws, and kept until other blocks are asked for.
        """
        if self._informed is None or not torch.equal(self._informed[0], items):
            d, (m, k) = _dim_theta(self.model), items.shape[:2]
            found = [
                information_of(
                    _score(self.model, part.unsqueeze(0), DRAWS, self.device), len(part), d, self.device
                )
                for part in items.flatten(0, 1).split(ROWS // DRAWS)
            ]
            self._informed = items.clone(), torch.cat(found, 1).unflatten(1, (m, k))[0]
        return self._informed[1]

    @property
    def mixed_field(self) -> str | None:
        """The field of the simulations that the gate mixes with DSM, or None if no weight w(t) mixes them."""
        return self.score_field if self.gate.mixes_by_time else None

    @property
    def learns_weight(self) -> bool:
        """Whether the gate was trained with the score."""
        return self.gate.trained

    def weight(self, t: Tensor) -> Tensor:
        """Return the DSM weights w(t) of the training target, (n, 1) or (n, d), for t (n,).

        Raises:
            UserError: the gate depends on more than t.
        """
        if not isinstance(self.gate, TimeGate):
            raise UserError("this gate has no weight w(t), because it depends on more than t.")
        weights: Tensor = self.gate(t.to(torch.float32).view(1, -1, 1))[0]
        return weights

    def target(self, simulations: Simulations, eps: Tensor, t: float) -> Tensor:
        """Return the regression target y (n, d) at time t for simulations and noise ε (n, d)."""
        alpha, sigma = alpha_sigma(torch.tensor(t, dtype=eps.dtype))
        y_dsm = targets.dsm(eps, sigma)
        if self.score_field is None:
            return y_dsm
        y_score = targets.from_score(getattr(simulations, self.score_field), alpha)
        x = _summarised([self], simulations.x)[0]
        place = (alpha * simulations.u + sigma * eps, x, torch.full_like(eps[:, :1], t))
        gate = copy.deepcopy(self.gate).double()
        return gate.mix(*(tensor.double().unsqueeze(0) for tensor in (y_dsm, y_score, *place)))[0]

    def state(self) -> PosteriorState:
        tensors = {f"model.{key}": value for key, value in self.model.state_dict().items()}
        tensors |= {f"gate.{key}": value for key, value in self.gate.state_dict().items()}
        facts: dict[str, Any] = {}
        if self.choice is not None:
            facts["choice"] = [None if part != part else part for part in self.choice]  # no NaN in JSON
        if self.summary is not None:
            tensors |= {f"summary.{key}": value for key, value in self.summary.state_dict().items()}
            facts["structure"] = structure_facts(self.summary.structure)
        return PosteriorState(self.method, tensors, facts)


def fill(model: ScoreModel, gate: Gate, summary: Summary | None, state: PosteriorState) -> None:
    """Set the tensors of a model, a gate and a summary to the tensors of a `ScorePosterior.state`.

    Raises:
        UserError: a tensor is missing, unknown, or has another shape or dtype.
    """
    known = set()
    for prefix, module in (("model.", model), ("gate.", gate), ("summary.", summary)):
        if module is None:
            continue
        own = module.state_dict()
        module.load_state_dict({k: state.tensor(prefix + k, *v.shape, dtype=v.dtype) for k, v in own.items()})
        known |= {prefix + key for key in own}
    if unknown := sorted(state.tensors.keys() - known):
        raise UserError(f"tensor {unknown[0]} is unknown.")


def restored_choice(state: PosteriorState) -> Choice | None:
    """Return the choice of a gate in a `ScorePosterior.state`, or None.

    Raises:
        UserError: the choice is malformed.
    """
    if "choice" not in state.facts:
        return None
    try:
        gate, *numbers = state.facts["choice"]
        return Choice(str(gate), *(math.nan if number is None else float(number) for number in numbers))
    except (TypeError, ValueError) as error:
        raise UserError("its choice must be the name of a gate and two numbers.") from error


def sample_together(
    posteriors: Sequence[ScorePosterior], n: int, x_o: Tensor, seeds: Sequence[int]
) -> Tensor:
    """Sample all replicates and observations as one batch.

    The noise of each replicate comes from its own seed, so the samples equal one-by-one sampling up to
    rounding.

    Args:
        posteriors: R replicates of one method.
        n: number of samples for each observation.
        x_o: observations (m, dim_x).
        seeds: one for each replicate.

    Returns:
        The samples (R, m, n, d).
    """
    first = posteriors[0]
    model = stack_replicates([p.model for p in posteriors])
    shape = (len(x_o), n, _dim_theta(model))
    generators = [generator(derive_seed(seed, "sample")) for seed in seeds]
    score = _score_of(posteriors, model, x_o, n)
    evaluations = 0

    def draw() -> Tensor:
        return torch.stack([torch.randn(shape, generator=g) for g in generators]).to(first.device)

    def counted(u_t: Tensor, t: float) -> Tensor:
        nonlocal evaluations
        evaluations += 1
        report("sample", evaluations, first.network_evaluations)
        return score(u_t, t)

    return SAMPLERS[first.sampler].run(counted, draw, first.steps).cpu()


def _dim_theta(model: ScoreModel) -> int:
    return model.mlp.biases[-1].shape[-1]


def _summarised(posteriors: Sequence[ScorePosterior], x_o: Tensor) -> Tensor:
    """Return what the models of R posteriors take for x (R, m, dim): the summaries of x_o, or x_o itself."""
    x = x_o.expand(len(posteriors), *x_o.shape)
    summaries = [p.summary for p in posteriors if p.summary is not None]
    return stack_replicates(summaries)(x.float()) if summaries else x


def _score_of(
    posteriors: Sequence[ScorePosterior], model: ScoreModel, x_o: Tensor, n: int, *, once: bool = False
) -> Score:
    """Return the function score(u_t, t) of R posteriors for u_t (R, m, n, d) on their device.

    Args:
        posteriors: R posteriors of one method.
        model: their score models, stacked.
        x_o: observations (m, k · dim_x); the scores of k > 1 blocks of items are composed.
        once: as for `_score`.
    """
    first, items = posteriors[0], posteriors[0].items(x_o)
    x = _summarised(posteriors, items.flatten(0, 1)).unflatten(1, items.shape[:2])
    if items.shape[1] == 1:
        return _score(model, x.squeeze(2), n, first.device, once=once)
    information = None
    if first.composition == "gauss":
        information = torch.stack([p.information(own) for p, own in zip(posteriors, x, strict=True)])
    dtype = model.mlp.biases[-1].dtype
    if first.device != CPU:
        model = copy.deepcopy(model).to(first.device)  # the posterior's model stays on the CPU
    x = x.to(first.device, dtype)

    def single(u_t: Tensor, t: float, chosen: slice) -> Tensor:
        rows = u_t.to(dtype).reshape(len(x), -1, u_t.shape[-1])
        own = x[:, :, chosen].flatten(1, 2).repeat_interleave(u_t.shape[-2], 1)
        return model(rows, own, own.new_full((1, 1, 1), t)).reshape(u_t.shape)

    return compose(single, items.shape[1], first.composition == "jac", information)


def _score(model: ScoreModel, x_o: Tensor, n: int, device: str, *, once: bool = False) -> Score:
    """Return the function score(u_t, t) of R replicates for u_t (R, m, n, d) on the device.

    Args:
        x_o: observations (R, m, dim_x), or their summaries.
        once: True if the function is called a single time, so that conditioning the model does not pay.
    """
    dtype = model.mlp.biases[-1].dtype
    x = x_o.to(device, dtype)
    if device != CPU:
        model = copy.deepcopy(model).to(device)  # the posterior's model stays on the CPU
    if n >= MANY_DRAWS and x.shape[2] >= WIDE_X and not once:
        model, x = condition(model, x), x[..., :0].flatten(0, 1).unsqueeze(1).expand(-1, n, -1)
    else:
        x = x.repeat_interleave(n, 1)

    def score(u_t: Tensor, t: float) -> Tensor:
        rows = u_t.to(dtype).reshape(*x.shape[:2], u_t.shape[-1])
        return model(rows, x, x.new_full((1, 1, 1), t)).reshape(u_t.shape)

    return score
