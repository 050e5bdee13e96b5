"""Check of the declared structure of data: the order of items, and their independence given θ.

Only items make a claim that data can contradict. A vector, a series and a field state where a number lies.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ...methods.score.schedule import alpha_sigma_at
from ...tasks.seeding import derive_seed, generator
from ...tasks.simulations import Simulations
from ...tasks.structure import Items, Structure, require_structure
from ...tasks.task import Task
from .evidence import LEAST_VARIED, Evidence, Features, NotApplicableError, Statistic, limit, of_means

ROWS_SHARE = 4  # of the simulations, as each has many items
FIXED_THETAS = 4
RANDOM_ORDERS = 4
EXACT_ROWS, REFERENCES, POINTS, TIME = 200, 3, 50, 0.3
LARGEST_DIFFERENCE, ROUNDING = 1e-3, 1e-5  # absolute, in nats or for scores in u; relative

ORDER_MATTERS = (
    "The order of the items matters, so they are not exchangeable. Declare a series or a vector, groups as "
    "items of items, or the regressors of the items."
)
DEPENDENT = "The items depend on each other given θ: leave `independent` out."


class Level(NamedTuple):
    """The items of one level, together with all larger items around them.

    Attributes:
        name: "items", or "items of items" for the items within each item.
        items: their structure.
        outer: the number of larger items.
    """

    name: str
    items: Items
    outer: int

    def of(self, x: Tensor) -> Tensor:
        """Return the items of x, (n, dim_x), as vectors: (n, outer, items, components)."""
        return x.unflatten(1, (self.outer, self.items.n, self.items.each.size))

    def alike(self) -> list[Tensor]:
        """Return the numbers of the items that may be exchanged, those with equal regressors."""
        if self.items.regressors is None:
            return [torch.arange(self.items.n)]
        places: dict[tuple[float, ...], list[int]] = {}
        for i, row in enumerate(self.items.regressors):
            places.setdefault(row, []).append(i)
        return [torch.tensor(own) for own in places.values() if len(own) > 1]


def structure(task: Task, n: int, seed: int) -> Evidence:
    """Check that the order of exchangeable items does not matter, and that independent items are so given θ.

    Where the task can compute them, log p(x | θ), the marginal score or the diffused score of the reference
    must be the same after items are put into another order. Simulations must agree in any case: for
    bounded functions h of an item,

        E[h(x_i) f(u)] and E[h(x_i) h(x_j) f(u)] are the same for all items i ≠ j, f = 1 or tanh u_k,
        h(x_i) and h(x_j) do not correlate at a fixed θ, for items that are independent given θ.

    Items with different regressors are not exchanged, as the task holds the regressors fixed.
    """
    declared = require_structure(f"task {task.label}", task.structure, task.dim_x)
    levels = list(_levels(declared))
    if not levels:
        kind = type(declared).__name__.lower()
        raise NotApplicableError(f"a {kind} claims nothing that data can contradict, but its size")
    drawn = task.simulate(max(n // ROWS_SHARE, 2), derive_seed(seed, "drawn"))
    parts = {ORDER_MATTERS: _of_exact(task, levels, drawn, seed), DEPENDENT: []}
    for level in levels:
        parts[ORDER_MATTERS] += _of_order(level, drawn, derive_seed(seed, level.name))
    independent = [level for level in levels if level.items.independent]
    thetas = task.simulate(FIXED_THETAS, derive_seed(seed, "theta")).theta
    for k, theta in enumerate(thetas if independent else []):
        x = task.simulate_at(theta.expand(n // FIXED_THETAS, -1), derive_seed(seed, k)).x
        for level in independent:
            parts[DEPENDENT] += _of_dependence(level, x, f"{level.name} at θ {k}", derive_seed(seed, k))
    statistics = [statistic for part in parts.values() for statistic in part]
    if not statistics:
        raise NotApplicableError("all items have different regressors, and none are independent given θ")
    largest = limit(len(statistics))
    broken = [sentence for sentence, part in parts.items() if any(not abs(s.z) <= largest for s in part)]
    return Evidence(statistics, " ".join(broken), n)


def _levels(structure: Structure, name: str = "items", outer: int = 1) -> Iterator[Level]:
    if isinstance(structure, Items):
        if structure.n > 1:
            yield Level(name, structure, outer)
        yield from _levels(structure.each, f"{name} of items", outer * structure.n)


def _of_exact(task: Task, levels: list[Level], drawn: Simulations, seed: int) -> list[Statistic]:
    """Compare what the task computes for x and for x with its items in another order."""
    statistics = []
    for level in levels:
        x = drawn.x[:EXACT_ROWS]
        index = _reordered(level, generator(derive_seed(seed, "order", level.name)))
        if torch.equal(index, torch.arange(x.shape[1])):
            continue
        for name, before, after in _exact(task, drawn[:EXACT_ROWS], x[:, index], seed):
            off = float(((before - after).abs() - ROUNDING * before.abs()).max())
            z = 0.0 if off < LARGEST_DIFFERENCE else math.inf
            statistics.append(Statistic(f"{name}, {level.name} in another order: off by {off:.1g}", z))
    return statistics


def _exact(task: Task, drawn: Simulations, other: Tensor, seed: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield the name of what the task computes, and its values at x and at `other`; nothing if it cannot."""
    log_likelihood = getattr(task, "log_likelihood", None)
    if log_likelihood is not None:
        yield "log p(x | θ)", log_likelihood(drawn.theta, drawn.x), log_likelihood(drawn.theta, other)
    elif "marginal_score" in task.capabilities:
        scores = [task.marginal_score(drawn.theta, x).to(drawn.u.dtype) for x in (drawn.x, other)]
        before, after = (task.prior.pull_back(drawn.u, score) for score in scores)
        yield "marginal score", before, after
    elif "reference" in task.capabilities and task.reference_kind == "exact":
        alpha, sigma = alpha_sigma_at(TIME)
        for row in range(min(REFERENCES, len(other))):
            references = [task.reference(x[row]) for x in (drawn.x, other)]
            u = references[0].sample(POINTS, derive_seed(seed, "points", row))
            before, after = (reference.diffused_score(u, alpha, sigma) for reference in references)
            yield "reference", before, after


