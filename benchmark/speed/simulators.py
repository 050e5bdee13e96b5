"""Times of simulations with joint scores: of every task, and of two tasks against loops of plain Python."""

import math
import random
from collections.abc import Callable
from functools import partial

import torch

from ...tasks import REGISTRY, get_task
from ...tasks.classic.galton import Galton
from ...tasks.jump.lotka_volterra import CENTRE, LotkaVolterra
from ...tasks.seeding import generator
from .python_loops import one_ball, one_path
from .timing import Timing, take_turns

ROUNDS = 5
LEAST_SECONDS, QUICK_SECONDS = 0.5, 0.1
FEWEST, GROWTH, MOST = 64, 4, 65_536
BALLS, PATHS = 65_536, 1000
LOOPED_BALLS, LOOPED_PATHS, SINGLE_BALLS = 2000, 20, 50


def rows(quick: bool) -> list[Timing]:
    """Time the two tasks with loops, then every registered task."""
    rounds = 1 if quick else ROUNDS
    return [*galton(rounds), *lotka_volterra(rounds), *every_task(quick)]


def galton(rounds: int) -> list[Timing]:
    """Time balls: vectorised, in a loop of plain Python, and one at a time by the vectorised code."""
    task, theta, stream, source = Galton(), torch.zeros(BALLS, 1), generator(1), random.Random(1)
    return _against(
        "Galton, a ball with its joint score",
        lambda: task.simulator(theta, stream),
        BALLS,
        {
            "in a loop of plain Python": (lambda: one_ball(task, 0.0, source), LOOPED_BALLS),
            "by the same code, ball by ball": (lambda: task.simulator(theta[:1], stream), SINGLE_BALLS),
        },
        rounds,
    )


def lotka_volterra(rounds: int) -> list[Timing]:
    """Time paths at the centre of the prior: compiled, and in a loop of plain Python."""
    task, stream, source = LotkaVolterra(), generator(1), random.Random(1)
    theta = torch.tensor(CENTRE, dtype=torch.float64).expand(PATHS, -1)
    rates = [math.exp(c) for c in CENTRE]
    return _against(
        "Lotka-Volterra, a path with its joint score",
        lambda: task.simulator(theta, stream),
        PATHS,
        {"in a loop of plain Python": (lambda: one_path(rates, source), LOOPED_PATHS)},
        rounds,
    )


def every_task(quick: bool) -> list[Timing]:
    """Time each registered task in seconds for a simulation; ratios are to the first task."""
    least = QUICK_SECONDS if quick else LEAST_SECONDS
    seconds: dict[str, float] = {}
    for name in REGISTRY.table:
        task, n, taken = get_task(name), FEWEST // GROWTH, 0.0
        while taken <= least and n < MOST:
            n *= GROWTH
            taken = take_turns({name: partial(task.simulate, n, 1)}, 1)[name]
        seconds[name] = taken / n
    first = seconds[next(iter(seconds))]
    return [
        Timing(f"{name}, a simulation: {1 / own:,.0f} a second", own, own / first)
        for name, own in seconds.items()
    ]


def _against(
    what: str,
    fast: Callable[[], object],
    count: int,
    loops: dict[str, tuple[Callable[[], object], int]],
    rounds: int,
) -> list[Timing]:
    """Time `count` simulations at once and single ones in loops: seconds for one, and ratios to the first."""

    def repeat(run: Callable[[], object], times: int) -> Callable[[], None]:
        def repeated() -> None:
            for _ in range(times):
                run()

        return repeated

    contestants = {"fast": fast} | {name: repeat(*loop) for name, loop in loops.items()}
    taken = take_turns(contestants, rounds)
    own = taken["fast"] / count
    slow = {name: taken[name] / times for name, (_, times) in loops.items()}
    return [
        Timing(what, own, 1),
        *(Timing(f"the same {name}", each, each / own) for name, each in slow.items()),
    ]
