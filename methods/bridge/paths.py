"""Likelihoods of a path observed at several times: a product over the intervals between observations."""

import math

import torch
from torch import Tensor

from ...tasks.sde.diffusion_task import DiffusionModel
from ...tasks.seeding import derive_seed
from .bases import BaseFactory
from .likelihood import BridgeSampler, Estimate, average


def along_path(
    sampler: BridgeSampler,
    model: DiffusionModel,
    u: Tensor,
    x_o: Tensor,
    seed: int,
    base: BaseFactory | None = None,
) -> Estimate:
    """Estimate the likelihood of each interval between observations; bridges start at the observation before.

    Args:
        sampler: draws the bridges.
        model: the diffusion, with m intervals.
        u: points (J, d).
        x_o: one observation (m D,), the states at m times.
        seed: names the noise.
        base: makes the base in place of the sampler's own.

    Returns:
        The estimates, fields (J, m), with intervals of equal duration and steps next to each other.
    """
    starts, ends = ends_of_intervals(model, x_o.double())
    sde, parts = model.at(u[:, None, None]), []
    for k, grid in enumerate(dict.fromkeys(model.grids)):
        equal = [i for i, other in enumerate(model.grids) if other == grid]
        y = ends[equal].expand(len(u), -1, -1)
        noise = sampler.noise(grid, y.shape[:-1], y.shape[-1], derive_seed(seed, "grid", k) if k else seed)
        parts.append(average(sampler.bridges(sde, starts[equal], y, grid, noise, base=base)))
    return Estimate(*(torch.cat(field, -1) for field in zip(*parts, strict=True)))


def ends_of_intervals(model: DiffusionModel, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return both ends of each interval, (..., m, 1, D) and (..., m, D), for observations x (..., m D)."""
    ends = x.unflatten(-1, (len(model.grids), -1))
    starts = torch.cat([model.x_0.expand_as(ends[..., :1, :]), ends[..., :-1, :]], -2)
    return starts.unsqueeze(-2), ends


def product(intervals: Estimate) -> Estimate:
    """Return the likelihood of a path, fields (...), from those of its intervals (..., m).

    Logs add, and so do squared errors, as the intervals have bridges of their own. ESS and tail are those of
    the worst interval; the tail is NaN if that of each interval is.
    """
    tail = intervals.tail
    return Estimate(
        value=intervals.value.sum(-1),
        stderr=intervals.stderr.square().sum(-1).sqrt(),
        ess_fraction=intervals.ess_fraction.amin(-1),
        final_ess_fraction=intervals.final_ess_fraction.amin(-1),
        lost_fraction=intervals.lost_fraction.mean(-1),
        tail=tail.nan_to_num(-math.inf).amax(-1).masked_fill(tail.isnan().all(-1), math.nan),
    )
