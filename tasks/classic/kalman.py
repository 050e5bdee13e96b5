"""Paths and likelihood of the scalar linear Gaussian state-space model."""

import math
from itertools import pairwise

import torch
from torch import Tensor


def fill_path(shocks: Tensor, transition: Tensor) -> Tensor:
    """Turn shocks e_t, (T, n), in place into z_t = a z_{t−1} + e_t from z_0 = 0, for a (n,); return them."""
    for previous, current in pairwise(shocks):
        current.addcmul_(transition, previous)
    return shocks


def kalman_log_likelihood(
    x: Tensor, transition: Tensor, shift: Tensor, state_variance: Tensor, noise_variance: Tensor, start: float
) -> Tensor:
    """Return log p(x_1 … x_T) by the Kalman filter, differentiable in the parameters.

        z_t = a z_{t−1} + b + N(0, Q),   x_t = z_t + N(0, R),   t = 1 … T,   z_0 known

    Given x_1 … x_{t−1}, z_t is N(m, P) and x_t is N(m, P + R). Given x_t as well, with the gain G = P/(P +
    R), z_t is N(m + G (x_t − m), (1 − G) P). The first equation then gives the next m and P.

    Args:
        x: data, (n or 1, T).
        transition: a, (n,).
        shift: b, (n,).
        state_variance: Q, (n,).
        noise_variance: R, (n,).
        start: z_0.

    Returns:
        The log-likelihood of each row, (n,).
    """
    mean, variance = start * transition + shift, state_variance
    total = torch.zeros_like(transition)
    for observed in x.T:
        predictive = variance + noise_variance
        residual = observed - mean
        total = total - 0.5 * (predictive.log() + residual.square() / predictive)
        gain = variance / predictive
        mean = transition * (mean + gain * residual) + shift
        variance = transition.square() * gain * noise_variance + state_variance
    return total - 0.5 * x.shape[1] * math.log(2 * math.pi)
