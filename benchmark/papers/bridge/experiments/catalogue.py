"""All experiments by name, and how they are run."""

from collections.abc import Callable, Iterable

import pandas as pd
import torch

from ....running.pieces import Pieces
from .accuracy import (
    covariance_factor,
    exact_scores,
    explicit_target,
    forward_kernel,
    learned_scores,
    naive_averaging,
    objective_coefficients,
)
from .convergence import convergence
from .coverage import coverage, long_coverage
from .determinants import DETERMINANTS
from .fits import diffusion_means, recovery
from .fitzhugh_nagumo import FITZHUGH_NAGUMO
from .landmark_networks import LANDMARK_NETWORKS
from .landmarks import landmarks, many_landmarks, many_particles
from .networks import NETWORKS
from .piece import Experiment
from .time_grids import TIME_GRIDS
from .trees import TREES

EXPERIMENTS: dict[str, Callable[[], Experiment]] = {
    "exact_scores": exact_scores,
    "covariance_factor": covariance_factor,
    "forward_kernel": forward_kernel,
    "objective_coefficients": objective_coefficients,
    "explicit_target": explicit_target,
    "naive_averaging": naive_averaging,
    "learned_scores": learned_scores,
    "landmarks": landmarks,
    "many_landmarks": many_landmarks,
    "many_particles": many_particles,
    "recovery": recovery,
    "diffusion_means": diffusion_means,
    "convergence": convergence,
    "coverage": coverage,
    "long_coverage": long_coverage,
    **LANDMARK_NETWORKS,
    **DETERMINANTS,
    **TIME_GRIDS,
    **FITZHUGH_NAGUMO,
    **NETWORKS,
    **TREES,
}


def count_pieces(names: Iterable[str]) -> int:
    """Return the number of pieces of some experiments."""
    return sum(1 for name in names for _ in EXPERIMENTS[name]())


@torch.no_grad()
def run_experiment(name: str, pieces: Pieces) -> pd.DataFrame:
    """Compute what is missing of an experiment, and return its table, with a row for each case."""
    found = [pieces.get(f"{name} {k}", piece) for k, piece in enumerate(EXPERIMENTS[name](), start=1)]
    return pd.DataFrame([row for rows in found for row in rows])
