"""Speeds as ratios of things that ran side by side, because machines differ and are shared.

    the Galton simulator    balls a second with joint scores, vectorised, against two loops over single balls:
                            plain Python with `math`, and the vectorised code given one ball at a time
    replicates              wall time of one batched fit of R replicates against one fit of one
    gates                   what making a gate, fitting it and mixing by it takes, against a whole fit of DSM

Each number is the median over rounds; what is compared takes turns, so that a drift of the machine hits all.
"""

import math
import random
from collections.abc import Callable

import torch

from benchmark.timing import Timing, as_markdown, take_turns
from methods import get_method
from methods.gate_choice import CLOSED, FITTED, choose, make_gate
from methods.gates import Gate
from methods.mixtures import Mix
from methods.trainer import STEPS_AT_ONCE
from tasks import get_task
from tasks.galton import STEEPNESS, Galton
from tasks.seeding import generator

ROUNDS = 5
BALLS = 1_000_000
BATCH = 65_536
LOOPED_BALLS = {"python": 2000, "single": 100}
REPLICATES = (1, 5, 10, 30)
STEPS = 300
GATE_BUDGET, GATE_REPLICATES, GATE_STEPS = 10_000, 5, 3000


def measure_all() -> str:
    """Measure everything on one thread; give a Markdown table."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return as_markdown([*galton_simulator(), *batched_replicates(), *gates()])
    finally:
        torch.set_num_threads(threads)


def galton_simulator() -> list[Timing]:
    """Time a million balls with joint scores; the loops run fewer balls, and their time is scaled up."""
    task, theta = Galton(), torch.zeros(BATCH, 1)
    stream, source = generator(1), random.Random(1)

    def vectorised() -> None:
        for _ in range(BALLS // BATCH):
            task.simulator(theta, stream)

    def python() -> None:
        for _ in range(LOOPED_BALLS["python"]):
            _one_ball(task, 0.0, source)

    def single() -> None:
        for _ in range(LOOPED_BALLS["single"]):
            task.simulator(theta[:1], stream)

    seconds = take_turns({"vectorised": vectorised, "python": python, "single": single}, ROUNDS)
    fast = seconds["vectorised"] * BALLS / (BALLS // BATCH * BATCH)
    scaled = {name: seconds[name] * BALLS / count for name, count in LOOPED_BALLS.items()}
    return [
        Timing("Galton, a million balls with joint scores, vectorised", fast, 1),
        Timing("the same in a loop of plain Python", scaled["python"], scaled["python"] / fast),
        Timing("the same code, ball by ball", scaled["single"], scaled["single"] / fast),
    ]


def batched_replicates() -> list[Timing]:
    """Time fits of 1, 5, 10 and 30 replicates at width 64 and batch 128, validation and average included."""
    simulations = [Galton().simulate(1000, seed=r) for r in range(max(REPLICATES))]
    method = get_method("mix", steps=STEPS)

    def fit(replicates: int) -> Callable[[], object]:
        return lambda: method.fit_replicates(simulations[:replicates], range(replicates))

    seconds = take_turns({str(r): fit(r) for r in REPLICATES}, ROUNDS)
    alone = seconds["1"]
    return [
        Timing(f"MIX, {STEPS} steps, {r} replicate{'s' * (r > 1)}", seconds[str(r)], seconds[str(r)] / alone)
        for r in REPLICATES
    ]


def gates() -> list[Timing]:
    """Time gates by themselves, as shares of a whole fit of five replicates by DSM.

    A gate is made and fitted once, and mixes the targets of `STEPS_AT_ONCE` steps at a time; `choosing` is
    what `gate=auto` does before that.
    """
    task = get_task("linear_gaussian", dim=10, spread=100.0, rotated=True)
    simulations = [task.simulate(GATE_BUDGET, r) for r in range(GATE_REPLICATES)]
    seeds = range(GATE_REPLICATES)
    data = Mix().training_data(simulations)
    assert data.score is not None
    method, batch = get_method("dsm", steps=GATE_STEPS), (STEPS_AT_ONCE, GATE_REPLICATES, 128)
    index = torch.randint(GATE_BUDGET, batch, generator=generator(1))
    drawn, t = data.rows(index), torch.rand(*batch, 1, generator=generator(2))
    assert drawn.score is not None

    @torch.no_grad()
    def mix(gate: Gate) -> None:
        assert drawn.score is not None
        for _ in range(-(-GATE_STEPS // STEPS_AT_ONCE)):
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
    seconds = take_turns(contestants, ROUNDS)
    fit = seconds.pop("fit")
    what = f"DSM, {GATE_STEPS} steps, {GATE_REPLICATES} replicates of {GATE_BUDGET:,} in 10 dimensions"
    return [
        Timing(what, fit, 1),
        *(Timing(f"gate: {name}", own, own / fit) for name, own in seconds.items()),
    ]


def _one_ball(task: Galton, theta: float, source: random.Random) -> tuple[int, float]:
    """Drop one ball as a simulator without vectors would: the final position and the joint score."""
    position, score = task.nails // 2, 0.0
    for row in range(task.rows):
        swing = math.sin(math.pi * row / (task.rows - 1))
        slope = STEEPNESS * (2 * position / (task.nails - 1) - 1)
        tilt = 1 / (1 + math.exp(-theta * slope))
        left, derivative = (1 - swing) / 2 + swing * tilt, swing * slope * tilt * (1 - tilt)
        if row % 2 == 1 and position in (0, task.nails):
            left, derivative = float(position > 0), 0.0
        goes_left = source.random() < left
        score += derivative / left if goes_left else -derivative / (1 - left)
        position += (row % 2 == 0) - goes_left
    return position, score
