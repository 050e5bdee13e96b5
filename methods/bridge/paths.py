"""Likelihoods of a path observed at several times: a product over the intervals between observations."""

import math
from collections.abc import Sequence

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
    seeds: Sequence[int],
    base: BaseFactory | None = None,
) -> Estimate:
    """Estimate the likelihood of each interval between observations; bridges start at the observation before.

    Args:
        sampler: draws the bridges.
        model: the diffusion, with m intervals.
        u: J points for each of O observed paths (O, J, d).
        x_o: the observed paths, the states at m times (O, m D).
        seeds: O seeds, which name the noise of each observed path.
        base: makes the base in place of the sampler's own.

    Returns:
        The estimates, fields (O, J, m), with intervals of equal duration and steps next to each other.
    """
    starts, ends = ends_of_intervals(model, x_o.double())
    sde, parts = model.at(u[:, :, None, None]), []
    for k, grid in enumerate(dict.fromkeys(model.grids)):
        equal = [i for i, other in enumerate(model.grids) if other == grid]
        y = ends[:, None, equal].expand(-1, u.shape[1], -1, -1)
        drawn = [
            sampler.noise(grid, y.shape[1:-1], y.shape[-1], derive_seed(seed, "grid", k) if k else seed)
            for seed in seeds
        ]
        normals, uniforms = (torch.stack(each, 1) for each in zip(*drawn, strict=True))
        bridges = sampler.bridges(sde, starts[:, None, equal], y, grid, (normals, uniforms), base=base)
        parts.append(average(bridges))
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
