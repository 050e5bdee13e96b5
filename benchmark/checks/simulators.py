"""Checks of the simulator, the prior and the observations."""

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from ...tasks.errors import NotFiniteError
from ...tasks.seeding import derive_seed, generator
from ...tasks.simulations import Simulations
from ...tasks.task import Task
from .evidence import LEAST_VARIED, Evidence, Features, Statistic, of_rules, of_variance

PRIOR_ROWS, PRIOR_LIMIT, PRIOR_TOLERANCE = 50, 3.0, 1e-6
DISCIPLINE_ROWS = 1_000
BATCH_ROWS = 25
SINGLES_SHARE, SINGLES_TIMES = 40, 10


def prior(task: Task, n: int, seed: int) -> Evidence:
    """Check that the prior's maps are inverses, and that `pull_back` uses the derivative of `to_theta`."""
    u = torch.randn(PRIOR_ROWS, task.dim_theta, generator=generator(seed), dtype=torch.float64)
    u = u.clamp(-PRIOR_LIMIT, PRIOR_LIMIT).requires_grad_()
    theta = task.prior.to_theta(u)
    score = torch.randn(u.shape, generator=generator(derive_seed(seed, 1)), dtype=torch.float64)
    (pulled,) = torch.autograd.grad((theta * score).sum(), u)
    with torch.no_grad():
        cases = {
            "to_u(to_theta(u)) = u": (task.prior.to_u(theta), u),
            "pull_back = (∂θ/∂u)ᵀ s": (task.prior.pull_back(u, score), pulled),
        }
    return of_rules(
        {
            rule: torch.allclose(a, b, rtol=PRIOR_TOLERANCE, atol=PRIOR_TOLERANCE)
            for rule, (a, b) in cases.items()
        },
        "The prior breaks its contract: {broken} does not hold.",
        PRIOR_ROWS,
    )


def random_numbers(task: Task, n: int, seed: int) -> Evidence:
    """Check the use of random numbers.

    Equal seeds give equal runs, different seeds different runs, and global generators are neither read nor
    set.
    """
    with _global_generators(0):
        before = _global_states()
        first = task.simulate(DISCIPLINE_ROWS, seed)
        after = _global_states()
    with _global_generators(1):
        second = task.simulate(DISCIPLINE_ROWS, seed)
        other = task.simulate(DISCIPLINE_ROWS, derive_seed(seed, "other"))
    return of_rules(
        {
            "global generators are not set": before == after,
            "the same seed gives the same runs": _same(first, second),
            "another seed gives other runs": not _equal(first.x, other.x),
        },
        "The simulator must draw only from the generator that it is given: {broken} does not hold.",
        DISCIPLINE_ROWS,
    )


def finite(task: Task, n: int, seed: int) -> Evidence:
    """Check that all numbers of n simulations are finite, and the marginal scores of some."""
    exact = "marginal_score" in task.capabilities
    try:
        task.simulate(n, seed).check_finite()
        task.simulate(min(n, DISCIPLINE_ROWS), seed, marginal_score=exact).check_finite()
    except NotFiniteError as error:
        return Evidence([Statistic("finite", math.inf)], f"In {n:,} simulations {error}.", n)
    return Evidence([Statistic("finite", 0.0)], "", n)


def observations(task: Task, n: int, seed: int) -> Evidence:
    """Check that observations are finite, equal in every call, as many as stated, and that θ = T(u)."""
    first, second = task.observations(), task.observations()
    shapes = [(task.n_observations, d) for d in (task.dim_x, task.dim_theta, task.dim_theta)]
    agree = torch.allclose(task.prior.to_theta(first.u), first.theta, rtol=1e-5, atol=1e-5)
    return of_rules(
        {
            "the same each time": all(_equal(a, b) for a, b in zip(first, second, strict=True)),
            "shapes (n_observations, ·)": [tuple(field.shape) for field in first] == shapes,
            "finite numbers": all(bool(torch.isfinite(field).all()) for field in first),
            "θ = T(u)": agree,
        },
        "The observations break their contract: {broken} does not hold.",
        task.n_observations,
    )


