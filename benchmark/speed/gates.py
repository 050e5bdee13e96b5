"""The cost of gates: making, fitting and mixing with each gate, as a share of a whole fit by DSM."""

from collections.abc import Callable

import torch

from ...methods import get_method
from ...methods.score.gates.choice import CLOSED, FITTED, choose, make_gate
from ...methods.score.gates.gate import Gate
from ...methods.score.mixtures import Mix
from ...methods.score.score_matching import DSM
from ...methods.score.trainer import ROWS_AT_ONCE
from ...tasks import get_task
from ...tasks.seeding import generator
from .timing import Timing, take_turns

BUDGET, REPLICATES = 10_000, 5
STEPS, QUICK_STEPS = 2000, 300  # too few for a fit to stop or to enlarge the minibatches
STEPS_AT_ONCE = ROWS_AT_ONCE // DSM.batch
ROUNDS = 3


def rows(quick: bool) -> list[Timing]:
    """Time each gate alone, as a share of a whole fit of five replicates by DSM.

    A gate is made and fitted once, and mixes the targets of `STEPS_AT_ONCE` steps at a time. The row
    `choosing` is the choice that `gate=auto` makes first.
    """
    task = get_task("linear_gaussian", dim=10, spread=100.0, rotated=True)
    simulations = [task.simulate(BUDGET, r) for r in range(REPLICATES)]
    seeds = range(REPLICATES)
    data = Mix().training_data(simulations)
    assert data.score is not None
    steps, rounds = (QUICK_STEPS, 1) if quick else (STEPS, ROUNDS)
    method, batch = get_method("dsm", steps=steps), (STEPS_AT_ONCE, REPLICATES, DSM.batch)
    index = torch.randint(BUDGET, batch, generator=generator(1))
    drawn, t = data.rows(index), torch.rand(*batch, 1, generator=generator(2))
    assert drawn.score is not None

    @torch.no_grad()
    def mix(gate: Gate) -> None:
        assert drawn.score is not None
        for _ in range(-(-steps // STEPS_AT_ONCE)):
            gate.mix(drawn.u, drawn.score, drawn.u, drawn.x, t)

    def whole(name: str) -> Callable[[], None]:
        def run() -> None:
            gate = make_gate(name, data, seeds)
            gate.fit(data, seeds)
            mix(gate)

        return run

    contestants: dict[str, Callable[[], object]] = {name: whole(name) for name in (*CLOSED, *FITTED)}
    contestants |= {"choosing": lambda: choose(data, seeds)}
    contestants |= {"fit": lambda: method.fit_replicates(simulations, seeds)}
    seconds = take_turns(contestants, rounds)
    fit = seconds.pop("fit")
    what = f"DSM, {steps} steps, {REPLICATES} replicates of {BUDGET:,} in 10 dimensions"
    return [
        Timing(what, fit, 1),
        *(Timing(f"gate: {name}", own, own / fit) for name, own in seconds.items()),
    ]
