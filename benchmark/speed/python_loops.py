"""Two simulators in plain Python without vectors, to which the suite's own are compared."""

import math
import random

from ...tasks.classic.galton import STEEPNESS, Galton
from ...tasks.jump.lotka_volterra import MOST_EVENTS, START, TIMES


def one_ball(task: Galton, theta: float, source: random.Random) -> tuple[int, float]:
    """Drop one ball; return its final position and the joint score."""
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


def one_path(rates: list[float], source: random.Random) -> tuple[list[int], list[float]]:
    """Simulate one Lotka-Volterra path at e^θ; return X and Y over time and the score N_j − e^{θ_j} I_j."""
    x, y = START
    now, events = 0.0, 0
    seen: list[int] = []
    counts, exposures = [0, 0, 0, 0], [0.0, 0.0, 0.0, 0.0]
    for time in range(1, TIMES + 1):
        while events < MOST_EVENTS:
            born_x = rates[0] * x * y
            died_x = born_x + rates[1] * x
            born_y = died_x + rates[2] * y
            total = born_y + rates[3] * x * y
            wait = source.expovariate(total) if total > 0 else math.inf
            stay = min(wait, time - now)
            exposures[0] += stay * x * y
            exposures[1] += stay * x
            exposures[2] += stay * y
            now += wait
            if now >= time:
                break
            level = source.random() * total
            if level < born_x:
                j, x = 0, x + 1
            elif level < died_x:
                j, x = 1, x - 1
            elif level < born_y:
                j, y = 2, y + 1
            else:
                j, y = 3, y - 1
            counts[j] += 1
            events += 1
        now = float(time)
        seen += [x, y]
    exposures[3] = exposures[0]
    return seen, [n - rate * exposure for n, rate, exposure in zip(counts, rates, exposures, strict=True)]
