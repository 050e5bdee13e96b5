"""The contract of a method: it turns simulations into posteriors, and sees nothing else.

    method.fit(simulations, seed) -> posterior
    posterior.sample(n, x_o, seed), posterior.score(u_t, x_o, t), posterior.log_prob(u, x_o)

All of it happens in the unconstrained space u. A method draws random numbers from `seed` alone.
"""

import pickle
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ..tasks.errors import UserError
from ..tasks.plugin import Plugin
from ..tasks.prior import Normal, Prior
from ..tasks.task import Simulations

if TYPE_CHECKING:
    from arviz import InferenceData

    from .views.sbi import SbiPosterior


PICKLED = "posterior.pickle"
ROUNDING = 1e-12  # relative to the largest value


class Posterior(ABC):
    """An amortised posterior: it answers for any observation.

    Tensors are taken and given on the CPU, and observations are to pass `require_observations`.
    `network_evaluations` is the number of network evaluations behind one sample, None where nobody counts
    them, and `device` where it was fitted and computes.
    """

    network_evaluations: int | None = None
    device: str = "cpu"

    @abstractmethod
    def sample(self, n: int, x_o: Tensor, seed: int) -> Tensor:
        """Draw n samples of u for each observation: x_o (m, dim_x) gives (m, n, d)."""

    def score(self, u_t: Tensor, x_o: Tensor, t: float) -> Tensor:
        """Give ∇ log p_t(u_t | x_o) at diffusion time t for u_t (m, n, d) and x_o (m, dim_x): (m, n, d)."""
        raise NotImplementedError(f"{type(self).__name__} has no score")

    def log_prob(self, u: Tensor, x_o: Tensor) -> Tensor:
        """Give log p(u | x_o) for u (m, n, d) and x_o (m, dim_x): (m, n)."""
        raise NotImplementedError(f"{type(self).__name__} has no log_prob")

    def save(self, folder: Path | str) -> None:
        """Write the posterior into `folder`, which is made if need be, for `methods.load_posterior`.

        It is pickled; a subclass whose state is a few tensors does better to write them, with a
        `posterior.json` that names its method and options, and to give that method a `load`.

        Raises:
            UserError: it holds something that cannot be pickled.
        """
        try:
            pickled = pickle.dumps(self)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            name = type(self).__name__
            raise UserError(f"{name} cannot be pickled, so give it a `save` of its own: {error}") from error
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PICKLED).write_bytes(pickled)

    def as_sbi(self, prior: Prior | None = None) -> "SbiPosterior":
        """Give this posterior as sbi's tools take it: run_sbc, run_tarp, LC2ST, pairplot.

        Its samples are θ = T(u) under `prior`, as in `posterior.as_sbi(task.prior)`, or u without one.

        Raises:
            UserError: sbi is not installed.
        """
        try:
            from .views.sbi import SbiPosterior
        except ImportError as error:
            raise UserError(f"as_sbi needs sbi: run `pip install 'graybench[sbi]'` ({error}).") from error
        return SbiPosterior(self.sample, self.log_prob, Normal() if prior is None else prior)

    def as_arviz(self, n: int, x_o: Tensor, seed: int, prior: Prior | None = None) -> "InferenceData":
        """Draw n samples for one observation x_o, (dim_x,), as one chain of ArviZ.

        The group `posterior` holds "theta", which is T(u) under `prior`, or "u" without one, of shape
        (1, n, d) in the dimensions chain, draw and parameter; `observed_data` holds "x" along `component`.

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


def require_observations(x_o: Tensor, dim_x: int) -> None:
    """Raise `UserError` unless x_o holds finite observations of a posterior's data, (m, dim_x)."""
    if not isinstance(x_o, Tensor):
        raise UserError(f"x_o must be a tensor of shape (m, {dim_x}), but is a {type(x_o).__name__}.")
    if x_o.ndim != 2 or x_o.shape[1] != dim_x:
        hint = f"; give one observation as x_o.unsqueeze(0), (1, {dim_x})" if x_o.shape == (dim_x,) else ""
        raise UserError(f"x_o must have shape (m, {dim_x}), but has shape {tuple(x_o.shape)}{hint}.")
    finite = torch.isfinite(x_o).all(1)
    if not finite.all():
        raise UserError(f"x_o must be finite, but observation {int((~finite).nonzero()[0])} is not.")


def _range(x: Tensor) -> Tensor:
    """Give by how much each column of x (n, dim_x) varies, 0 where that is rounding in float64: (dim_x,)."""
    found = x.amax(0) - x.amin(0)
    return torch.where(found > ROUNDING * x.abs().amax(0), found, torch.zeros_like(found))


class Method(Plugin):
    """A way to fit posteriors. A subclass is a frozen dataclass whose fields are its options.

    `requires` names the capabilities that a task must have; the runner hands over only those fields.
    `least_simulations` is the least budget, and `in_float32` says that it learns x in float32.
    """

    requires: ClassVar[frozenset[str]] = frozenset()
    least_simulations: ClassVar[int] = 1
    in_float32: ClassVar[bool] = False

    @abstractmethod
    def fit(self, simulations: Simulations, seed: int) -> Posterior:
        """Fit a posterior to training simulations, after `check_simulations`."""

    def check_simulations(self, simulations: Simulations) -> None:
        """Check that the method can be fitted to training simulations, by the fields that it sees.

        Raises:
            UserError: a field has a wrong shape; or they are fewer than `least_simulations`; or the method
                learns `in_float32`, where a column of x becomes constant that is not.
            NotFiniteError: a number is NaN or infinite.
        """
        seen = simulations.only(self.requires)
        seen.check_shapes()
        if len(simulations) < self.least_simulations:
            least, n = self.least_simulations, len(simulations)
            raise UserError(f"method {self.name} needs {least} simulations or more, but has {n}.")
        seen.check_finite()
        if self.in_float32:
            kept = _range(simulations.x.float()).gt(0) | _range(simulations.x.double()).eq(0)
            if not kept.all():
                column = int((~kept).nonzero()[0])
                raise UserError(
                    f"method {self.name} learns in float32, where column {column} of x does not vary: "
                    "subtract a constant from it."
                )

    def fit_replicates(self, simulations: Sequence[Simulations], seeds: Sequence[int]) -> list[Posterior]:
        """Fit one posterior for each replicate, each from its own simulations and seed."""
        return [self.fit(s, seed) for s, seed in zip(simulations, seeds, strict=True)]

    def load(self, folder: Path) -> Posterior:
        """Read what a `save` of this method's own wrote to `folder`, beside a `posterior.json`."""
        raise NotImplementedError(f"{self.name} has no `load`")

    def sample_replicates(
        self, posteriors: Sequence[Posterior], n: int, x_o: Tensor, seeds: Sequence[int]
    ) -> Tensor:
        """Sample every replicate's posterior for all observations: (replicates, m, n, d)."""
        drawn = [p.sample(n, x_o, seed) for p, seed in zip(posteriors, seeds, strict=True)]
        return torch.stack(drawn)
