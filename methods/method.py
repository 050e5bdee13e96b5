"""The contract of a method: it fits posteriors to simulations and has no other access to the task.

    method.fit(simulations, seed) -> posterior
    posterior.sample(n, x_o, seed), posterior.score(u_t, x_o, t), posterior.log_prob(u, x_o)

Methods and posteriors work in the unconstrained space u. All random numbers derive from `seed`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ..tasks.errors import UserError
from ..tasks.plugin import Guard, Plugin, guard_methods, require_whole
from ..tasks.prior import Normal, Prior
from ..tasks.simulations import Simulations, fault_of_kind
from . import saving

if TYPE_CHECKING:
    from arviz import InferenceData

    from .views.sbi import SbiPosterior


ROUNDING = 1e-12  # relative to the largest value


class Posterior(ABC):
    """An amortised posterior p(u | x_o) for any observation x_o.

    Arguments and results are tensors on the CPU. Before a subclass's own code runs, `sample`, `score` and
    `log_prob` raise `UserError` for wrong arguments: x_o must be finite and have shape (m, dim_x).

    Attributes:
        dims: (d, dim_x), set by `Method.fit`; None if no method fitted the posterior.
        in_float32: whether x is used in float32, set by `Method.fit`.
        network_evaluations: number of network evaluations per sample; None if they are not counted.
        training_steps: number of training steps of the fit; None if they are not counted or were read.
        device: the device on which the posterior was fitted and computes.
        composes: whether x_o may hold any whole number k of blocks of dim_x components, (m, k · dim_x).
    """

    dims: tuple[int, int] | None = None
    in_float32: bool = False
    network_evaluations: int | None = None
    training_steps: int | None = None
    device: str = "cpu"
    composes: bool = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        guard_methods(
            cls, {"sample": cls._check_sample, "score": cls._check_score, "log_prob": cls._check_log_prob}
        )

    @abstractmethod
    def sample(self, n: int, x_o: Tensor, seed: int) -> Tensor:
        """Draw n samples of u for each observation.

        Args:
            n: number of samples for each observation.
            x_o: observations (m, dim_x).
            seed: the only source of randomness.

        Returns:
            The samples (m, n, d).
        """

    def score(self, u_t: Tensor, x_o: Tensor, t: float) -> Tensor:
        """Return the score ∇ log p_t(u_t | x_o) of the diffused posterior.

        Args:
            u_t: points (m, n, d).
            x_o: observations (m, dim_x).
            t: diffusion time, a number in [0, 1].

        Returns:
            The scores (m, n, d).

        Raises:
            UserError: an argument is wrong, or the score was not learned for t.
            NotImplementedError: the posterior has no score.
        """
        raise NotImplementedError(f"{type(self).__name__} has no score")

    def log_prob(self, u: Tensor, x_o: Tensor) -> Tensor:
        """Return the log-density log p(u | x_o).

        Args:
            u: points (m, n, d).
            x_o: observations (m, dim_x).

        Returns:
            The log-densities (m, n).

        Raises:
            NotImplementedError: the posterior has no density.
        """
        raise NotImplementedError(f"{type(self).__name__} has no log_prob")

    def _check_sample(self, n: int, x_o: Tensor, *rest: object, **named: object) -> None:
        require_whole(f"{type(self).__name__}: the number of samples", n, 0)
        self._check_observations(x_o)

    def _check_score(self, u_t: Tensor, x_o: Tensor, t: float) -> None:
        self._check_log_prob(u_t, x_o)
        who = type(self).__name__
        if not isinstance(t, Real):
            kind = type(t).__name__
            raise UserError(f"{who}: the diffusion time t must be a number, but is a {kind}: use float(t).")
        if not 0 <= t <= 1:
            raise UserError(f"{who}: the diffusion time t must be from 0 to 1, but is {t}.")

    def _check_log_prob(self, u: Tensor, x_o: Tensor) -> None:
        self._check_observations(x_o)
        d = "d" if self.dims is None else self.dims[0]
        if not isinstance(u, Tensor) or u.ndim != 3 or len(u) != len(x_o) or d not in ("d", u.shape[2]):
            got = f"shape {tuple(u.shape)}" if isinstance(u, Tensor) else type(u).__name__
            raise UserError(f"u must be a tensor of shape ({len(x_o)}, n, {d}), but has {got}.")

    def _check_observations(self, x_o: Tensor) -> None:
        """Raise `UserError` unless x_o is a tensor of finite observations (m, dim_x)."""
        dim_x = "dim_x" if self.dims is None else self.dims[1]
        if not isinstance(x_o, Tensor):
            raise UserError(f"x_o must be a tensor of shape (m, {dim_x}), but is a {type(x_o).__name__}.")
        if (
            self.composes
            and isinstance(dim_x, int)
            and (x_o.ndim != 2 or not x_o.shape[1] or x_o.shape[1] % dim_x)
        ):
            got = f"has shape {tuple(x_o.shape)}"
            raise UserError(f"x_o must have shape (m, k · {dim_x}) for k blocks of items, but {got}.")
        if x_o.ndim != 2 or not (self.composes or dim_x in ("dim_x", x_o.shape[1])):
            one = x_o.ndim == 1 and dim_x in ("dim_x", len(x_o))
            hint = f"; give one observation as x_o.unsqueeze(0), (1, {dim_x})" if one else ""
            raise UserError(f"x_o must have shape (m, {dim_x}), but has shape {tuple(x_o.shape)}{hint}.")
        if fault := fault_of_kind(x_o):
            raise UserError(f"x_o {fault}.")
        for where, values in (("", x_o), (" in float32", x_o.float() if self.in_float32 else x_o)):
            finite = torch.isfinite(values).all(1)
            if not finite.all():
                row = int((~finite).nonzero()[0])
                raise UserError(f"x_o must be finite{where}, but observation {row} is not.")

    def evaluations(self, x_o: Tensor) -> int | None:
        """Return the number of network evaluations per sample given x_o; None if they are not counted."""
        return self.network_evaluations

    def _describe(self, dims: tuple[int, int], in_float32: bool) -> None:
        object.__setattr__(self, "dims", dims)  # a subclass may be a frozen dataclass
        object.__setattr__(self, "in_float32", in_float32)

    def state(self) -> "PosteriorState | None":
        """Return the tensors and facts from which `Method.restore` makes the posterior, or None."""
        return None

    def save(self, folder: Path | str, allow_pickle: bool = False) -> None:
        """Write the posterior into `folder`, for `load_posterior`.

        A posterior with a `state` is written as tensors and JSON; any other can only be pickled.

        Args:
            folder: created if needed; a posterior saved there before is replaced.
            allow_pickle: True pickles a posterior without a `state`.

        Raises:
            UserError: the posterior has no `state` and `allow_pickle` is False, or it cannot be written.
        """
        state, folder = self.state(), Path(folder)
        if state is not None:
            made, facts = state.method, dict(state.facts)
            saving.write(folder, made.name, made.options(), self.dims, facts, state.tensors)
        elif allow_pickle:
            saving.write_pickle(folder, self)
        else:
            raise UserError(
                f"{type(self).__name__} has no form in tensors and JSON: pickle it with "
                "save(folder, allow_pickle=True), for readers who trust you."
            )

    def as_sbi(self, prior: Prior | None = None) -> "SbiPosterior":
        """Return the posterior in the form that sbi's run_sbc, run_tarp, LC2ST and pairplot take.

        Its samples are θ = T(u) with the T of `prior`, as in `posterior.as_sbi(task.prior)`. Without a prior
        its samples are u.

        Raises:
            UserError: sbi is not installed.
        """
        try:
            from .views.sbi import SbiPosterior
        except ImportError as error:
            raise UserError(f"as_sbi needs sbi: run `pip install 'graybench[sbi]'` ({error}).") from error
        return SbiPosterior(self.sample, self.log_prob, Normal() if prior is None else prior)

    def as_arviz(self, n: int, x_o: Tensor, seed: int, prior: Prior | None = None) -> "InferenceData":
        """Draw n samples for one observation x_o (dim_x,), as one chain of ArviZ.

        Returns:
            The group `posterior` holds the samples (1, n, d) with the dimensions chain, draw and parameter:
            "theta" = T(u) with the T of `prior`, or "u" without a prior. The group `observed_data` holds "x"
            with the dimension component.

        Raises:
            UserError: ArviZ is not installed, or x_o is not one observation.
        """
        try:
            from .views.arviz import inference_data
        except ImportError as error:
            raise UserError(
                f"as_arviz needs ArviZ: run `pip install 'graybench[arviz]'` ({error})."
            ) from error
        if x_o.ndim != 1:
            raise UserError(f"as_arviz takes one observation (dim_x,), but x_o has shape {tuple(x_o.shape)}.")
        u = self.sample(n, x_o.unsqueeze(0), seed)[0].detach()
        if prior is None:
            return inference_data("u", u, x_o)
        return inference_data("theta", prior.to_theta(u.double()), x_o)


@dataclass(frozen=True)
class PosteriorState:
    """A posterior as tensors and facts, which run no code when they are read.

    Attributes:
        method: the method that restores the posterior, with its options.
        tensors: tensors by name.
        facts: further values, as JSON without NaN.
    """

    method: "Method"
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def tensor(self, name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the tensor `name`.

        Raises:
            UserError: it is missing, or has another shape or dtype.
        """
        if name not in self.tensors:
            raise UserError(f"there is no tensor {name}.")
        found = self.tensors[name]
        if (found.shape, found.dtype) != (shape, dtype):
            own = f"{tuple(found.shape)} and {found.dtype}"
            raise UserError(f"tensor {name} must have shape {shape} and {dtype}, but has {own}.")
        return found


