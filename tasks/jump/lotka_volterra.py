"""Predators and prey: the Lotka-Volterra jump process, observed in noise."""

import math
from typing import ClassVar

import numpy as np
import torch
from numba import njit
from torch import Tensor

from ..frozen import StoredTask
from ..prior import Uniform
from ..structure import Series
from ..task import Outcome
from .jump_process import JumpTask, exponential, path_outcome, row_seeds, start, uniform

START, TIMES, NOISE = (50, 100), 10, 10.0
MOST_EVENTS = 30_000
CENTRE = tuple(map(math.log, (0.01, 0.5, 1.0, 0.01)))


class LotkaVolterra(JumpTask, StoredTask):
    """The Lotka-Volterra jump process of X predators and Y prey, observed in noise.

        channel   change       hazard e^{θ_j} h_j(X, Y)     e^{θ_j} at the centre of the prior
        1         X + 1        e^{θ₁} X Y                   0.01
        2         X − 1        e^{θ₂} X                     0.5
        3         Y + 1        e^{θ₃} Y                     1
        4         Y − 1        e^{θ₄} X Y                   0.01

        prior           uniform, θ_j within 1 of the centre
        data            X_1, Y_1, X_2, …, Y_10 at the times 1 to 10, each plus N(0, 10²); X_0 = 50, Y_0 = 100
        joint score     N_j − e^{θ_j} ∫ h_j dt up to time 10 or the last event, see `JumpTask`
        likelihood      not tractable
        reference       frozen draws of importance sampling squared, see `freeze_lotka_volterra`

    The process stops at its event number 30,000 and keeps its values from there, since prey grow without
    bound where predators die out. The stop is part of the model and of the reference. It is rare, with 1 in
    3,000 draws from the prior, and the score of a stopped path is valid.

    Source: J. Brehmer et al., Mining gold from implicit models to improve likelihood-free inference, PNAS
    2020.
    """

    name: ClassVar[str] = "lotka_volterra"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Predators and prey, event by event, seen in noise; no tractable likelihood."
    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score", "reference"})
    prior = Uniform(tuple(c - 1 for c in CENTRE), tuple(c + 1 for c in CENTRE))
    dim_theta = 4
    dim_x = 2 * TIMES
    structure = Series(TIMES, channels=2)

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Run one path for each θ, (n, 4), by Gillespie's direct method, and add the noise."""
        n = len(theta)
        x, counts, exposures = _paths(theta.exp().numpy(), row_seeds(n, generator))
        noise = NOISE * torch.randn(n, self.dim_x, generator=generator, dtype=torch.float64)
        return path_outcome(theta, torch.from_numpy(x) + noise, counts, exposures)


@njit
def advance(
    rates: np.ndarray,
    place: np.ndarray,
    most_events: int,
    counts: np.ndarray,
    exposures: np.ndarray,
    state: np.ndarray,
) -> None:
    """Run a path for one unit of time, or up to its event number `most_events`.

    Args:
        rates: e^θ, (4,).
        place: X, Y and the number of events so far, (3,), updated.
        most_events: the number of events at which the process stops.
        counts: N_j so far, (4,), updated.
        exposures: I_j so far, (4,), updated.
        state: the state of the row's generator, (2,), see `start`.
    """
    x, y, events = place
    left, x_time, y_time, xy_time = 1.0, 0.0, 0.0, 0.0
    while events < most_events:
        born_x = rates[0] * x * y
        died_x = born_x + rates[1] * x
        born_y = died_x + rates[2] * y
        total = born_y + rates[3] * x * y
        if not total > 0:  # all are dead
            break
        wait = exponential(state) / total
        stay = min(wait, left)
        x_time += stay * x
        y_time += stay * y
        xy_time += stay * x * y
        if wait >= left:
            break
        left -= wait
        level = uniform(state) * total
        # Without branches, because the processor cannot predict the next channel.
        j = (level >= born_x) + (level >= died_x) + (level >= born_y)
        counts[j] += 1.0
        x += (j == 0) - (j == 1)
        y += (j == 2) - (j == 3)
        events += 1
    place[0], place[1], place[2] = x, y, events
    exposures[0] += xy_time
    exposures[1] += x_time
    exposures[2] += y_time
    exposures[3] += xy_time


@njit
def _paths(rates: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run a path for each row of e^θ, (n, 4); return X and Y at the times in turn, N and I."""
    n = len(rates)
    x, counts, exposures = np.empty((n, 2 * TIMES)), np.zeros((n, 4)), np.zeros((n, 4))
    state, place = np.empty(2, np.uint64), np.empty(3, np.int64)
    for row in range(n):
        start(state, seeds[row])
        place[0], place[1], place[2] = START[0], START[1], 0
        for time in range(TIMES):
            advance(rates[row], place, MOST_EVENTS, counts[row], exposures[row], state)
            x[row, 2 * time], x[row, 2 * time + 1] = place[0], place[1]
    return x, counts, exposures
