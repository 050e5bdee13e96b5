"""The contract of a task: a prior, a simulator that reports joint scores, observations and references.

An author writes `simulator(theta, generator)` in θ and states in `capabilities` what the task can offer.
`Task` turns that into `Simulations` in the unconstrained space u, where methods work.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from .errors import NotFiniteError, UserError
from .plugin import Guard, Plugin, nearest, require_whole
from .prior import Prior
from .reference import Reference
from .seeding import derive_seed, generator

if TYPE_CHECKING:
    from .sbibm_view import SbibmView

CAPABILITIES = frozenset({"joint_score", "marginal_score", "reference", "sde_path"})
REFERENCE_KINDS = ("exact", "sampled", "frozen")

FIRST_BLOCK, LARGEST_BLOCK = 128, 65_536


class Outcome(NamedTuple):
    """What one batch of n simulator runs returns.

    Attributes:
        x: data, (n, dim_x).
        joint_score: ∇_θ log p(x, z | θ) at the latents z of each run, (n, dim_theta), without the prior.
        model: the known SDE of a diffusion task with the capability `sde_path`.
        latents: z of each run, in the form that `Task.log_joint` takes. Only checks read it; no method does.
    """

    x: Tensor
    joint_score: Tensor | None = None
    model: Any = None
    latents: Any = None


@dataclass(frozen=True)
class Simulations:
    """A batch of n simulations, batch first. Scores are in u, with the prior's share included.

    `simulations[:100]` are the first 100 of them; a tensor of row numbers or a mask selects rows too.

    Attributes:
        u: unconstrained parameters, (n, d).
        theta: the same as θ = T(u), (n, d).
        x: data, (n, dim_x).
        joint_score: ∇_u log p(u, x, z) = −u + (∂θ/∂u)ᵀ ∇_θ log p(x, z | θ), (n, d).
        marginal_score: ∇_u log p(u | x) = −u + (∂θ/∂u)ᵀ ∇_θ log p(x | θ), (n, d).
        model: the known SDE of a diffusion task, for methods that need it; not a tensor.
    """

    u: Tensor
    theta: Tensor
    x: Tensor
    joint_score: Tensor | None = None
    marginal_score: Tensor | None = None
    model: Any = None

    def __len__(self) -> int:
        return len(self.u)

    def __getitem__(self, rows: slice | Tensor | list[int]) -> "Simulations":
        if not isinstance(rows, slice | Tensor | list) or (isinstance(rows, Tensor) and rows.ndim != 1):
            raise UserError(
                f"Simulations[{rows!r}]: take rows by a slice, a list or a one-dimensional tensor; "
                "row i alone is Simulations[i : i + 1]."
            )
        return replace(self, **{name: tensor[rows] for name, tensor in self.tensors()})

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and value of every field that holds a tensor."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                yield field.name, value

    def only(self, requires: frozenset[str]) -> "Simulations":
        """Keep u, θ and x, and of the rest what `requires` names, so that a method sees what it declares."""
        return replace(
            self,
            joint_score=self.joint_score if "joint_score" in requires else None,
            marginal_score=self.marginal_score if "marginal_score" in requires else None,
            model=self.model if "sde_path" in requires else None,
        )

    def check_tensors(self) -> None:
        """Raise `UserError` for the first tensor of a wrong shape or kind."""
        n, d = self.u.shape if self.u.ndim == 2 else (len(self), "d")
        for name, tensor in self.tensors():
            columns = "dim_x" if name == "x" else d
            wide = tensor.ndim == 2 and (name == "x" or tensor.shape[1] == d)
            if not wide or len(tensor) != n:
                shape = tuple(tensor.shape)
                raise UserError(
                    f"{name} of the simulations must have shape ({n}, {columns}), but has {shape}."
                )
            if fault := fault_of_kind(tensor):
                raise UserError(f"{name} of the simulations {fault}.")

    def check_finite(self) -> None:
        """Raise `NotFiniteError`, naming the first field and row, if any number is NaN or infinite."""
        for name, tensor in self.tensors():
            finite = torch.isfinite(tensor).flatten(1).all(1)
            if not finite.all():
                row, bad = int((~finite).nonzero()[0]), int((~finite).sum())
                raise NotFiniteError(f"{name} of simulation {row} is not finite ({bad} such rows)")


def fault_of_kind(tensor: Tensor) -> str | None:
    """Return what is wrong with the kind of a tensor of data or scores, as the end of a sentence, or None.

    Right is a dense tensor of real numbers on the CPU that no autograd graph hangs on.
    """
    if tensor.requires_grad:
        return "is attached to an autograd graph: detach it"
    if tensor.dtype.is_complex or tensor.dtype == torch.bool or tensor.is_quantized:
        return f"has dtype {tensor.dtype}: convert it to real numbers"
    if tensor.device.type != "cpu" or tensor.layout != torch.strided:
        return f"is a {tensor.layout} tensor on {tensor.device}: it must be dense and on the CPU"
    return None


class Observations(NamedTuple):
    """Observed data x, (n, dim_x), and the true parameters they were simulated from, θ and u, (n, d)."""

    x: Tensor
    theta: Tensor
    u: Tensor


class Task(Plugin, defines_contract=True):
    """A gray-box simulator with a prior, observations and, where there is one, a reference posterior.

    A subclass sets `name`, `version`, `summary`, `capabilities` and `n_observations`, and defines `prior`,
    `dim_theta`, `dim_x` and `simulator`. Its annotated fields are its options, see `Plugin`. The observation
    given to its `reference` is checked before its own code runs.

    Attributes:
        capabilities: what the task offers: "joint_score", "marginal_score", "reference", "sde_path".
        reference_kind: "exact", a closed form or quadrature, quick for any x; "sampled", importance draws for
            any x, in seconds; "frozen", stored draws for the task's own observations alone.
        n_observations: number of observations.
        observation_seed: names the random stream of the observations.
    """

    required: ClassVar[tuple[str, ...]] = (*Plugin.required, "capabilities")

    capabilities: ClassVar[frozenset[str]]
    reference_kind: ClassVar[str] = "exact"
    n_observations: ClassVar[int] = 10
    observation_seed: ClassVar[int] = 0

    def __init_subclass__(cls, **keywords: Any) -> None:
        for capability in vars(cls).get("capabilities", ()):
            if capability not in CAPABILITIES:
                hint = nearest(capability, CAPABILITIES)
                raise UserError(f"task {cls.__name__}: there is no capability {capability!r}: {hint}")
        if cls.reference_kind not in REFERENCE_KINDS:
            hint = nearest(cls.reference_kind, REFERENCE_KINDS)
            raise UserError(f"task {cls.__name__}: there is no kind {cls.reference_kind!r}: {hint}")
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

    @abstractmethod
    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Run the simulator once for each row of `theta`, (n, d), drawing only from `generator`."""

    def marginal_score(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return ∇_θ log p(x | θ), (n, d), for θ (n, d) and x (n, dim_x): capability `marginal_score`."""
        raise UserError(f"task {self.label} has no marginal score; its likelihood is not tractable.")

    def log_joint(self, theta: Tensor, x: Tensor, latents: Any) -> Tensor:
        """Return log p(x, z | θ), (n,), at x and latents of an `Outcome`; optional.

        With it the conformance checks compare the joint score with differences of the density: in float64,
        differentiable by autograd. Terms that do not depend on θ may be left out.
        """
        raise UserError(f"task {self.label} does not expose its joint density.")

    def reference(self, x_o: Tensor) -> Reference:
        """Return the posterior of u, not θ, for one observation, (dim_x,): capability `reference`."""
        raise UserError(f"task {self.label} has no reference posterior.")

    def _check_reference(self, x_o: Tensor) -> None:
        """Raise `UserError` unless x_o is one finite observation, (dim_x,)."""
        if not isinstance(x_o, Tensor) or tuple(x_o.shape) != (self.dim_x,):
            got = f"shape {tuple(x_o.shape)}" if isinstance(x_o, Tensor) else type(x_o).__name__
            raise UserError(
                f"task {self.label}: a reference is of one observation, a tensor of shape ({self.dim_x},), "
                f"but x_o has {got}."
            )
        if not torch.isfinite(x_o).all():
            raise UserError(f"task {self.label}: the observation {x_o.tolist()} is not finite.")

    guards: ClassVar[Mapping[str, Guard]] = {"reference": _check_reference}

    def simulate(self, n: int, seed: int, *, marginal_score: bool = False) -> Simulations:
        """Draw n parameters from the prior and run the simulator on each.

        Work goes block by block, each with a generator of its own, at boundaries that do not depend on n:
        `simulate(100, seed)` is the first 100 rows of `simulate(1000, seed)`.

        Args:
            n: number of simulations, at least 1.
            seed: names the random stream.
            marginal_score: also fill `marginal_score`, which often costs more than simulating.

        Raises:
            UserError: n is below 1.
            ValueError: the simulator returned a tensor of a wrong shape or kind.
        """
        n = require_whole(f"task {self.label}: the number of simulations", n, 1)
        blocks = []
        for index, size in enumerate(_block_sizes(n)):
            random = generator(derive_seed(seed, "block", index))
            u = torch.randn(size, self.dim_theta, generator=random, dtype=torch.float64)
            blocks.append(self._run(u, random))
        joined = _join(blocks)[:n]
        if not marginal_score:
            return joined
        score = self.marginal_score(joined.theta, joined.x)
        self._check_tensor("marginal_score", score, joined.u.shape)
        return replace(joined, marginal_score=self.prior.score_in_u(joined.u, score))

    def simulate_at(self, theta: Tensor, seed: int) -> Simulations:
        """Run the simulator at given parameters θ, (n, d), of any real dtype; see `simulate`.

        Raises:
            UserError: θ has another shape, or a row of it is not inside the prior's support.
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
        """Return the `n_observations` observations of the task, the same in every run, with their truth."""
        drawn = self.simulate(self.n_observations, derive_seed(self.observation_seed, "observations"))
        return Observations(drawn.x, drawn.theta, drawn.u)

    def data_digest(self) -> str:
        """Return the SHA-256 of the files that the task reads, by which results know them; empty if none."""
        return ""

    def as_sbibm(self) -> "SbibmView":
        """Return this task as sbibm's algorithms and metrics take it: in θ and float32."""
        from .sbibm_view import SbibmView

        return SbibmView(self)

    def _run(self, u: Tensor, random: torch.Generator) -> Simulations:
        theta = self.prior.to_theta(u)
        outcome, n = self.simulator(theta, random), len(u)
        if not isinstance(outcome, Outcome):
            raise TypeError(
                f"task {self.label}: the simulator must give an Outcome, not {type(outcome).__name__}"
            )
        self._check_tensor("x", outcome.x, (n, self.dim_x))
        score = outcome.joint_score
        if "joint_score" in self.capabilities:
            self._check_tensor("joint_score", score, (n, self.dim_theta))
        joint = None if score is None else self.prior.score_in_u(u, score.to(u.dtype))
        return Simulations(u, theta, outcome.x, joint, None, outcome.model)

    def _check_tensor(self, field: str, value: Tensor | None, expected: tuple[int, ...]) -> None:
        if not isinstance(value, Tensor) or tuple(value.shape) != tuple(expected):
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"task {self.label}: the simulator gave {got} for {field}, not shape {tuple(expected)}"
            )
        if fault := fault_of_kind(value):
            raise ValueError(f"task {self.label}: {field} of the simulator {fault}")


def _block_sizes(n: int) -> Iterator[int]:
    """Yield 128, 128, 256, 512, ... up to blocks of 65,536, until n rows are covered."""
    covered = 0
    while covered < n:
        size = min(max(covered, FIRST_BLOCK), LARGEST_BLOCK)
        yield size
        covered += size


def _join(blocks: list[Simulations]) -> Simulations:
    if len(blocks) == 1:
        return blocks[0]
    joined = {name: torch.cat([getattr(b, name) for b in blocks]) for name, _ in blocks[0].tensors()}
    return replace(blocks[0], **joined)
