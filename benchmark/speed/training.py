"""Times of training steps: of the suite's networks, of their matrix products alone, of JAX and of sbi.

    products    for every layer (R, batch, in) × (R, in, out), and backwards the gradients of the weights and,
                except in the first layer, of the inputs; no bias, activation, loss or optimizer
    JAX         the same steps, compiled as one loop, see `jax_training`; on one core, as everything here
    DSM         the steps of R replicates of 10,000 simulations: minibatches, noise, Adam, moving average
    DSM, judged a whole fit: with validation and the recipe's regression as well
    sbi         `sbi_npse_suite`, a whole fit: the same network, loss, batch and steps by sbi's NPSE, with its
                data loader, validation and logging, as its users run it

Where the process has a second core, DSM on two threads is compared with JAX on one core, by the clock.

Fits are too short for the trainer to stop them or to enlarge the minibatches. In the shorter fits of
`--quick` a step takes longer, because they are validated more often.
"""

import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec

import torch
from dask.system import CPU_COUNT
from torch import Tensor

from ...methods import get_method
from ...methods.nn.averaging import VALIDATION_SHARE
from ...methods.nn.network import ReplicatedMLP
from ...methods.score.recipes import Preconditioned
from ...methods.score.score_matching import DSM
from ...tasks.classic.linear_gaussian import LinearGaussian
from ...tasks.seeding import generator
from ...tasks.simulations import Simulations
from .timing import Timing, pinned, take_turns

REPLICATES = (1, 10, 30)
BUDGET = 10_000
STEPS, QUICK_STEPS = 2000, 500
ROUNDS = 3
NAMES = {
    "products": "matrix products alone",
    "jax": "JAX",
    "dsm": "DSM",
    "judged": "DSM with validation",
}


def rows(quick: bool) -> list[Timing]:
    """Time steps of 1, 10 and 30 networks side by side."""
    steps, rounds = (QUICK_STEPS, 1) if quick else (STEPS, ROUNDS)
    epoch = int((1 - VALIDATION_SHARE) * BUDGET) // DSM.batch
    steps = steps // epoch * epoch  # sbi takes whole epochs
    task = LinearGaussian()
    simulations = [task.simulate(BUDGET, r) for r in range(max(REPLICATES))]

    def fit(method: str, count: int, **options: bool) -> Callable[[], object]:
        made = get_method(method, steps=steps, **options)
        return lambda: made.fit_replicates(simulations[:count], range(count))

    contestants: dict[str, Callable[[], object]] = {}
    for count in REPLICATES:
        contestants[f"products {count}"] = matrix_products(task.dim_theta, task.dim_x, count, steps)
        if find_spec("jax") is not None:
            with pinned():  # JAX counts the cores when it makes its first array
                contestants[f"jax {count}"] = _jax_fit(simulations[:count], steps)
        contestants[f"dsm {count}"] = fit("dsm", count, early_stopping=False)
        contestants[f"judged {count}"] = fit("dsm", count)
    if find_spec("sbi") is not None:
        contestants["sbi"] = fit("sbi_npse_suite", 1)
    with pinned():
        taken = take_turns(contestants, rounds)
    clocked: dict[str, Callable[[], object]] = {}
    for count in REPLICATES[1:] if CPU_COUNT > 1 else ():
        clocked[f"dsm {count}"] = on_two_threads(contestants[f"dsm {count}"])
        if f"jax {count}" in contestants:
            clocked[f"jax {count}"] = on_one_core(contestants[f"jax {count}"])
    on_clock = take_turns(clocked, rounds, time.perf_counter)
    taken |= {f"clock {name}": seconds for name, seconds in on_clock.items()}
    return _as_rows({name: seconds / steps for name, seconds in taken.items()})


def on_two_threads(run: Callable[[], object]) -> Callable[[], object]:
    """Return a function that runs `run` on two threads."""

    def threaded() -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            run()
        finally:
            torch.set_num_threads(before)

    return threaded


def on_one_core(run: Callable[[], object]) -> Callable[[], object]:
    """Return a function that runs `run` on one core."""

    def alone() -> None:
        with pinned():
            run()

    return alone


def _jax_fit(simulations: Sequence[Simulations], steps: int) -> Callable[[], object]:
    """Return a fit by JAX of the networks that DSM trains."""
    from .jax_training import fit

    u = torch.stack([own.u for own in simulations]).float()
    x = torch.stack([own.x for own in simulations]).float()
    return fit(_network(u[:1], x[:1], len(simulations)), u, x, steps)


def _network(u: Tensor, x: Tensor, replicates: int) -> ReplicatedMLP:
    """Return networks as DSM has them."""
    n_inputs, random = Preconditioned(u, x).n_inputs, [generator(r) for r in range(replicates)]
    return ReplicatedMLP(n_inputs, u.shape[2], width=DSM.width, depth=DSM.depth, generators=random)


def matrix_products(d: int, dim_x: int, replicates: int, steps: int) -> Callable[[], None]:
    """Return a function that computes the products of a step `steps` times, into tensors made beforehand."""
    mlp = _network(torch.zeros(1, 2, d), torch.zeros(1, 2, dim_x), replicates)
    weights = [weight.detach() for weight in mlp.weights]
    inputs = [torch.rand(replicates, DSM.batch, w.shape[1]) for w in weights]
    outputs = [torch.rand(replicates, DSM.batch, w.shape[2]) for w in weights]
    slopes = [torch.empty_like(w) for w in weights], [torch.empty_like(x) for x in inputs]

    def run() -> None:
        for _ in range(steps):
            for k, weight in enumerate(weights):
                torch.bmm(inputs[k], weight, out=outputs[k])
            for k, weight in enumerate(weights):
                torch.bmm(inputs[k].mT, outputs[k], out=slopes[0][k])
                if k > 0:
                    torch.bmm(outputs[k], weight.mT, out=slopes[1][k])

    return run


def _as_rows(seconds: dict[str, float]) -> list[Timing]:
    """Return rows for each number of networks, with ratios to JAX or, without JAX, to the products."""
    table = []
    for count in REPLICATES:
        step = "a step of one network" if count == 1 else f"a step of {count} networks together"
        reference = seconds.get(f"jax {count}", seconds[f"products {count}"])
        for name, what in NAMES.items():
            if f"{name} {count}" in seconds:
                found = seconds[f"{name} {count}"]
                table.append(Timing(f"{step}: {what}", found, found / reference))
        if f"clock jax {count}" in seconds:
            own, other = seconds[f"clock dsm {count}"], seconds[f"clock jax {count}"]
            what = f"{step}: DSM on two threads, by the clock, against JAX on one core"
            table.append(Timing(what, own, own / other))
    if "sbi" in seconds:
        for count in REPLICATES:
            ratio = seconds["sbi"] / (seconds[f"judged {count}"] / count)
            against = "one network" if count == 1 else f"each of {count} networks"
            table.append(Timing(f"a step by sbi's NPSE, against DSM's of {against}", seconds["sbi"], ratio))
    return table
