"""A solver for the equations of Lotka-Volterra and SIR, with derivatives in the rates."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable

# The largest error of a step, for each component relative to 1 + its size. The error of x and y then stays
# below 1e-6 over the priors of the tasks here, with a few hundred steps per row.
TOLERANCE = 1e-8
FIRST_STEP, MOST_STEPS = 1e-3, 50_000

STAGES = np.array(
    [
        [0, 0, 0, 0, 0, 0],
        [1 / 5, 0, 0, 0, 0, 0],
        [3 / 40, 9 / 40, 0, 0, 0, 0],
        [44 / 45, -56 / 15, 32 / 9, 0, 0, 0],
        [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729, 0, 0],
        [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656, 0],
        [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],  # the step itself, of order 5
    ]
)
ERROR = np.array([71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40])


class _LogPopulations(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rates: Tensor, start: tuple[float, float], times: tuple[float, ...]) -> Tensor:
        solved = torch.from_numpy(
            _solve(rates.detach().double().contiguous().numpy(), np.array(start), np.array(times))
        )
        ctx.save_for_backward(solved[:, :, 2:].unflatten(2, (2, 4)))
        return solved[:, :, :2]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (derivatives,) = ctx.saved_tensors
        return torch.einsum("ntsp,nts->np", derivatives, gradients[0]), None, None


def log_populations(rates: Tensor, start: tuple[float, float], times: Sequence[float]) -> Tensor:
    """Solve the equations of two interacting populations; differentiable once in the rates.

    For the logarithms x, y of the populations and the rates p = (a, b, c, d),

        x' = a − b exp(y),                                    y' = −c + d exp(x),
        (∂x/∂p)' = −b exp(y) ∂y/∂p + (1, −exp(y), 0, 0),      (∂y/∂p)' = d exp(x) ∂x/∂p + (0, 0, −1, exp(x)).

    Prey and predators are x and y with four rates. SIR has the shares of susceptible and of infected people
    as x and y, with a = 0 and b = d. In logarithms no share becomes negative.

    The method is the Runge-Kutta pair of order 5(4) of Dormand and Prince. Each row has its own adaptive
    steps, so no row depends on another. Fixed steps would have to be 1/500 of the time unit because of a few
    sharp peaks.

    Args:
        rates: (a, b, c, d), (n, 4), in float64.
        start: x and y at time 0.
        times: T times of output, ascending, from 0 on.

    Returns:
        x and y, (n, T, 2); NaN at times that a row does not reach in 50,000 steps.
    """
    solution: Tensor = _LogPopulations.apply(rates, start, tuple(times))
    return solution


@njit(cache=True)
def _slopes(p: np.ndarray, state: np.ndarray, slope: np.ndarray) -> None:
    """Fill in the time derivative of x, y, ∂x/∂p and ∂y/∂p, (10,)."""
    first, second = np.exp(state[0]), np.exp(state[1])
    slope[0] = p[0] - p[1] * second
    slope[1] = -p[2] + p[3] * first
    for k in range(4):
        slope[2 + k] = -p[1] * second * state[6 + k]
        slope[6 + k] = p[3] * first * state[2 + k]
    slope[2] += 1.0
    slope[3] -= second
    slope[8] -= 1.0
    slope[9] += first


@njit(cache=True)
def _step(p: np.ndarray, state: np.ndarray, step: float, slopes: np.ndarray, end: np.ndarray) -> float:
    """Fill in the state after one step and return its error divided by the tolerance; slopes[0] is known."""
    for stage in range(1, 7):
        for i in range(len(state)):
            mean = 0.0
            for earlier in range(stage):
                mean += STAGES[stage, earlier] * slopes[earlier, i]
            end[i] = state[i] + step * mean
        _slopes(p, end, slopes[stage])
    largest = 0.0
    for i in range(len(state)):
        error = 0.0
        for stage in range(7):
            error += ERROR[stage] * slopes[stage, i]
        relative = abs(step * error) / (TOLERANCE * (1 + abs(end[i])))
        if not relative < np.inf:  # NaN included
            return np.inf
        largest = max(largest, relative)
    return largest


@njit(cache=True)
def _solve(rates: np.ndarray, start: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return x, y, ∂x/∂p and ∂y/∂p at the times, (n, T, 10)."""
    solution = np.full((len(rates), len(times), 10), np.nan)
    slopes, state, end = np.empty((7, 10)), np.empty(10), np.empty(10)
    for row in range(len(rates)):
        state[:] = 0.0
        state[:2] = start
        _slopes(rates[row], state, slopes[0])
        time, next_step, tried = 0.0, FIRST_STEP, 0
        for j in range(len(times)):
            while time < times[j] and tried < MOST_STEPS:
                tried += 1
                step = min(next_step, times[j] - time)
                error = _step(rates[row], state, step, slopes, end)
                accepted = error <= 1
                factor = min(5.0, max(0.2, 0.9 * max(error, 1e-9) ** -0.2))
                if accepted:
                    time = times[j] if step < next_step else time + step
                    state[:] = end
                    slopes[0] = slopes[6]
                if step == next_step or not accepted:  # a shortened step does not set the next one
                    next_step = step * factor
            if time < times[j]:
                break
            solution[row, j] = state
    return solution
