"""Errors of the means and standard deviations of a posterior sample."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ...tasks.seeding import generator
from .distance import Estimate, measure, with_spread
from .fitted import Fitted, Row
from .truth import Truth

BOOTSTRAP_DRAWS = 100


def mean_error(sample: Tensor, mean: Tensor, std: Tensor, seed: int) -> Estimate:
    """Compute ‖(m − m_ref)/s_ref‖/√d, with a bootstrap standard error.

    Args:
        sample: (n, d), with mean m.
        mean: m_ref, (d,).
        std: s_ref, (d,).
        seed: the seed of the bootstrap.
    """
    centred = (sample - mean) / std
    return Estimate(_rms(centred.mean(0)), float(_rms_rows(_resampled(centred, seed).mean(1)).std()))


def std_error(sample: Tensor, mean: Tensor, std: Tensor, seed: int) -> Estimate:
    """Compute ‖(s − s_ref)/s_ref‖/√d, with a bootstrap standard error.

    Args:
        sample: (n, d), with standard deviations s.
        mean: m_ref, (d,).
        std: s_ref, (d,).
        seed: the seed of the bootstrap.
    """
    scaled = (sample - mean) / std
    return Estimate(_rms(scaled.std(0) - 1), float(_rms_rows(_resampled(scaled, seed).std(1) - 1).std()))


def _resampled(sample: Tensor, seed: int) -> Tensor:
    n = len(sample)
    return sample[torch.randint(n, (BOOTSTRAP_DRAWS, n), generator=generator(seed))]


def _rms(vector: Tensor) -> float:
    return float(vector.square().mean().sqrt())


def _rms_rows(rows: Tensor) -> Tensor:
    return rows.square().mean(1).sqrt()


def _mean_error_of(sample: Tensor, truth: Truth, o: int, r: int, seed: int) -> Estimate:
    reference = with_spread(truth, o, r)
    return mean_error(sample, reference.mean, reference.std, seed)


def _std_error_of(sample: Tensor, truth: Truth, o: int, r: int, seed: int) -> Estimate:
    reference = with_spread(truth, o, r)
    return std_error(sample, reference.mean, reference.std, seed)


def measure_posterior_mean_error(fitted: Fitted) -> Iterator[Row]:
    """Yield the error of the marginal means for each replicate and observation."""
    return measure(fitted, _mean_error_of)


def measure_posterior_std_error(fitted: Fitted) -> Iterator[Row]:
    """Yield the error of the marginal standard deviations for each replicate and observation."""
    return measure(fitted, _std_error_of)