def _reordered(level: Level, random: torch.Generator) -> Tensor:
    """Return the components of x, (dim_x,), in an order in which items that are alike have changed places."""
    size = level.outer * level.items.size
    places = torch.arange(size).view(level.outer, level.items.n, level.items.each.size)
    for row in places:
        for own in level.alike():
            row[own] = row[own[torch.randperm(len(own), generator=random)]]
    return places.flatten()


def _of_order(level: Level, drawn: Simulations, seed: int) -> list[Statistic]:
    """Test that E[h(x_i) f(u)] and E[h(x_i) h(x_j) f(u)] are the same for all items that are alike."""
    h, names = _bounded(level.of(drawn.x))
    f = torch.cat([torch.ones_like(drawn.u[:, :1]), torch.tanh(drawn.u)], 1)
    of_u = ["", *(f" · tanh(u_{k})" for k in range(drawn.u.shape[1]))]
    contrasts: dict[str, Tensor] = {}
    for own in level.alike():
        for contrast, terms in _contrasts(h[:, :, own], generator(seed)):
            contrasts[contrast] = contrasts.get(contrast, 0) + terms.mean(1)
    statistics = []
    for contrast, terms in contrasts.items():
        columns = terms.unsqueeze(2) * f.unsqueeze(1)  # (n, functions h, functions f)
        labels = [f"{level.name}, {contrast}, h = {a}{b}" for a in names for b in of_u]
        statistics += of_means(labels, columns.flatten(1))
    return statistics


def _contrasts(h: Tensor, random: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    """Yield differences of mean 0 for exchangeable items, (n, outer, k), for h(x_i), (n, outer, items, k)."""
    count = h.shape[2]
    step = torch.arange(count, dtype=h.dtype)
    signs = torch.randn(count, generator=random, dtype=h.dtype)
    weights = {"trend": step, "first": (step == 0).to(h.dtype), "alternating": step % 2, "random": signs}
    for name, weight in weights.items():
        yield name, torch.einsum("noik,i->nok", h, (weight - weight.mean()) / count)
    if count < 3:
        return
    half = (count + 1) // 2
    orders = {"far pairs": (step % half * 2 + step // half).argsort()}
    for k in range(RANDOM_ORDERS):
        orders[f"random pairs {k}"] = torch.randperm(count, generator=random)
    for name, order in orders.items():
        yield f"neighbours and {name}", _pairs(h) - _pairs(h[:, :, order])


def _pairs(h: Tensor) -> Tensor:
    """Return the mean product of neighbours, (n, outer, k), for (n, outer, items, k)."""
    return (h[:, :, 1:] * h[:, :, :-1]).mean(2)


def _of_dependence(level: Level, x: Tensor, where: str, seed: int) -> list[Statistic]:
    """Test that sums A and B of h over two halves of the items do not correlate, for n runs x at one θ.

    With the covariances C_A and C_B over the larger items g, Σ_g A_g B_g has the variance Σ (C_A ∘ C_B).
    """
    h, names = _bounded(level.of(x))
    h = h - h.mean(0)
    step = torch.arange(level.items.n)
    order = torch.randperm(level.items.n, generator=generator(seed))
    halves = {"even items": step % 2 == 0, "first half": 2 * step < len(step), "half": 2 * order < len(step)}
    statistics = []
    for name, half in halves.items():
        one, other = h[:, :, half].sum(2), h[:, :, ~half].sum(2)
        for k, function in enumerate(names):
            a, b = one[:, :, k], other[:, :, k]
            if len(a) * float((_varied(a) * _varied(b)).sum()) >= LEAST_VARIED:
                spread = ((a.T @ a) * (b.T @ b)).sum().sqrt()
                z = math.sqrt(len(a)) * float((a * b).sum() / spread)
                statistics.append(Statistic(f"{where}: {name} and others, h = {function}", z))
    return statistics


def _bounded(items: Tensor) -> tuple[Tensor, list[str]]:
    """Return k bounded functions of each item, (n, outer, items, k), and their names."""
    flat = items.flatten(0, 2)
    features = Features(flat)
    return features(flat)[:, 1:].unflatten(0, items.shape[:3]), list(features.names[1:])


def _varied(columns: Tensor) -> Tensor:
    """Return the share of rows that differ from the most frequent value, (outer,), for (n, outer)."""
    return (columns != columns.mode(0).values).double().mean(0)
