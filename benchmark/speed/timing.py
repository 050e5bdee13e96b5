"""Fair timing: the programs that are compared take turns, so a drift of the machine hardly changes ratios.

Unless a row says otherwise, seconds are processor time, summed over the threads of this process: on a shared
machine, the time on the clock would depend on the other users.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """What was timed, its seconds, and their ratio to the reference row's."""

    what: str
    seconds: float
    ratio: float


def take_turns(
    contestants: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Run each once to warm up, then all in turn for some rounds; return the median seconds of each.

    Args:
        contestants: what to time, by name.
        rounds: how often each is timed.
        clock: returns seconds; processor time by default.
    """
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for round_number in range(rounds + 1):
        for name, run in contestants.items():
            start = clock()
            run()
            if round_number > 0:
                taken[name].append(clock() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


@contextmanager
def pinned() -> Iterator[None]:
    """Keep this process, and threads that it starts, on one core, where the system can do so."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def as_markdown(timings: Iterable[Timing]) -> str:
    """Return timings as a Markdown table."""
    rows = [f"| {row.what} | {row.seconds:.3g} | {row.ratio:.3g} |" for row in timings]
    return "\n".join(["| what | seconds | ratio |", "|---|---|---|", *rows])
