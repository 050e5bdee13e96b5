"""Hamiltonian Monte Carlo for densities near N(0, I).

Own code, because Pyro runs one chain after another in Python, and here all chains share one batch of
gradients and the exact flow of N(0, I); `graybench bridges --only tree_samplers` compares both.
"""

import math
from collections.abc import Callable, Sequence
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
    """Draws of G groups of C chains.

    Attributes:
        draws: (G, C, S, dim).
        acceptance: the mean probability of acceptance after warming up, (G,).
        step: the longest step after warming up, (G,).
    """

    draws: Tensor
    acceptance: Tensor
    step: Tensor


class State(NamedTuple):
    """Places and momenta (G, C, dim), log-densities (G, C, 1) and their gradients (G, C, dim)."""

    x: Tensor
    momentum: Tensor
    value: Tensor
    slope: Tensor


def hamiltonian(
    log_density: Callable[[Tensor, Tensor], Tensor],
    start: Tensor,
    *,
    warmup: int,
    draws: int,
    seeds: Sequence[int],
) -> Chains:
    """Sample from G densities, each by a group of C chains that share a step size.

    Momenta are N(0, I). A proposal follows Hamilton's equations for a time that is uniform up to π, so that
    no trajectory closes every time. A step solves them exactly for N(0, I), by a rotation, between two half
    steps along the gradient of the log-ratio of the density to N(0, I). While warming up, the step size rises
    or falls until nine of ten proposals are accepted. A state whose log-density is NaN is never accepted.

    Groups share the batches of gradients and nothing else: the draws of a group are the same in any company,
    up to rounding.

    Args:
        log_density: maps places (K, C, dim) and the numbers of their groups (K,) to (K, C), differentiable in
            the places. It is asked for some of the groups at a time.
        start: (G, C, dim), where the density is not 0.
        warmup: number of proposals before the draws.
        draws: number S of draws of each chain.
        seeds: G seeds, which name the noise of each group.

    Source: R. M. Neal, MCMC using Hamiltonian dynamics, in Handbook of Markov Chain Monte Carlo, 2011; B.
    Shahbaba, S. Lan, W. O. Johnson and R. M. Neal, Split Hamiltonian Monte Carlo, Statistics and Computing 24
    (2014).
    """
    sources = [generator(derive_seed(seed, "hamiltonian")) for seed in seeds]

    def noise(draw: Callable[..., Tensor], *size: int) -> Tensor:
        return torch.stack([draw(size, generator=source, dtype=start.dtype) for source in sources])

    every = torch.arange(len(start))
    now = State(start, start, *_differentiate(log_density, start, every))
    log_step = torch.full((len(start),), math.log(FIRST_STEP), dtype=torch.float64)
    kept, rates = [], []
    for turn in range(warmup + draws):
        duration = LONGEST * torch.stack([torch.rand((), generator=source) for source in sources]).double()
        leaps = (duration / log_step.exp()).ceil().clamp(1, MOST_LEAPS)
        step = torch.minimum(log_step.exp(), duration / leaps)
        now = now._replace(momentum=noise(torch.randn, *start.shape[1:]))
        new = now
        for leap in range(int(leaps.max())):
            moving = every[leaps > leap]
            moved = _leap(log_density, State(*(part[moving] for part in new)), step[moving], moving)
            new = State(*(part.index_copy(0, moving, own) for part, own in zip(new, moved, strict=True)))
        gain = (_energy(new) - _energy(now)).nan_to_num(nan=-math.inf)
        accepted = noise(torch.rand, start.shape[1], 1).log() < gain
        now = State(*(torch.where(accepted, own, old) for own, old in zip(new, now, strict=True)))
        rate = gain.clamp_max(0).exp().mean((1, 2)).double()
        if turn < warmup:
            log_step = log_step + (rate - ACCEPTANCE) / (1 + turn / 10) ** 0.6
        else:
            rates.append(rate)
            kept.append(now.x)
        report("hamiltonian", turn + 1, warmup + draws)
    return Chains(torch.stack(kept, 2), torch.stack(rates).mean(0), log_step.exp())


def _energy(state: State) -> Tensor:
    """Return the logarithm of the joint density of place and momentum (G, C, 1), up to a constant."""
    return state.value - 0.5 * state.momentum.square().sum(-1, keepdim=True)


def _leap(
    log_density: Callable[[Tensor, Tensor], Tensor], state: State, step: Tensor, groups: Tensor
) -> State:
    """Return the state of K groups after a step (K,)."""
    half, cos, sin = (f[:, None, None].to(state.x.dtype) for f in (0.5 * step, step.cos(), step.sin()))
    momentum = state.momentum + half * (state.slope + state.x)
    x, momentum = cos * state.x + sin * momentum, cos * momentum - sin * state.x
    value, slope = _differentiate(log_density, x, groups)
    return State(x, momentum + half * (slope + x), value, slope)


def _differentiate(
    log_density: Callable[[Tensor, Tensor], Tensor], x: Tensor, groups: Tensor
) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        value = log_density(point, groups)
        (slope,) = torch.autograd.grad(value.sum(), point)
    return value.detach().unsqueeze(-1), slope
