"""Accuracy of a classifier at telling a posterior sample from a reference sample (C2ST): 0.5 is perfect."""

import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from .distance import Estimate, measure, with_spread
from .fitted import Fitted, Row
from .truth import Truth

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

FOLDS = 5
UNITS_PER_DIMENSION = 10
FARTHEST = 1e6  # standard deviations; farther samples, from a score that diverged, overflow the classifier


def c2st_mlp(sample: Tensor, reference: Tensor, seed: int) -> Estimate:
    """Compute the five-fold accuracy of scikit-learn's MLP at telling two samples apart.

    The network has two hidden layers of 10 d units with ReLU
    and is trained by Adam, as in Lueckmann et al. Its steps are larger: batches of 500, rate 0.01, at most
    100 passes. Training is then three times as fast, and as accurate on pairs of normals with known Bayes
    accuracy. It overfits small differences in many dimensions, which `c2st_ensemble` finds.

    Args:
        sample: (n, d).
        reference: (n, d), with spread in every column.
        seed: the seed of the folds and of the network.

    Source: Lueckmann et al., Benchmarking simulation-based inference, 2021.
    """
    from sklearn.neural_network import MLPClassifier  # a second, which sweeps without C2ST should not wait

    units = UNITS_PER_DIMENSION * sample.shape[1]
    classifier = MLPClassifier(
        hidden_layer_sizes=(units, units),
        batch_size=min(500, len(sample)),
        learning_rate_init=0.01,
        max_iter=100,
        random_state=seed % 2**32,
    )
    return _held_out_accuracy(classifier, sample, reference, seed)


def c2st_ensemble(sample: Tensor, reference: Tensor, seed: int) -> Estimate:
    """Compute the five-fold accuracy of two classifiers together at telling two samples apart.

    The probability of a class is the mean of the two classifiers' probabilities. One is a logistic regression
    on all products of two columns, which finds differences of means, variances and correlations. The other is
    60 boosted trees of 8 leaves, which find other differences along the axes. Their settings are fixed, so
    that no choice makes the accuracy too high.

    Args:
        sample: (n, d).
        reference: (n, d), with spread in every column.
        seed: the seed of the folds.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, VotingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    quadratic = make_pipeline(
        PolynomialFeatures(2, include_bias=False), StandardScaler(), LogisticRegression(C=0.1, max_iter=300)
    )
    trees = HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_iter=60,
        max_leaf_nodes=8,
        min_samples_leaf=30,
        early_stopping=False,
        random_state=seed % 2**32,
    )
    ensemble = VotingClassifier([("quadratic", quadratic), ("trees", trees)], voting="soft")
    return _held_out_accuracy(ensemble, sample, reference, seed)


def _held_out_accuracy(
    classifier: "ClassifierMixin", sample: Tensor, reference: Tensor, seed: int
) -> Estimate:
    """Return the five-fold accuracy a of a classifier, and its binomial standard error √(a(1 − a)/(2n)).

    Both samples, (n, d), are standardised by the reference.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    standardised = (torch.cat([sample, reference]) - reference.mean(0)) / reference.std(0)
    rows = standardised.clamp(-FARTHEST, FARTHEST).numpy()
    labels = np.repeat([0, 1], [len(sample), len(reference)])
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings(), threadpool_limits(1):  # threads would change the sums of the trees
        warnings.simplefilter("ignore", ConvergenceWarning)
        accuracy = float(cross_val_score(classifier, rows, labels, cv=folds, error_score="raise").mean())
    return Estimate(accuracy, math.sqrt(accuracy * (1 - accuracy) / len(rows)))


def _c2st_mlp_of(sample: Tensor, truth: Truth, o: int, r: int, seed: int) -> Estimate:
    return c2st_mlp(sample, with_spread(truth, o, r).theta, seed)


def _c2st_ensemble_of(sample: Tensor, truth: Truth, o: int, r: int, seed: int) -> Estimate:
    return c2st_ensemble(sample, with_spread(truth, o, r).theta, seed)


def measure_c2st_mlp(fitted: Fitted) -> Iterator[Row]:
    """Yield the accuracy of `c2st_mlp` for each replicate and observation."""
    return measure(fitted, _c2st_mlp_of)


def measure_c2st_ensemble(fitted: Fitted) -> Iterator[Row]:
    """Yield the accuracy of `c2st_ensemble` for each replicate and observation."""
    return measure(fitted, _c2st_ensemble_of)
