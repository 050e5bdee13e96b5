"""The joint score of jump processes, and random numbers for compiled loops.

Loops over events are compiled by numba and run one row after the other. Each row has its own generator,
xoroshiro128++ (Blackman and Vigna, ACM TOMS 2021), which splitmix64 starts from one 64-bit number of the
torch generator. The loops are compiled anew in each process, because numba's cache on disk does not notice
changes in other files.
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
# Constants of type uint64, because numba turns an operation of uint64 with a plain int into floats.
R12, R17, R21, R27, R28, R30, R31, R36, R47, R49 = (
    np.uint64(r) for r in (12, 17, 21, 27, 28, 30, 31, 36, 47, 49)
)


class JumpTask(Task):
    """A task with the path of a jump process as latent.

    Channel j has the hazard e^{θ_j} h_j(state), so θ_j is a log rate. A path on [0, T] with N_j events of
    channel j and the exposures I_j = ∫ h_j dt has

        log p(path | θ) = Σ_j (θ_j N_j − e^{θ_j} I_j) + constant,    joint score N_j − e^{θ_j} I_j.

    I_j includes the last interval, from the last event to T. Both also hold for a path that ends at a
    stopping time, such as its K-th event, with N and I counted up to there: the score is a martingale.
    Redrawing long paths would be wrong, as it conditions on an event whose probability depends on θ.

    Latents are (N, I), each (n, dim_theta).
    """

    def log_joint(self, theta: Tensor, x: Tensor, latents: Any) -> Tensor:
        """Return Σ_j (θ_j N_j − e^{θ_j} I_j), (n,); the law of x given the path does not depend on θ."""
        counts, exposures = latents
        return (theta * counts - theta.exp() * exposures).sum(1)


def path_outcome(theta: Tensor, x: Tensor, counts: np.ndarray, exposures: np.ndarray) -> Outcome:
    """Return the outcome of paths with counts N and exposures I, (n, dim_theta) each."""
    latents = torch.from_numpy(counts), torch.from_numpy(exposures)
    return Outcome(x, latents[0] - theta.exp() * latents[1], latents=latents)


def row_seeds(n: int, generator: torch.Generator) -> np.ndarray:
    """Draw a 64-bit seed for each of n rows, (n,), int64."""
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
    """Advance the state and return 64 random bits."""
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
