"""Pyro models as gray-box simulators: write the model, and the joint score follows.

A `PyroTask` defines `model`, a pyro model with one site "x", the data, which is drawn and not observed; every
other `pyro.sample` is a latent. Where p(x, z | θ) = Π_i p_i(v_i | v_1, ..., v_{i−1}, θ) over the sites i,

    joint score       ∇_θ log p(x, z | θ) = Σ_i ∇_θ log p_i(v_i | v_1, ..., v_{i−1}, θ),  all v_i held fixed,

by autograd, in the run that draws the v_i; see `tasks.pyro.messenger`. For a mean with an effect per group,

    class Groups(PyroTask):
        name, version, summary = "groups", 1, "Readings in groups, around a common mean."
        prior, dim_theta, dim_x = Normal(), 2, 5 * 8

        def model(self, theta):
            mean, log_scale = theta
            with pyro.plate("groups", 5, dim=-2):
                effect = pyro.sample("effect", dist.Normal(mean, torch.exp(log_scale)))
                with pyro.plate("readings", 8, dim=-1):
                    pyro.sample("x", dist.Normal(effect, 1.0))

(with `@dataclass(frozen=True)`). The model reads as for one θ, and runs for all n at once:

* `theta` unpacks into the d components, each (n, 1, 1, 1, 1): the simulations are pyro's outermost plate,
  and the four ones to the right are for the model's own plates. `theta.movedim(0, -1)` is θ as a vector.
* Values have the shape (n, ·, ·, ·, ·) and then that of the event. Rows must not be mixed.
* x is flattened to (n, dim_x), the last dimension fastest.
* Whatever is random must be a `pyro.sample`. `pyro.deterministic` may record values.

What has no joint score is answered with a `UserError`, at every run: supports that depend on θ, Delta sites,
factors, masks, scales, subsampled plates, `pyro.param`, and observed sites. A jump of the density where θ
passes a threshold cannot be seen, and makes the score wrong.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ..errors import UserError
from ..seeding import GLOBAL_GENERATORS
from ..task import Outcome, Task

if TYPE_CHECKING:
    from .messenger import JointDensity

DATA = "x"


class PyroTask(Task):
    """A task whose simulator is a pyro model; see the module.

    A subclass defines `prior`, `dim_theta`, `dim_x` and `model`.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score"})

    @abstractmethod
    def model(self, theta: Tensor) -> Any:
        """Draw the latents and the site "x" with `pyro.sample`, for θ (d, n, 1, 1, 1, 1)."""

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Run the model for each θ, (n, d); the latents are a dict of site name to value.

        Pyro draws from torch's global generator and from no other. It is seeded from `generator` for the run
        and set back afterwards, under `GLOBAL_GENERATORS`; a thread that draws from it without asking for
        that lock must not do so in between.

        Raises:
            UserError: pyro is missing, or the model has no joint score.
        """
        seed = int(torch.randint(2**63 - 1, (), generator=generator))
        with GLOBAL_GENERATORS, torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.default_generator.manual_seed(seed)
            point = theta.detach().requires_grad_()
            density = self._trace(point, None)
        if not density.log_prob.requires_grad:
            raise UserError(f"task {self.label}: the density of the model does not depend on θ.")
        (score,) = torch.autograd.grad(density.log_prob.sum(), point)
        x = density.values.pop(DATA).reshape(len(theta), -1)
        if x.shape[1] != self.dim_x:
            raise UserError(f"task {self.label}: dim_x is {self.dim_x}, but site {DATA!r} has {x.shape[1]}.")
        return Outcome(x.to(theta.dtype), score, latents=density.values)

    def log_joint(self, theta: Tensor, x: Tensor, latents: Mapping[str, Tensor]) -> Tensor:
        """Give log p(x, z | θ), (n,), at x and the latents of an `Outcome`."""
        return self._trace(theta, {**latents, DATA: x}).log_prob

    def _trace(self, theta: Tensor, given: Mapping[str, Tensor] | None) -> "JointDensity":
        try:
            from .messenger import JointDensity
        except ImportError as error:
            need = 'needs pyro: pip install "graybench[pyro]"'
            raise UserError(f"task {self.label} {need} ({error}).") from error
        density = JointDensity(self.label, len(theta), DATA, given)
        with GLOBAL_GENERATORS:  # pyro has one stack of handlers for all threads, too
            density.run(self.model, theta)
        return density
