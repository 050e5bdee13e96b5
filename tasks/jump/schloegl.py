"""The Schlögl model, a bistable birth-death process."""

import math
from typing import ClassVar

import numpy as np
import torch
from numba import njit
from torch import Tensor

from ..frozen import StoredTask, load
from ..importance import ImportanceReference
from ..likelihood import LikelihoodTask
from ..prior import Normal
from ..structure import Series
from ..task import Outcome
from .jump_process import JumpTask, exponential, path_outcome, row_seeds, start, uniform

START, LARGEST = 25, 60
STEP, TIMES = 0.5, 20
CENTRE = (5.2, 1.0, 9.8, 39.3)
SQUARINGS = 9


def _hazards() -> np.ndarray:
    x = np.arange(LARGEST + 1.0)
    below = x < LARGEST
    return np.stack([1.0 * below, x, below * x * (x - 1) / 200, x * (x - 1) * (x - 2) / 6e4], 1)


HAZARDS = _hazards()


class Schloegl(JumpTask, StoredTask, LikelihoodTask):
    """The Schlögl model, a bistable birth-death process on {0, …, 60}.

        channel   change   hazard e^{θ_j} h_j(X)      e^{θ_j} at the centre of the prior
        1         X + 1    k₁ (X < 60)                5.2
        2         X − 1    k₂ X                       1
        3         X + 1    k₃ X(X − 1)/200 (X < 60)   9.8
        4         X − 1    k₄ X(X − 1)(X − 2)/6e4     39.3

        prior           θ = log(k₁, k₂, k₃, k₄), normal with standard deviations of 0.2
        data            X at the times 0.5, 1, …, 10, without noise, (n, 20); X_0 = 25
        latents         the path, and the channel of each event
        joint score     N_j − e^{θ_j} ∫ h_j dt over [0, 10], see `JumpTask`
        likelihood      products of transition probabilities, see `transitions`
        reference       frozen draws of importance sampling, see `freeze_schloegl`

    At the centre births and deaths balance near 7, 23 and 48; the middle state is unstable. With so few
    individuals noise blurs the upper state: at time 10, X gathers near 6 and 38. Paths need no cap, as the
    hazards on 61 states are bounded.

    Source: F. Schlögl, Z. Physik 253, 1972.
    """

    name: ClassVar[str] = "schloegl"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "A bistable birth-death process; exact likelihood by a matrix exponential."
    rows_at_once: ClassVar[int] = 250  # each row keeps twenty matrices
    prior = Normal(tuple(map(math.log, CENTRE)), 0.2)
    dim_theta = 4
    dim_x = TIMES
    structure = Series(TIMES)

    def simulator(self, theta: Tensor, generator: torch.Generator) -> Outcome:
        """Run one path for each θ, (n, 4), by Gillespie's direct method."""
        x, counts, exposures = _paths(theta.exp().numpy(), HAZARDS, row_seeds(len(theta), generator))
        return path_outcome(theta, torch.from_numpy(x), counts, exposures)

    def log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the exact log p(x | θ), (n,), in float64, for θ (n, 4) and x (n or 1, 20)."""
        after = x.long().expand(len(theta), -1)
        before = torch.cat([torch.full_like(after[:, :1], START), after[:, :-1]], 1)
        rows = torch.arange(len(theta)).unsqueeze(1)
        return self.transitions(theta)[rows, before, after].log().sum(1)

    def transitions(self, theta: Tensor) -> Tensor:
        """Return the probabilities from each state to each other in a time of 0.5, (n, 61, 61), for θ (n, 4).

        P = exp(Q/2) = exp(−Λ/2) exp((Q + Λ I)/2), with the generator Q and the largest rate Λ of leaving a
        state. A Taylor polynomial covers 2⁻⁹ of the time and is squared nine times. Q + Λ I has no negative
        entries, so nothing cancels, and small probabilities are as accurate as large ones.
        """
        rates, hazards = theta.double().exp(), torch.from_numpy(HAZARDS)
        births, deaths = (rates[:, channel::2] @ hazards[:, channel::2].T for channel in (0, 1))
        leaving = births + deaths
        largest = leaving.amax(1, keepdim=True).detach()  # P does not depend on it
        part = STEP / 2**SQUARINGS
        power = part * (
            torch.diag_embed(largest - leaving)
            + torch.diag_embed(births[:, :-1], 1)
            + torch.diag_embed(deaths[:, 1:], -1)
        )
        chances = torch.exp(-part * largest).unsqueeze(2) * _exponential(power)
        for _ in range(SQUARINGS):
            chances = chances @ chances
        return chances

    def stored_reference(self, o: int) -> ImportanceReference:
        """Return the stored draws of observation o, counted from 0, with the exact density."""
        stored = load(self.name)
        x, draws, scores = (torch.from_numpy(stored[field][o]) for field in ("x", "draws", "scores"))
        log_evidence, ess_fraction = (float(stored[field][o]) for field in ("log_evidence", "ess_fraction"))
        return ImportanceReference(draws, scores, self.log_density(x), log_evidence, ess_fraction)


def _exponential(matrix: Tensor) -> Tensor:
    """Return the Taylor polynomial of degree 12 of exp, by powers of the cube, for matrices (n, s, s)."""
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype)
    square = matrix @ matrix
    cube = square @ matrix
    result = eye / math.factorial(12)
    for k in (9, 6, 3, 0):
        first, second, third = (1 / math.factorial(k + j) for j in range(3))
        result = result @ cube + first * eye + second * matrix + third * square
    return result


@njit
def _paths(
    rates: np.ndarray, hazards: np.ndarray, seeds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run a path for each row of e^θ, (n, 4), with h_j at each state, (61, 4); return x, N and I."""
    n, states = len(rates), len(hazards)
    x, counts, exposures = np.empty((n, TIMES)), np.zeros((n, 4)), np.empty((n, 4))
    time_in, thresholds = np.empty(states), np.empty((states, 4))
    state = np.empty(2, np.uint64)
    for row in range(n):
        start(state, seeds[row])
        for place in range(states):
            time_in[place], total = 0.0, 0.0
            for j in range(4):
                total += rates[row, j] * hazards[place, j]
                thresholds[place, j] = total
        place, now = START, 0.0
        for index in range(TIMES):
            end = STEP * (index + 1)
            while True:
                total = thresholds[place, 3]
                wait = exponential(state) / total
                if not now + wait < end:
                    break
                now += wait
                time_in[place] += wait
                level = uniform(state) * total
                j = (
                    (level >= thresholds[place, 0])
                    + (level >= thresholds[place, 1])
                    + (level >= thresholds[place, 2])
                )
                counts[row, j] += 1.0
                place += 1 - 2 * (j & 1)
            time_in[place] += end - now
            now = end
            x[row, index] = place
        exposures[row] = time_in @ hazards
    return x, counts, exposures
