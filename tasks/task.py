"""The contract of a task: a prior, a simulator with joint scores, observations and references.

An author writes `simulator` in θ and returns an `Outcome`. `Task.simulate` turns outcomes into `Simulations`
in the unconstrained space u, where methods work.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from .curvature import NOT_DIFFERENTIABLE, curvature
from .errors import UserError
from .plugin import Guard, Plugin, require_choice, require_whole
from .prior import Prior
from .reference import Reference
from .seeding import derive_seed, generator
from .simulations import Observations, Simulations, fault_of_kind, joined_simulations
from .structure import Items, Structure, Vector, require_structure

if TYPE_CHECKING:
    from .sbibm_view import SbibmView

CAPABILITIES = frozenset({"joint_hessian", "joint_score", "marginal_score", "reference", "sde_path"})
REFERENCE_KINDS = ("exact", "sampled", "frozen")

FIRST_BLOCK, LARGEST_BLOCK = 128, 65_536


class Outcome(NamedTuple):
    """The result of n simulator runs.

    Attributes:
        x: data, (n, dim_x).
        joint_score: ∇_θ log p(x, z | θ) at the latents z of each run, without the prior, (n, dim_theta).
        model: the known SDE of a diffusion task, with the capability `sde_path`.
        latents: z of each run, in the form that `Task.log_joint` takes. Checks read it; methods never do.
    """

    x: Tensor
    joint_score: Tensor | None = None
    model: Any = None
    latents: Any = None


class Task(Plugin, defines_contract=True):
    """A gray-box simulator with a prior, observations and, where possible, a reference posterior.

    A subclass sets `name`, `version`, `summary` and `capabilities`, and defines `prior`, `dim_theta`, `dim_x`
    and `simulator`. Its annotated fields are its options, see `Plugin`. `reference` checks its argument
    before the subclass's own code runs.

    Attributes:
        capabilities: what the task provides: "joint_score", "marginal_score", "reference", "sde_path".
            "joint_hessian" is added if the task has joint scores and defines `log_joint`.
        reference_kind: "exact", a closed form or quadrature, fast for any x; "sampled", importance draws for
            any x, in seconds; "frozen", stored draws for the task's own observations only.
        n_observations: number of observations.
        observation_seed: names the random stream of the observations.
        items_option: the option that sets the number of items that are independent given θ; None without any.
    """

    required: ClassVar[tuple[str, ...]] = (*Plugin.required, "capabilities")

    capabilities: ClassVar[frozenset[str]]
    reference_kind: ClassVar[str] = "exact"
    n_observations: ClassVar[int] = 10
    observation_seed: ClassVar[int] = 0
    items_option: ClassVar[str | None] = None

    def __init_subclass__(cls, **keywords: Any) -> None:
        for capability in vars(cls).get("capabilities", ()):
            require_choice(f"task {cls.__name__}", "capability", capability, CAPABILITIES)
        if cls.log_joint is not Task.log_joint and "joint_score" in getattr(cls, "capabilities", ()):
            cls.capabilities = cls.capabilities | {"joint_hessian"}
        require_choice(f"task {cls.__name__}", "reference_kind", cls.reference_kind, REFERENCE_KINDS)
        super().__init_subclass__(**keywords)

    @property
    @abstractmethod
    def prior(self) -> Prior:
        """The prior over θ."""

    @property
    @abstractmethod
    def dim_theta(self) -> int:
        """The number d of parameters."""

    @property
    @abstractmethod
    def dim_x(self) -> int:
        """The number of components of the data."""

    @property
    def structure(self) -> Structure:
        """What a row of x is made of; a vector unless a subclass declares more."""
        return Vector(self.dim_x)

    @property
    def n_items(self) -> int:
        """The number of items in a row of x that are independent given θ.

        Raises:
            UserError: the task has no option that sets it.
        """
        structure = self.structure
        if self.items_option is None or not isinstance(structure, Items) or not structure.independent:
            raise UserError(f"task {self.label} has no option for a number of items independent given θ.")
        return structure.n

    def with_items(self, n: int) -> Self:
        """Return the same task with n items in a row of x, and the same θ in simulations of the same seed.

        Raises:
            UserError: the task has no option that sets the number of items, or n is not possible.
        """
        if self.n_items == n:
            return self
        assert self.items_option is not None
        changed: dict[str, Any] = {self.items_option: n}
        return replace(self, **changed)

    @abstractmethod
    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Run the simulator once for each row of θ.

        Args:
            theta: parameters, (n, dim_theta), float64.
            generator: the only source of random numbers.

        Returns:
            Data, joint scores and latents; row i belongs to row i of θ.
        """

    def marginal_score(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return ∇_θ log p(x | θ), (n, d), for θ (n, d) and x (n, dim_x); capability `marginal_score`.

        Raises:
            UserError: the task has no marginal score.
        """
        raise UserError(f"task {self.label} has no marginal score; its likelihood is not tractable.")

    def log_joint(self, theta: Tensor, x: Tensor, latents: Any) -> Tensor:
        """Return log p(x, z | θ), (n,), at the x and latents of an `Outcome`; optional.

        The conformance checks compare the joint score with differences of this density, and `joint_hessian`
        is its second derivative. It works in float64 and is differentiable in θ by autograd. It may omit
        terms that do not depend on θ.

        Raises:
            UserError: the task does not define it.
        """
        raise UserError(f"task {self.label} does not expose its joint density.")

    def reference(self, x_o: Tensor) -> Reference:
        """Return the posterior p(u | x_o) of one observation, (dim_x,); capability `reference`.

        Raises:
            UserError: x_o is not one finite observation, or the task has no reference posterior.
        """
        raise UserError(f"task {self.label} has no reference posterior.")

    def _check_reference(self, x_o: Tensor) -> Callable[[Any], None]:
        """Raise `UserError` unless x_o is one finite observation, (dim_x,)."""
        if not isinstance(x_o, Tensor) or tuple(x_o.shape) != (self.dim_x,):
            got = f"shape {tuple(x_o.shape)}" if isinstance(x_o, Tensor) else type(x_o).__name__
            raise UserError(
                f"task {self.label}: reference takes one observation, a tensor of shape ({self.dim_x},), "
                f"but x_o has {got}."
            )
        if not torch.isfinite(x_o).all():
            raise UserError(f"task {self.label}: the observation {x_o.tolist()} is not finite.")

        def check_kind(found: Any) -> None:
            if not isinstance(found, Reference):
                kind = type(found).__name__
                raise TypeError(f"task {self.label}: reference must return a Reference, but returns a {kind}")

        return check_kind

    guards: ClassVar[Mapping[str, Guard]] = {"reference": _check_reference}

    def simulate(
        self, n: int, seed: int, *, marginal_score: bool = False, joint_hessian: bool = False
    ) -> Simulations:
        """Draw n parameters from the prior and run the simulator on each.

        Simulations are drawn in blocks. Block sizes do not depend on n and each block has its own generator,
        so `simulate(100, seed)` equals the first 100 rows of `simulate(1000, seed)`.

        Args:
            n: number of simulations, at least 1.
            seed: names the random stream.
            marginal_score: also compute `marginal_score`, which often costs more than simulating.
            joint_hessian: also compute `joint_hessian`, from 2 d gradients of `log_joint`.

        Raises:
            UserError: n is below 1, the structure has another size than dim_x, or `log_joint` is missing or
                cannot be differentiated.
            TypeError: the simulator returned no `Outcome`.
            ValueError: the simulator or `marginal_score` returned a tensor of a wrong shape or kind.
        """
        n = require_whole(f"task {self.label}: the number of simulations", n, 1)
        blocks = []
        for index, size in enumerate(_block_sizes(n)):
            random = generator(derive_seed(seed, "block", index))
            u = torch.randn(size, self.dim_theta, generator=random, dtype=torch.float64)
            blocks.append(self._run(u, random, joint_hessian))
        joined = joined_simulations(blocks)[:n]
        if not marginal_score:
            return joined
        score = self.marginal_score(joined.theta, joined.x)
        self._check_tensor("the result of marginal_score", score, joined.u.shape)
        return replace(joined, marginal_score=self.prior.score_in_u(joined.u, score))

    def simulate_at(self, theta: Tensor, seed: int) -> Simulations:
        """Run the simulator at given parameters θ, (n, d), of any real dtype.

        Raises:
            UserError: θ has another shape, or a row lies outside the prior's support.
            TypeError: the simulator returned no `Outcome`.
            ValueError: the simulator returned a tensor of a wrong shape or kind.
        """
        if theta.ndim != 2 or theta.shape[1] != self.dim_theta:
            shape = tuple(theta.shape)
            raise UserError(f"task {self.label}: theta must have shape (n, {self.dim_theta}), not {shape}.")
        u = self.prior.to_u(theta.double())
        outside = ~torch.isfinite(u).all(1)
        if outside.any():
            row = int(outside.nonzero()[0])
            where = f"theta {theta[row].tolist()} of row {row}"
            raise UserError(f"task {self.label}: {where} is not inside the prior's support.")
        return self._run(u, generator(seed))

    def observations(self) -> Observations:
        """Return the task's observations with their true parameters; the same in every run."""
        drawn = self.simulate(self.n_observations, derive_seed(self.observation_seed, "observations"))
        return Observations(drawn.x, drawn.theta, drawn.u)

    def data_digest(self) -> str:
        """Return the SHA-256 of the data files that the task reads, or an empty string without files."""
        return ""

    def as_sbibm(self) -> "SbibmView":
        """Return this task with sbibm's interface, in θ and float32."""
        from .sbibm_view import SbibmView

        return SbibmView(self)

    def _run(self, u: Tensor, random: torch.Generator, joint_hessian: bool = False) -> Simulations:
        theta = self.prior.to_theta(u)
        outcome, n = self.simulator(theta, random), len(u)
        if not isinstance(outcome, Outcome):
            raise TypeError(
                f"task {self.label}: the simulator must return an Outcome, not {type(outcome).__name__}"
            )
        self._check_tensor("x of the simulator", outcome.x, (n, self.dim_x))
        score = outcome.joint_score
        if "joint_score" in self.capabilities:
            self._check_tensor("joint_score of the simulator", score, (n, self.dim_theta))
        joint = None if score is None else self.prior.score_in_u(u, score.to(u.dtype))
        structure = require_structure(f"task {self.label}", self.structure, self.dim_x)
        hessian = self._hessian(u, outcome) if joint_hessian else None
        return Simulations(u, theta, outcome.x, joint, None, outcome.model, structure, hessian)

    def _hessian(self, u: Tensor, outcome: Outcome) -> Tensor:
        if "joint_hessian" not in self.capabilities:
            raise UserError(f"task {self.label} has no Hessians: they need joint scores and `log_joint`.")
        if outcome.latents is None:
            raise UserError(f"task {self.label}: the simulator must return latents for `joint_hessian`.")

        def log_density(point: Tensor) -> Tensor:
            theta = self.prior.to_theta(point)
            joint = self.log_joint(theta, outcome.x, outcome.latents)
            if not joint.requires_grad:
                raise UserError(f"task {self.label}: `log_joint` {NOT_DIFFERENTIABLE}.")
            return joint - 0.5 * point.square().sum(1)

        return curvature(log_density, u)

    def _check_tensor(self, what: str, value: Any, expected: tuple[int, ...]) -> None:
        """Raise `ValueError` unless what the task's own code returned is a tensor of the expected shape."""
        kind, shape = type(value).__name__, tuple(expected)
        if not isinstance(value, Tensor) or tuple(value.shape) != shape:
            got = f"has shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"is a {kind}"
            raise ValueError(f"task {self.label}: {what} must be a tensor of shape {shape}, but {got}")
        if fault := fault_of_kind(value):
            raise ValueError(f"task {self.label}: {what} {fault}")


def _block_sizes(n: int) -> Iterator[int]:
    """Yield 128, 128, 256, 512, ... up to blocks of 65,536, until n rows are covered."""
    covered = 0
    while covered < n:
        size = min(max(covered, FIRST_BLOCK), LARGEST_BLOCK)
        yield size
        covered += size
