"""Regression by stacking: networks correct a ridge regression, for R replicates at once."""

import itertools
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ...tasks.errors import NotFiniteError
from .averaging import DECAY, VALIDATION_ROWS, is_due
from .descent import Descent
from .network import ReplicatedMLP
from .optimizer import cosine
from .standardise import Standardise

SCALES = (0.01, 0.1, 1.0)  # of the many features
PENALTIES = (1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
NO_PENALTY = 1e-9  # for the intercept
FOLDS = 5
WIDTH, DEPTH = 64, 2
STEPS, BATCH, RATE = 1000, 256, 5e-3
FARTHEST = 5.0  # standard deviations


class Stacking(nn.Module):
    """A regression of y on few and many features.

        p = b + A (few, many),    ŷ = p + mean over k of F_k(p, few)

    The ridge regression p uses all features. Networks F_1 … F_5 correct it by its own predictions and the few
    features; they start at 0. F_k is trained without the k-th fifth of the rows. It is trained on predictions
    p_i that were made without the fifth of row i: otherwise it would learn to trust predictions that fit the
    training rows too well. Leaving out row i alone would not do: what all rows share minus the part of row i
    makes p_i, so that p_i would tell y_i. All features are standardised.

    Args:
        few, many: features of the training rows (R, n, ·), which determine means and standard deviations.
        outputs: number of components of y.
        generators: one for each replicate.
    """

    coefficients: Tensor
    intercept: Tensor

    def __init__(
        self, few: Tensor, many: Tensor, outputs: int, generators: Sequence[torch.Generator]
    ) -> None:
        super().__init__()
        self.few, self.many = Standardise(few), Standardise(many)
        inputs = few.shape[2] + many.shape[2]
        self.register_buffer("coefficients", few.new_zeros(len(few), inputs, outputs))
        self.register_buffer("intercept", few.new_zeros(len(few), 1, outputs))
        inputs = outputs + few.shape[2]
        networks = [
            ReplicatedMLP(inputs, outputs, width=WIDTH, depth=DEPTH, generators=generators)
            for _ in range(FOLDS)
        ]
        self.networks = nn.ModuleList(networks)

    def forward(self, few: Tensor, many: Tensor) -> Tensor:
        """Return ŷ (R, n, outputs)."""
        few = self.few(few)
        linear = torch.cat([few, self.many(many)], -1) @ self.coefficients + self.intercept
        inputs = self._inputs(linear, few)
        return linear + torch.stack([network(inputs) for network in self.networks]).mean(0)

    def fit(self, few: Tensor, many: Tensor, y: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Fit the ridge regression, then train the networks, in each replicate.

        Each network keeps the moving average of the step of least loss on the rows that it does not see; its
        start is one of the candidates.

        Args:
            few, many: features of the training rows (R, n, ·), n ≥ 5.
            y: what to regress (R, n, outputs).
            generators: of minibatches, one for each replicate.

        Returns:
            ŷ (R, n, outputs) of the training rows, each predicted by a ridge regression and a network that
            were fitted without it.

        Raises:
            NotFiniteError: features or y are not finite.
        """
        few, many = self.few(few), self.many(many)
        linear = torch.stack([self._ridge(*rows, r) for r, rows in enumerate(zip(few, many, y, strict=True))])
        inputs = self._inputs(linear, few)
        predicted = linear.clone()
        for network, own in zip(self.networks, torch.arange(y.shape[1]).tensor_split(FOLDS), strict=True):
            assert isinstance(network, ReplicatedMLP)  # which a ModuleList does not say
            _train(network, inputs, y - linear, own, generators)
            with torch.no_grad():
                predicted[:, own] += network(inputs[:, own])
        return predicted

    def _inputs(self, linear: Tensor, few: Tensor) -> Tensor:
        """Return the inputs of the networks for predictions and standardised features."""
        return torch.cat([linear - self.intercept, few], -1).clamp(-FARTHEST, FARTHEST)

    def _ridge(self, few: Tensor, many: Tensor, y: Tensor, r: int) -> Tensor:
        """Fit the ridge regression of replicate r, with a free intercept.

        The scale s of the many features and the penalty λ are chosen for each output by the least error on
        the fifths of the rows, each predicted from the rest. A scale s stands for the penalty λ/s².

        Returns:
            The predictions (n, outputs) of each fifth from the rest.
        """
        z = torch.cat([few, many, few.new_ones(len(few), 1)], 1).double()
        y = y.double()
        folds = torch.arange(len(y)).tensor_split(FOLDS)
        grams = torch.stack([z[own].T @ z[own] for own in folds])
        products = torch.stack([z[own].T @ y[own] for own in folds])
        if not grams.isfinite().all():
            raise NotFiniteError(f"the features of replicate {r} are not finite")
        gram, product = grams.sum(0), products.sum(0)
        best, predicted = y.new_full(y.shape[1:], torch.inf), torch.zeros_like(y)
        fitted = y.new_zeros(z.shape[1], y.shape[1])
        for scale, penalty in itertools.product(SCALES, PENALTIES):
            penalties = y.new_full(z.shape[1:], penalty)
            penalties[few.shape[1] :] /= scale**2
            penalties[-1] = NO_PENALTY
            solved = _solve(gram - grams, product - products, penalties)
            own = torch.cat([z[rows] @ part for rows, part in zip(folds, solved, strict=True)])
            error = (y - own).square().mean(0)
            better, best = error < best, torch.minimum(error, best)
            predicted = torch.where(better, own, predicted)
            fitted = torch.where(better, _solve(gram, product, penalties), fitted)
        self.coefficients[r], self.intercept[r] = fitted[:-1].float(), fitted[-1:].float()
        return predicted.float()


def _solve(gram: Tensor, product: Tensor, penalties: Tensor) -> Tensor:
    """Return (gram + diag(penalties))⁻¹ product."""
    factor = torch.linalg.cholesky(gram + penalties.diag())
    return torch.cholesky_solve(product, factor)


def _train(
    network: ReplicatedMLP, inputs: Tensor, y: Tensor, held_out: Tensor, generators: Sequence[torch.Generator]
) -> None:
    """Train a network of R replicates to predict y (R, n, outputs) from inputs (R, n, ·).

    Args:
        network: trained in place, up to the moving average of its best step.
        inputs, y: the rows.
        held_out: the numbers of the rows that judge the network and do not train it.
        generators: one for each replicate.
    """
    replicates, n = y.shape[:2]
    seen = torch.ones(n, dtype=torch.bool).index_fill(0, held_out, False).nonzero().squeeze(1)
    unseen = held_out[:VALIDATION_ROWS]
    descent, own = Descent(network, DECAY), torch.arange(replicates).unsqueeze(1)
    rates = [RATE * cosine(step, STEPS) for step in range(STEPS)]
    judged = inputs[:, unseen], y[:, unseen], y.new_ones(replicates, len(unseen), 1)
    descent.judge(*judged)
    due = [0, *(step for step in range(1, STEPS + 1) if is_due(step, STEPS))]
    for first, last in pairwise(due):
        drawn = [
            torch.stack([torch.randint(len(seen), (BATCH,), generator=g) for g in generators])
            for _ in range(first, last)
        ]
        rows = seen[torch.stack(drawn)]
        weights = y.new_ones(*rows.shape, 1)
        descent.advance(inputs[own, rows], y[own, rows], weights, rates[first:last])
        descent.judge(*judged)
    if not descent.average.finish().all():
        raise NotFiniteError("training of a summary diverged")
