"""Checks of the known SDE of a task with the capability `sde_path`."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp

from ...tasks.sde.sde import SDE, euler_path
from ...tasks.seeding import derive_seed, generator
from ...tasks.task import Task
from .evidence import Evidence, NotApplicableError, of_rules

PARAMETERS, STATES = 3, 4
ROWS_AT_ONCE = 8
TOLERANCE = 1e-6  # relative; coefficients are float64
ROUNDING = 1e-9  # rounding of an inverse grows with the condition number


def coefficients(task: Task, n: int, seed: int) -> Evidence:
    """Check the coefficients of the SDE against each other, at a few θ and states of simulated paths.

    Σ is dense, by `times` of unit vectors. Its derivatives and the drift's are those of automatic
    differentiation. Coefficients of many rows are compared with the rows one by one.
    """
    if "sde_path" not in task.capabilities:
        raise NotApplicableError("the task has no `sde_path`")
    drawn = task.simulate(PARAMETERS, seed)
    model = drawn.model
    if model is None:
        raise ValueError("the simulator's Outcome has no model, though the task offers `sde_path`")
    grid = model.grids[0]
    noise = torch.randn(
        grid.steps,
        PARAMETERS,
        len(model.x_0),
        generator=generator(derive_seed(seed, "noise")),
        dtype=torch.float64,
    )
    paths = euler_path(model.at(drawn.u), model.x_0, grid, noise)
    chosen = torch.linspace(0, grid.steps, STATES).long()
    worst: dict[str, float] = {}
    for states, u in zip(paths[:, chosen], drawn.u, strict=True):
        states = states[torch.isfinite(states).all(1)]  # the start among them
        sde, together = model.at(u), model.at(u.expand(len(states), -1))
        found = [_at_state(sde, x, grid.duration) for x in states]
        if all(len(part) > 1 for part in found):
            found.append(_over_states(sde, together, states))
        for rule, off in (pair for part in found for pair in part.items()):
            worst[rule] = off if math.isnan(off) else max(worst.get(rule, 0.0), off)
    rules = {f"{rule} (off by {off:.1g})": off < TOLERANCE for rule, off in worst.items()}
    return of_rules(
        rules,
        "The coefficients of the SDE are wrong, and with them every likelihood by bridges: {broken} does not "
        "hold.",
        PARAMETERS * STATES,
    )


def _at_state(sde: SDE, x: Tensor, duration: float) -> dict[str, float]:
    """Return the relative error of each rule at one state, (D,), for parameters without batch dimensions.

    Without a positive definite Σ and a finite drift there is no other rule.

    A component's unit is its standard deviation in unit time, √Σ_ii. It changes by about its own size or by
    the distance that it moves, and these lengths turn a derivative into a number that can be called small.
    """
    units = torch.eye(len(x), dtype=x.dtype)
    here = sde.at(x)
    covariance = here.times(units)
    deviation = covariance.diagonal().sqrt()
    size = deviation.outer(deviation)
    if torch.linalg.cholesky_ex(covariance / size).info:
        return {"Σ is positive definite": math.inf}
    if not torch.isfinite(here.drift).all():
        return {"the drift is finite": math.inf}
    factor = here.colour(units).mT
    rate = deviation / torch.maximum(x.abs(), deviation * duration**0.5)
    divergence, second_order, slope = _derivatives(sde, x, units)
    log_det = torch.linalg.slogdet(covariance)
    rounding = max(1.0, ROUNDING * float(torch.linalg.cond(covariance / size)))
    in_deviations = units * deviation
    return {
        "shapes": 0.0 if _shapes(here, x) else math.inf,
        "Σ is symmetric": _off(covariance, covariance.mT, size),
        "divergence = Σ_j ∂_j Σ_ij": _off(here.divergence, divergence, deviation * rate.sum()),
        "second_order = ½ Σ_ij ∂_i ∂_j Σ_ij − div f": _off(
            here.second_order, second_order, rate.sum() ** 2 + slope
        ),
        "half_log_det = ½ log det Σ": _off(here.half_log_det, log_det.logabsdet / 2, x.new_ones(())),
        "colour: L Lᵀ = Σ": _off(factor @ factor.mT, covariance, size),
        "whiten(colour(v)) = v": _off(here.whiten(here.colour(units)), units, torch.ones_like(units))
        / rounding,
        "solve(times(v)) = v": _off(here.times(here.solve(in_deviations)), in_deviations, size.sqrt())
        / rounding,
        "kernel ⊗ I = Σ": _off((here.kernel @ here.as_rows(units)).flatten(-2), covariance, size),
    }


def _over_states(sde: SDE, together: SDE, states: Tensor) -> dict[str, float]:
    """Return the errors of the rules on states, (S, D), of one θ; `together` has a row of θ for each."""
    batch, one = together.at(states), [sde.at(x) for x in states]
    v = torch.ones_like(states)
    drift = torch.stack([here.drift.expand_as(x) for here, x in zip(one, states, strict=True)])
    products = torch.stack([here.times(row) for here, row in zip(one, v, strict=True)])
    rules = {
        "drift of a row is the same in a batch": _off(
            batch.drift.expand_as(drift), drift, 1e-3 * states.abs()
        ),
        "Σ v of a row is the same in a batch": _off(batch.times(v), products, 0.0 * v),
    }
    if sde.constant_covariance:
        dense = torch.stack([here.times(torch.eye(states.shape[1], dtype=states.dtype)) for here in one])
        deviation = dense[0].diagonal().sqrt()
        rules["constant_covariance"] = _off(dense, dense[:1].expand_as(dense), deviation.outer(deviation))
    return rules


def _shapes(here: Any, x: Tensor) -> bool:
    """Return whether the fields at one state, (D,), broadcast to their shapes."""
    shapes = {"drift": x.shape, "divergence": x.shape, "second_order": (), "half_log_det": ()}
    return all(
        torch.broadcast_shapes(getattr(here, name).shape, shape) == torch.Size(shape)
        for name, shape in shapes.items()
    )


def _derivatives(sde: SDE, x: Tensor, units: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return div Σ, (D,), ½ Σ_ij ∂_i ∂_j Σ_ij − div f, and Σ_i |∂_i f_i|, at a state x, (D,).

    A product of Σ with e_j at a state of its own, in the direction e_j, gives ∂_j Σ_ij for all i.
    """

    def divergence(y: Tensor) -> Tensor:
        each = y.unsqueeze(-2).expand(*y.shape, y.shape[-1]).contiguous()
        directions = units.expand_as(each).contiguous()
        return jvp(lambda z: sde.at(z).times(directions), (each,), (directions,))[1].sum(-2)

    def drift(y: Tensor) -> Tensor:
        return sde.at(y).drift.expand_as(y)

    rows = x.expand_as(units).contiguous()
    try:
        slopes = jvp(drift, (rows,), (units,))[1].diagonal()
        curvature = sum(
            (jvp(divergence, (part.contiguous(),), (along,))[1] * along).sum()
            for part, along in zip(rows.split(ROWS_AT_ONCE), units.split(ROWS_AT_ONCE), strict=True)
        )
        return divergence(x), curvature / 2 - slopes.sum(), slopes.abs().sum()
    except NotImplementedError as error:
        raise NotApplicableError(
            f"the coefficients have no forward derivative in PyTorch: {error}"
        ) from error


def _off(got: Tensor, wanted: Tensor, size: Tensor) -> float:
    """Return the largest difference, each divided by the size of its number, which is at least `size`."""
    difference = (got - wanted).abs()
    return float(
        torch.where(difference == 0, difference, difference / torch.maximum(wanted.abs(), size)).max()
    )
