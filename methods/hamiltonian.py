"""Hamiltonian Monte Carlo for densities near N(0, I).

Own code, because Pyro runs one chain after another in Python, and here all chains share one batch of
gradients and the exact flow of N(0, I); `graybench bridges --only tree_samplers` compares both.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..tasks.seeding import derive_seed, generator
from .progress import report

ACCEPTANCE = 0.9  # with 0.8 some chains stick, where steps near 1 are refused
FIRST_STEP = 0.1
LONGEST = math.pi  # time of a trajectory, half a period of N(0, I)
MOST_LEAPS = 32  # of a trajectory, where no step size is good


class Chains(NamedTuple):
    """Draws of C chains.

    Attributes:
        draws: (C, S, dim).
        acceptance: the mean probability of acceptance after warming up.
        step: the longest step after warming up.
    """

    draws: Tensor
    acceptance: float
    step: float


def hamiltonian(
    log_density: Callable[[Tensor], Tensor], start: Tensor, *, warmup: int, draws: int, seed: int
) -> Chains:
    """Sample from a density by chains that share a step size.

    Momenta are N(0, I). A proposal follows Hamilton's equations for a time that is uniform up to π, so that
    no trajectory closes every time. A step solves them exactly for N(0, I), by a rotation, between two half
    steps along the gradient of the log-ratio of the density to N(0, I). While warming up, the step size rises
    or falls until nine of ten proposals are accepted. A state whose log-density is NaN is never accepted.

    Args:
        log_density: maps (C, dim) to (C,), differentiable.
        start: (C, dim), where the density is not 0.
        warmup: number of proposals before the draws.
        draws: number S of draws of each chain.
        seed: names the noise.

    Source: R. M. Neal, MCMC using Hamiltonian dynamics, in Handbook of Markov Chain Monte Carlo, 2011; B.
    Shahbaba, S. Lan, W. O. Johnson and R. M. Neal, Split Hamiltonian Monte Carlo, Statistics and Computing 24
    (2014).
    """
    random = generator(derive_seed(seed, "hamiltonian"))
    x, (value, slope) = start, _differentiate(log_density, start)
    log_step, kept, rates = math.log(FIRST_STEP), [], []
    for turn in range(warmup + draws):
        duration = LONGEST * float(torch.rand((), generator=random))
        leaps = max(1, min(math.ceil(duration / math.exp(log_step)), MOST_LEAPS))
        step = min(math.exp(log_step), duration / leaps)
        cos, sin = math.cos(step), math.sin(step)
        momentum = torch.randn(x.shape, generator=random, dtype=x.dtype)
        energy = value - 0.5 * momentum.square().sum(-1)
        proposal, there, uphill = x, value, slope
        for _ in range(leaps):
            momentum = momentum + 0.5 * step * (uphill + proposal)
            proposal, momentum = cos * proposal + sin * momentum, cos * momentum - sin * proposal
            there, uphill = _differentiate(log_density, proposal)
            momentum = momentum + 0.5 * step * (uphill + proposal)
        gain = (there - 0.5 * momentum.square().sum(-1) - energy).nan_to_num(nan=-math.inf)
        accepted = torch.rand(len(x), generator=random, dtype=x.dtype).log() < gain
        x, slope = (torch.where(accepted[:, None], new, old) for new, old in ((proposal, x), (uphill, slope)))
        value = torch.where(accepted, there, value)
        rate = float(gain.clamp_max(0).exp().mean())
        if turn < warmup:
            log_step += (rate - ACCEPTANCE) / (1 + turn / 10) ** 0.6
        else:
            rates.append(rate)
            kept.append(x)
        report("hamiltonian", turn + 1, warmup + draws)
    return Chains(torch.stack(kept, 1), sum(rates) / draws, math.exp(log_step))


def _differentiate(log_density: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        value = log_density(point)
        (slope,) = torch.autograd.grad(value.sum(), point)
    return value.detach(), slope