def required_field(method: str, simulations: Simulations, field: str) -> Tensor:
    """Return the scores or Hessians of simulations, which a method needs.

    Args:
        method: the name of the method, for the message.
        simulations: n simulations.
        field: "joint_score", "marginal_score" or "joint_hessian".

    Raises:
        UserError: the simulations lack them.
    """
    found: Tensor | None = getattr(simulations, field)
    if found is None:
        source = "use a task with the capability joint_score"
        remedy = source if field == "joint_score" else f"simulate with {field}=True"
        raise UserError(f"method {method} needs simulations with a {field}: {remedy}.")
    return found


def _range(x: Tensor) -> Tensor:
    """Return the range of each column of x (n, dim_x), or 0 if it is within float64 rounding: (dim_x,)."""
    found = x.amax(0) - x.amin(0)
    return torch.where(found > ROUNDING * x.abs().amax(0), found, torch.zeros_like(found))


class Method(Plugin, defines_contract=True):
    """A way to fit posteriors. Annotated fields are its options, see `Plugin`.

    The simulations passed to `fit` and `fit_replicates` are checked before a subclass's own code runs.

    Attributes:
        requires: capabilities that a task must have; the runner passes on the corresponding fields only.
        least_simulations: the smallest budget.
        in_float32: whether the method learns x in float32.
        composes: whether its posteriors take observations of any number of blocks of items, each of the size
            that was simulated.
    """

    requires: ClassVar[frozenset[str]] = frozenset()
    least_simulations: ClassVar[int] = 1
    in_float32: ClassVar[bool] = False

    @property
    def composes(self) -> bool:
        return False

    @abstractmethod
    def fit(self, simulations: Simulations, seed: int) -> Posterior:
        """Fit a posterior to training simulations.

        Args:
            simulations: n simulations; the budget is n.
            seed: the only source of randomness.

        Raises:
            UserError: a field has a wrong shape or dtype, n is below `least_simulations`, or x does not fit
                into the float32 in which the method learns.
            NotFiniteError: a number is NaN or infinite.
        """

    def fit_replicates(self, simulations: Sequence[Simulations], seeds: Sequence[int]) -> list[Posterior]:
        """Fit one posterior for each replicate, from its own simulations and seed."""
        return [self.fit(s, seed) for s, seed in zip(simulations, seeds, strict=True)]

    def restore(self, state: PosteriorState, dims: tuple[int, int]) -> Posterior:
        """Return the posterior of a saved `state` and `dims`; their content may come from anybody.

        Raises:
            UserError: a tensor or a fact is missing or wrong.
        """
        raise UserError(f"method {self.name} cannot restore a posterior from tensors and JSON.")

    def sample_replicates(
        self, posteriors: Sequence[Posterior], n: int, x_o: Tensor, seeds: Sequence[int]
    ) -> Tensor:
        """Draw n samples from each replicate's posterior for each observation: (replicates, m, n, d)."""
        drawn = [p.sample(n, x_o, seed) for p, seed in zip(posteriors, seeds, strict=True)]
        return torch.stack(drawn)

    def _check_fit(self, simulations: Simulations, *rest: object, **named: object) -> Callable[[Any], None]:
        self._check_simulations(simulations)
        return lambda posterior: self._set_dims(posterior, simulations)

    def _check_fit_replicates(
        self, simulations: Sequence[Simulations], *rest: object, **named: object
    ) -> Callable[[Any], None]:
        for replicate in simulations:
            self._check_simulations(replicate)

        def set_dims(posteriors: Sequence[Any]) -> None:
            for posterior, replicate in zip(posteriors, simulations, strict=True):
                self._set_dims(posterior, replicate)

        return set_dims

    def _check_sample_replicates(
        self, posteriors: Sequence[Posterior], n: int, x_o: Tensor, *rest: object, **named: object
    ) -> None:
        for posterior in posteriors:
            posterior._check_sample(n, x_o)

    guards: ClassVar[Mapping[str, Guard]] = {
        "fit": _check_fit,
        "fit_replicates": _check_fit_replicates,
        "sample_replicates": _check_sample_replicates,
    }

    def _set_dims(self, posterior: Any, simulations: Simulations) -> None:
        if not isinstance(posterior, Posterior):
            kind = type(posterior).__name__
            raise TypeError(f"method {self.name}: fit must return a Posterior, but returns a {kind}")
        posterior._describe((simulations.u.shape[1], simulations.x.shape[1]), self.in_float32)

    def _check_simulations(self, simulations: Simulations) -> None:
        if not isinstance(simulations, Simulations):
            kind = type(simulations).__name__
            raise UserError(f"method {self.name}: fit takes Simulations, but got a {kind}.")
        seen = simulations.only(self.requires)
        seen.check_tensors()
        if len(simulations) < self.least_simulations:
            least, n = self.least_simulations, len(simulations)
            raise UserError(f"method {self.name} needs {least} simulations or more, but has {n}.")
        seen.check_finite()
        if self.in_float32:
            self._check_float32(simulations.x)

    def _check_float32(self, x: Tensor) -> None:
        single = x.float()
        finite = torch.isfinite(single).all(0)
        if not finite.all():
            column = int((~finite).nonzero()[0])
            raise UserError(
                f"method {self.name} learns in float32, which ends at 3.4e38: divide column {column} of x by "
                "a constant."
            )
        kept = _range(single).gt(0) | _range(x.double()).eq(0)
        if not kept.all():
            column = int((~kept).nonzero()[0])
            raise UserError(
                f"method {self.name} learns in float32, where column {column} of x does not vary: "
                "subtract a constant from it."
            )
