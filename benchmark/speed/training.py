"""Times of training steps: of the suite's networks, of their matrix products alone, and of sbi's trainer.

    products    a lower bound: for every layer (R, batch, in) × (R, in, out), and backwards the gradients of
    the
                weights and, except in the first layer, of the inputs; no bias, activation, loss or optimizer
    DSM         a whole fit of R replicates of 10,000 simulations, divided by its steps: with minibatches,
    noise,
                Adam, moving average, validation and the recipe's regression
    sbi         `sbi_npse_suite`, a whole fit: the same network, loss, batch and steps by sbi's NPSE, with its
                data loader, validation and logging, as its users run it

Fits are too short for the trainer to stop them or to enlarge the minibatches. In the shorter fits of
`--quick` a step takes longer, because they are validated more often.
"""

from collections.abc import Callable
from importlib.util import find_spec

import torch

from ...methods import get_method
from ...methods.nn.averaging import VALIDATION_SHARE
from ...methods.nn.network import ReplicatedMLP
from ...methods.score.recipes import Preconditioned
from ...methods.score.score_matching import DSM
from ...tasks.classic.linear_gaussian import LinearGaussian
from ...tasks.seeding import generator
from .timing import Timing, take_turns

REPLICATES = (1, 10, 30)
BUDGET = 10_000
STEPS, QUICK_STEPS = 2000, 500
ROUNDS = 3


def rows(quick: bool) -> list[Timing]:
    """Time steps of 1, 10 and 30 networks side by side."""
    steps, rounds = (QUICK_STEPS, 1) if quick else (STEPS, ROUNDS)
    epoch = int((1 - VALIDATION_SHARE) * BUDGET) // DSM.batch
    steps = steps // epoch * epoch  # sbi takes whole epochs
    task = LinearGaussian()
    simulations = [task.simulate(BUDGET, r) for r in range(max(REPLICATES))]

    def fit(method: str, count: int) -> Callable[[], object]:
        made = get_method(method, steps=steps)
        return lambda: made.fit_replicates(simulations[:count], range(count))

    contestants: dict[str, Callable[[], object]] = {}
    for count in REPLICATES:
        contestants[f"products {count}"] = matrix_products(task.dim_theta, task.dim_x, count, steps)
        contestants[f"dsm {count}"] = fit("dsm", count)
    if find_spec("sbi") is not None:
        contestants["sbi"] = fit("sbi_npse_suite", 1)
    taken = take_turns(contestants, rounds)
    return _as_rows({name: seconds / steps for name, seconds in taken.items()})


def matrix_products(d: int, dim_x: int, replicates: int, steps: int) -> Callable[[], None]:
    """Return a function that computes the products of a step `steps` times, into tensors made beforehand."""
    simulations = torch.zeros(1, 2, d), torch.zeros(1, 2, dim_x)
    n_inputs = Preconditioned(*simulations).n_inputs
    random = [generator(r) for r in range(replicates)]
    mlp = ReplicatedMLP(n_inputs, d, width=DSM.width, depth=DSM.depth, generators=random)
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
    """Return rows for each number of networks: the ratio of DSM is to the products, that of sbi to DSM."""
    table = []
    for count in REPLICATES:
        floor, own = seconds[f"products {count}"], seconds[f"dsm {count}"]
        step = "a step of one network" if count == 1 else f"a step of {count} networks together"
        table += [
            Timing(f"{step}: matrix products alone", floor, 1),
            Timing(f"{step}: DSM", own, own / floor),
        ]
    if "sbi" in seconds:
        for count in REPLICATES:
            ratio = seconds["sbi"] / (seconds[f"dsm {count}"] / count)
            against = "one network" if count == 1 else f"each of {count} networks"
            table.append(Timing(f"a step by sbi's NPSE, against DSM's of {against}", seconds["sbi"], ratio))
    return table
