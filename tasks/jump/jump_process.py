"""What the jump-process tasks share: the joint score of a path, and random numbers for compiled loops.

A jump process with channels j has the hazards e^{θ_j} h_j(state), so that θ_j is a log rate. A path on [0, T]
with N_j events of channel j and the exposures I_j = ∫ h_j dt has the density and the joint score

    log p(path | θ) = Σ_j (θ_j N_j − e^{θ_j} I_j) + constant,    S_j = N_j − e^{θ_j} I_j.

I_j includes the last interval, from the last event to T, in which nothing happened. Both hold as well for a
path that is stopped at a stopping time, such as its K-th event, with N and I counted up to there, as S is a
martingale. Drawing again where a path is too long would not do: it conditions on an event whose probability
depends on θ.

Loops over events are compiled by numba, one row after the other. Each row has its own xoroshiro128++
(Blackman and Vigna, ACM TOMS 2021), started by splitmix64 from one 64-bit number of the torch generator.
They are compiled anew in each process, as what numba stores on disk does not notice changes in other files.
"""

import math
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from ..task import Outcome, Task

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
# numba turns an operation of uint64 with a plain int into floats, hence the constants
R12, R17, R21, R27, R28, R30, R31, R36, R47, R49 = (
    np.uint64(r) for r in (12, 17, 21, 27, 28, 30, 31, 36, 47, 49)
)


class JumpTask(Task):
    """A task whose latent is a path of a jump process: latents are (N, I), each (n, dim_theta)."""

    def log_joint(self, theta: Tensor, x: Tensor, latents: Any) -> Tensor:
        """Give Σ_j (θ_j N_j − e^{θ_j} I_j), (n,): x given the path does not depend on θ."""
        counts, exposures = latents
        return (theta * counts - theta.exp() * exposures).sum(1)


def path_outcome(theta: Tensor, x: Tensor, counts: np.ndarray, exposures: np.ndarray) -> Outcome:
    """Give the outcome of paths with counts N and exposures I, (n, dim_theta) each."""
    latents = torch.from_numpy(counts), torch.from_numpy(exposures)
    return Outcome(x, latents[0] - theta.exp() * latents[1], latents=latents)


def row_seeds(n: int, generator: torch.Generator) -> np.ndarray:
    """Draw a 64-bit seed for each of n rows: (n,), int64."""
    least, most = -(2**63), 2**63 - 1
    return torch.randint(least, most, (n,), generator=generator, dtype=torch.int64).numpy()


@njit
def start(state: np.ndarray, seed: int) -> None:
    """Fill the state of a row's generator, (2,) of uint64, from a 64-bit seed by splitmix64."""
    walk = np.uint64(seed)
    for k in range(2):
        walk += GOLDEN
        mixed = (walk ^ (walk >> R30)) * MIX_1
        mixed = (mixed ^ (mixed >> R27)) * MIX_2
        state[k] = mixed ^ (mixed >> R31)


@njit
def bits(state: np.ndarray) -> np.uint64:
    """Step the state and give 64 random bits."""
    low, high = state[0], state[1]
    total = low + high
    result = ((total << R17) | (total >> R47)) + low
    high ^= low
    state[0] = ((low << R49) | (low >> np.uint64(15))) ^ high ^ (high << R21)
    state[1] = (high << R28) | (high >> R36)
    return result


@njit
def uniform(state: np.ndarray) -> float:
    """Draw from the midpoints of 2^52 equal parts of (0, 1): never 0, never 1."""
    return (np.float64(bits(state) >> R12) + 0.5) * 2.0**-52


@njit
def exponential(state: np.ndarray) -> float:
    """Draw from the exponential law of mean 1: positive and finite."""
    return -math.log(uniform(state))
