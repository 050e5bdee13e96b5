"""Regression by stacking: a network corrects a ridge regression, for R replicates at once."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ...tasks.errors import NotFiniteError
from .averaging import DECAY, VALIDATION_ROWS, MovingAverage, held_out, is_due
from .network import ReplicatedMLP
from .optimizer import CosineAdam
from .standardise import Standardise

SCALES = (0.01, 0.1, 1.0)  # of the many features
PENALTIES = (1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
SMALLEST_FREEDOM = 1e-9
NULL = 1e-12  # eigenvalues below this share of the largest are rounding
WIDTH, DEPTH = 64, 2
STEPS, BATCH, RATE = 1000, 256, 5e-3
FARTHEST = 5.0  # standard deviations


class Stacking(nn.Module):
    """A regression of y on few and many features.

        p = b + A (few, many),    ŷ = p + F(p, few)

    The ridge regression p uses all features, and the network F the predictions p and the few features. F
    starts at 0 and is trained on predictions p_i of row i that are made without row i; otherwise it would
    learn to trust predictions that fit the training rows too well. All features are standardised.

    Args:
        few, many: features of the training rows (R, n, ·), which determine means and standard deviations.
        outputs: number of components of y.
        generators: one for each replicate.
    """

    coefficients: Tensor
    intercept: Tensor
    spread: Tensor

    def __init__(
        self, few: Tensor, many: Tensor, outputs: int, generators: Sequence[torch.Generator]
    ) -> None:
        super().__init__()
        self.few, self.many = Standardise(few), Standardise(many)
        inputs = few.shape[2] + many.shape[2]
        self.register_buffer("coefficients", few.new_zeros(len(few), inputs, outputs))
        self.register_buffer("intercept", few.new_zeros(len(few), 1, outputs))
        self.register_buffer("spread", few.new_ones(len(few), 1, outputs))
        self.mlp = ReplicatedMLP(
            outputs + few.shape[2], outputs, width=WIDTH, depth=DEPTH, generators=generators
        )

    def forward(self, few: Tensor, many: Tensor) -> Tensor:
        """Return ŷ (R, n, outputs)."""
        few = self.few(few)
        linear = torch.cat([few, self.many(many)], -1) @ self.coefficients + self.intercept
        return linear + self.mlp(self._inputs(linear, few))

    def fit(self, few: Tensor, many: Tensor, y: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Fit the ridge regression, then train the network, in each replicate.

        The last tenth of the rows is held out from the network, which keeps the moving average of the step
        of least held-out loss; its start is one of the candidates.

        Args:
            few, many: features of the training rows (R, n, ·).
            y: what to regress (R, n, outputs).
            generators: of minibatches, one for each replicate.

        Returns:
            ŷ (R, n, outputs) of the training rows, with p_i made without row i.

        Raises:
            NotFiniteError: features or y are not finite.
        """
        few, many = self.few(few), self.many(many)
        linear = torch.stack([self._ridge(*rows, r) for r, rows in enumerate(zip(few, many, y, strict=True))])
        self.spread = linear.std(1, keepdim=True, correction=0) + SMALLEST_FREEDOM
        inputs = self._inputs(linear, few)
        self._train(inputs, y - linear, generators)
        with torch.no_grad():
            return linear + self.mlp(inputs)

    def _inputs(self, linear: Tensor, few: Tensor) -> Tensor:
        """Return the inputs of the network for predictions and standardised features."""
        predicted = (linear - self.intercept) / self.spread
        return torch.cat([predicted, few], -1).clamp(-FARTHEST, FARTHEST)

    def _ridge(self, few: Tensor, many: Tensor, y: Tensor, r: int) -> Tensor:
        """Fit the ridge regression of replicate r.

        Scale s of the many features and penalty λ are chosen for each output by the least leave-one-out
        error. With Z = (few, s many) and K = Z Zᵀ = U diag(w) Uᵀ, leverages and predictions without row i are

            h_i = 1/n + Σ_k U_ik² w_k/(w_k + λ),    p_i = y_i − (y_i − fit_i)/(1 − h_i)

        Returns:
            The predictions p (n, outputs).
        """
        few, many, y = few.double(), many.double(), y.double()
        intercept = y.mean(0)
        centred = y - intercept
        best = y.new_full(intercept.shape, torch.inf)
        coefficients, predicted = self.coefficients[r].double(), torch.zeros_like(y)
        for scale in SCALES:
            z = torch.cat([few, scale * many], 1)
            left, values = _left_vectors(z)
            projected = left.T @ centred
            for penalty in PENALTIES:
                shrink = (values / (values + penalty)).unsqueeze(1)
                freedom = (1 - 1 / len(y) - left.square() @ shrink).clamp_min(SMALLEST_FREEDOM)
                residuals = (centred - left @ (shrink * projected)) / freedom
                error = residuals.square().mean(0)
                better, best = error < best, torch.minimum(error, best)
                solved = z.T @ (left @ (projected / (values + penalty).unsqueeze(1)))
                solved[few.shape[1] :] *= scale
                coefficients = torch.where(better, solved, coefficients)
                predicted = torch.where(better, y - residuals, predicted)
        if not best.isfinite().all():
            raise NotFiniteError(f"the features of replicate {r} are not finite")
        self.coefficients[r], self.intercept[r] = coefficients.float(), intercept.float()
        return predicted.float()

    def _train(self, inputs: Tensor, y: Tensor, generators: Sequence[torch.Generator]) -> None:
        """Train the network to predict y (R, n, outputs) from its inputs (R, n, ·)."""
        replicates, n = y.shape[:2]
        n_train = n - held_out(n)
        unseen = slice(n_train, n_train + VALIDATION_ROWS)
        parameters = [*self.mlp.parameters()]
        average = MovingAverage(parameters, DECAY, replicates)
        optimizer = CosineAdam([(parameters, RATE)], STEPS)

        def loss(inputs: Tensor, y: Tensor) -> Tensor:
            return (self.mlp(inputs) - y).square().mean((1, 2))

        judge = partial(average.judge, torch.no_grad()(partial(loss, inputs[:, unseen], y[:, unseen])))
        judge()
        own = torch.arange(replicates).unsqueeze(1)
        for step in range(1, STEPS + 1):
            rows = torch.stack([torch.randint(n_train, (BATCH,), generator=g) for g in generators])
            optimizer.step(loss(inputs[own, rows], y[own, rows]).sum())
            average.update()
            if is_due(step, STEPS):
                judge()
        if not average.finish().all():
            raise NotFiniteError("training of a summary diverged")


def _left_vectors(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return left singular vectors (n, k) and squared singular values (k,) of z (n, p), k ≤ min(n, p)."""
    if len(z) <= z.shape[1]:
        values, left = torch.linalg.eigh(z @ z.T)
        return left, values.clamp_min(0)
    values, right = torch.linalg.eigh(z.T @ z)
    kept = values > NULL * values[-1]
    return (z @ right[:, kept]) / values[kept].sqrt(), values[kept]