def rows(task: Task, n: int, seed: int) -> Evidence:
    """Check that rows are independent: batch means vary as expected, and neighbours do not correlate.

    With b rows per batch at fixed θ, b · var(batch means)/var(rows) is 1 for independent rows of any law.
    """
    theta = task.simulate(1, derive_seed(seed, "theta")).theta.expand(BATCH_ROWS, -1)
    n_batches = max(n // BATCH_ROWS // 2, 2)
    columns = _bounded([task.simulate_at(theta, derive_seed(seed, k)) for k in range(n_batches)])
    statistics = []
    for name, column in columns.items():
        means = column.view(n_batches, BATCH_ROWS).mean(1)
        ratio = float(BATCH_ROWS * means.var() / column.var())
        statistics.append(of_variance(f"variance of batch means of {name}", ratio, n_batches - 1))
    simulations = task.simulate(n // 2, derive_seed(seed, "neighbours"))
    parameters = {f"u_{i}": torch.tanh(u) for i, u in enumerate(simulations.u.T)}
    for name, column in _bounded([simulations]).items():
        pairs = {f"the next row's {name}": (column[:-1], column[1:])}
        for other, values in parameters.items():
            pairs[f"the next row's {other}"] = (column[:-1], values[1:])
            pairs[f"the last row's {other}"] = (column[1:], values[:-1])
        for neighbour, pair in pairs.items():
            z = float(torch.corrcoef(torch.stack(pair))[0, 1]) * math.sqrt(len(pair[0]))
            statistics.append(Statistic(f"correlation of {name} with {neighbour}", z))
    return Evidence(
        statistics,
        "Rows depend on each other: a batch shares a random part, or a run uses another run's parameters.",
        n,
    )


def company(task: Task, n: int, seed: int) -> Evidence:
    """Check that runs at one θ have the same law alone, in a batch, and among runs at another θ."""
    theta, other = task.simulate(2, derive_seed(seed, "theta")).theta.split(1)
    n_singles = max(n // SINGLES_SHARE, 2)
    n_batch = SINGLES_TIMES * n_singles
    singles = [task.simulate_at(theta, derive_seed(seed, k)) for k in range(n_singles)]
    batch = task.simulate_at(theta.expand(n_batch, -1), derive_seed(seed, "batch"))
    mixed = task.simulate_at(torch.cat([theta, other]).repeat(n_batch, 1), derive_seed(seed, "mixed"))
    among_others = mixed[::2]
    statistics = []
    for name, column in _bounded([batch, *singles, among_others]).items():
        alone = column[n_batch : n_batch + n_singles]
        for where, part in (("alone", alone), ("among others", column[n_batch + n_singles :])):
            pooled = float(column.std()) * math.sqrt(1 / len(part) + 1 / n_batch)
            z = float(part.mean() - column[:n_batch].mean()) / pooled
            statistics.append(Statistic(f"{name}, {where}", z))
    return Evidence(
        statistics,
        "The law of a run is not the same alone, in a batch, and among runs at another θ: it uses the batch.",
        n_batch,
    )


def _bounded(parts: list[Simulations]) -> dict[str, Tensor]:
    """Return bounded functions of data and joint score, by name, over all rows of the parts, (n,) each.

    Functions that are equal in nearly all rows are left out, as their variance cannot be estimated.
    """
    x = torch.cat([part.x for part in parts])
    features = Features(x)
    columns = dict(zip(features.names, features(x).T, strict=True))
    scores = [part.joint_score for part in parts if part.joint_score is not None]
    for i, g in enumerate(torch.cat(scores).double().T if scores else ()):
        columns[f"g_{i}"] = torch.tanh((g - g.mean()) / g.std().clamp_min(1e-12))
    return {name: h for name, h in columns.items() if int((h != h.mode().values).sum()) >= LEAST_VARIED}


def _same(a: Simulations, b: Simulations) -> bool:
    return all(_equal(value, getattr(b, name)) for name, value in a.tensors())


def _equal(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors are equal, where NaN equals NaN; `finite` is the check that rejects NaN."""
    return a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())


def _global_states() -> tuple[bytes, bytes, object]:
    numpy_state = np.random.get_state(legacy=False)
    assert isinstance(numpy_state, dict)
    return torch.get_rng_state().numpy().tobytes(), repr(numpy_state).encode(), random.getstate()


@contextmanager
def _global_generators(seed: int) -> Iterator[None]:
    """Set the global generators of torch, numpy and Python, and restore them afterwards."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)
