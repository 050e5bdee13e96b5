"""Pyro models as gray-box simulators: the author writes the model, and the joint score follows."""

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
    """A task whose simulator is a pyro model.

    A subclass defines `prior`, `dim_theta`, `dim_x` and `model`. The site "x" is the data; every other
    `pyro.sample` is a latent. With p(x, z | θ) = Π_i p_i(v_i | v_1, …, v_{i−1}, θ) over the sites i,

        joint score       ∇_θ log p(x, z | θ) = Σ_i ∇_θ log p_i(v_i | v_1, …, v_{i−1}, θ) at fixed v_i,

    by autograd, in the same run that draws the v_i. A mean with an effect per group is

        class Groups(PyroTask):
            name, version, summary = "groups", 1, "Readings in groups around a common mean."
            prior, dim_theta, dim_x = Normal(), 2, 5 * 8
            structure = Items(5, Items(8), independent=True)

            def model(self, theta):
                mean, log_scale = theta
                with pyro.plate("groups", 5, dim=-2):
                    effect = pyro.sample("effect", dist.Normal(mean, torch.exp(log_scale)))
                    with pyro.plate("readings", 8, dim=-1):
                        pyro.sample("x", dist.Normal(effect, 1.0))

    The model is written as for one θ, and runs for all n at once:

    * `theta` unpacks into the d components, each (n, 1, 1, 1, 1). Simulations are pyro's outermost plate; the
      other four dimensions are for the model's own plates. `theta.movedim(0, -1)` is θ as a vector.
    * Values have the shape (n, ·, ·, ·, ·), followed by the shape of the event. The model must not mix rows.
    * x is flattened to (n, dim_x), the last dimension fastest.
    * Every random value must be a `pyro.sample`. `pyro.deterministic` may record values.

    Every run raises `UserError` for what has no joint score: supports that depend on θ, Delta sites, factors,
    masks, scales, subsampled plates, `pyro.param` and observed sites. A density that jumps where θ passes a
    threshold cannot be detected and makes the score wrong.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score"})

    @abstractmethod
    def model(self, theta: Tensor) -> Any:
        """Draw the latents and the site "x" with `pyro.sample`, for θ (d, n, 1, 1, 1, 1)."""

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Run the model for each θ, (n, d); the latents are a dict from site name to value.

        Pyro only draws from torch's global generator. The run holds the lock `GLOBAL_GENERATORS`, seeds that
        generator from `generator` and restores it afterwards. Threads that draw from it without the lock must
        not do so in between.

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
        """Return log p(x, z | θ), (n,), at x and the latents of an `Outcome`."""
        return self._trace(theta, {**latents, DATA: x}).log_prob

    def _trace(self, theta: Tensor, given: Mapping[str, Tensor] | None) -> "JointDensity":
        try:
            from .messenger import JointDensity
        except ImportError as error:
            need = 'needs pyro: pip install "graybench[pyro]"'
            raise UserError(f"task {self.label} {need} ({error}).") from error
        density = JointDensity(self.label, len(theta), DATA, given)
        with GLOBAL_GENERATORS:  # all threads share pyro's one stack of handlers
            density.run(self.model, theta)
        return density
