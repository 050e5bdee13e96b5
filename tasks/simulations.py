"""Simulations and observations in the unconstrained space u, where methods work."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .errors import NotFiniteError, UserError
from .structure import Structure, require_structure


@dataclass(frozen=True)
class Simulations:
    """n simulations, batch first. Scores are gradients in u and include the prior.

    Slices, lists, masks and one-dimensional tensors of row numbers select rows: `simulations[:100]`.

    Attributes:
        u: unconstrained parameters, (n, d).
        theta: parameters θ = T(u), (n, d).
        x: data, (n, dim_x).
        joint_score: ∇_u log p(u, x, z) = −u + (∂θ/∂u)ᵀ ∇_θ log p(x, z | θ), (n, d).
        marginal_score: ∇_u log p(u | x) = −u + (∂θ/∂u)ᵀ ∇_θ log p(x | θ), (n, d).
        model: the known SDE of a diffusion task, for methods that need it; not a tensor.
        structure: what a row of x is made of; None stands for a vector. Not a tensor.
        joint_hessian: −∇²_u log p(u, x, z), the Hessian of −log p, (n, d, d).
    """

    u: Tensor
    theta: Tensor
    x: Tensor
    joint_score: Tensor | None = None
    marginal_score: Tensor | None = None
    model: Any = None
    structure: Structure | None = None
    joint_hessian: Tensor | None = None

    def __len__(self) -> int:
        return len(self.u)

    def __getitem__(self, rows: slice | Tensor | list[int]) -> "Simulations":
        if not isinstance(rows, slice | Tensor | list) or (isinstance(rows, Tensor) and rows.ndim != 1):
            raise UserError(
                f"Simulations[{rows!r}]: take rows by a slice, a list or a one-dimensional tensor; "
                "row i alone is Simulations[i : i + 1]."
            )
        chosen: dict[str, Any] = {name: tensor[rows] for name, tensor in self.tensors()}
        return replace(self, **chosen)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and value of every field that holds a tensor."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                yield field.name, value

    def only(self, requires: frozenset[str]) -> "Simulations":
        """Return the simulations with the optional fields that `requires` names; the others become None."""
        return replace(
            self,
            joint_score=self.joint_score if "joint_score" in requires else None,
            marginal_score=self.marginal_score if "marginal_score" in requires else None,
            model=self.model if "sde_path" in requires else None,
            joint_hessian=self.joint_hessian if "joint_hessian" in requires else None,
        )

    def check_tensors(self) -> None:
        """Raise `UserError` for a tensor of a wrong shape or kind, or a structure of another size."""
        for name in ("u", "theta", "x"):
            if not isinstance(value := getattr(self, name), Tensor):
                raise UserError(
                    f"{name} of the simulations must be a tensor, but is a {type(value).__name__}."
                )
        n, d = self.u.shape if self.u.ndim == 2 else (len(self), "d")
        for name, tensor in self.tensors():
            columns = {"x": ("dim_x",), "joint_hessian": (d, d)}.get(name, (d,))
            wide = name == "x" or tuple(tensor.shape[1:]) == columns
            if tensor.ndim != 1 + len(columns) or not wide or len(tensor) != n:
                expected, shape = ", ".join(map(str, (n, *columns))), tuple(tensor.shape)
                raise UserError(f"{name} of the simulations must have shape ({expected}), but has {shape}.")
            if fault := fault_of_kind(tensor):
                raise UserError(f"{name} of the simulations {fault}.")
        if self.structure is not None:
            require_structure("simulations", self.structure, self.x.shape[1])

    def check_finite(self) -> None:
        """Raise `NotFiniteError` if a number is NaN or infinite; the message names field and row."""
        for name, tensor in self.tensors():
            finite = torch.isfinite(tensor).flatten(1).all(1)
            if not finite.all():
                row, bad = int((~finite).nonzero()[0]), int((~finite).sum())
                raise NotFiniteError(f"{name} of simulation {row} is not finite ({bad} such rows)")


def fault_of_kind(tensor: Tensor) -> str | None:
    """Return what is wrong with the kind of a tensor, as the end of a sentence, or None.

    Data and scores must be dense tensors of real numbers on the CPU, without an autograd graph.
    """
    if tensor.requires_grad:
        return "is attached to an autograd graph: detach it"
    if tensor.dtype.is_complex or tensor.dtype == torch.bool or tensor.is_quantized:
        return f"has dtype {tensor.dtype}: convert it to real numbers"
    if tensor.device.type != "cpu" or tensor.layout != torch.strided:
        return f"is a {tensor.layout} tensor on {tensor.device}: it must be dense and on the CPU"
    return None


class Observations(NamedTuple):
    """Observed data x, (n, dim_x), and the parameters that generated them, θ and u, (n, d) each."""

    x: Tensor
    theta: Tensor
    u: Tensor


def joined_simulations(blocks: list[Simulations]) -> Simulations:
    """Return the simulations of all blocks, in their order."""
    if len(blocks) == 1:
        return blocks[0]
    joined: dict[str, Any] = {
        name: torch.cat([getattr(b, name) for b in blocks]) for name, _ in blocks[0].tensors()
    }
    return replace(blocks[0], **joined)
