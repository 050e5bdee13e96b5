"""Gates that depend on more than t.

`ConditionalWeight` and `ConditionalHessianWeight` depend on x as well, `StateWeight` and `StateHessianWeight`
on u_t and x.
They are fitted before any score network is trained, and start at the closed form for t alone.
"""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from ....tasks.seeding import derive_seed, generator
from ...nn.averaging import BestStep
from ...nn.network import ReplicatedMLP
from ...nn.optimizer import CosineAdam
from ...nn.standardise import Standardise
from ..recipes import Preconditioned
from ..schedule import alpha_sigma
from ..training_data import Draws, TrainingData, every_row, minibatches
from .gate import Gate, cost
from .of_time import OptimalWeight, along, logit

WIDTH, DEPTH = 32, 2
STEPS, BATCH, RATE = 500, 256, 5e-3
HELD_OUT_SHARE, HELD_OUT_ROWS, LOOKS = 0.2, 4096, 10
BOUND = 3.0


class StateGate(Gate):
    """A gate with a network that is fitted to simulations, starting at a closed form.

    Adam minimises `loss` on four fifths of the simulations. On the other fifth the cost σ² ‖y_W‖²/d is
    evaluated ten times, see `gate.cost`. With Δ the difference from the cost at the start, each replicate
    keeps the step of least mean Δ plus one standard error, or the start if none is below 0. With fewer than
    two simulations to hold out, nothing is fitted.

    Args:
        start: the closed form for t alone.
    """

    mlp: ReplicatedMLP

    def __init__(self, start: OptimalWeight) -> None:
        super().__init__()
        self.start = start

    @abstractmethod
    def loss(self, data: TrainingData, draws: Draws) -> Tensor:
        """Return the loss of every draw (R, n)."""

    def second_moment(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return E‖y_W‖²/d of the start; fitting lowers it."""
        return self.start.second_moment(alpha, sigma)

    def fit(self, data: TrainingData, seeds: Sequence[int]) -> None:
        n, d = data.u.shape[1:]
        held_out = round(HELD_OUT_SHARE * n)
        if held_out < 2:
            return
        streams = [generator(derive_seed(seed, "gate minibatches")) for seed in seeds]
        optimizer = CosineAdam(self.mlp.parameters(), RATE, STEPS)
        selection = _Selection(self, data, held_out, seeds)
        for step in range(STEPS):
            draws = minibatches(1, BATCH, 0, n - held_out, d, streams).to(data.u.device)
            optimizer.step(self.loss(data, Draws(*(drawn[0] for drawn in draws))).mean(1).sum())
            if (step + 1) % (STEPS // LOOKS) == 0:
                selection.look()
        selection.restore()


class _Selection:
    """The selection of the best step of each replicate by its held-out cost, see `StateGate`."""

    @torch.no_grad()
    def __init__(self, gate: StateGate, data: TrainingData, held_out: int, seeds: Sequence[int]) -> None:
        self.gate, self.data = gate, data
        n, d = data.u.shape[1:]
        self.shape = (len(seeds), -(-HELD_OUT_ROWS // held_out), held_out)
        streams = [generator(derive_seed(seed, "gate held out")) for seed in seeds]
        self.draws = every_row(n - held_out, n, self.shape[1], d, streams).to(data.u.device)
        self.start = self._costs()
        self.best = BestStep(gate.mlp.parameters(), self.start.new_zeros(len(seeds)))

    def _costs(self) -> Tensor:
        return cost(self.gate, self.data, self.draws).view(self.shape).mean(1)

    @torch.no_grad()
    def look(self) -> None:
        """Keep the current parameters of the replicates for which they are the best so far."""
        difference = self._costs() - self.start
        excess = difference.mean(1) + difference.std(1) / self.shape[2] ** 0.5
        self.best.update(self.gate.mlp.parameters(), excess)

    @torch.no_grad()
    def restore(self) -> None:
        """Set the gate's parameters to the best."""
        torch._foreach_copy_(list(self.gate.mlp.parameters()), self.best.values)


class ConditionalWeight(StateGate):
    """A weight that depends on x and t, with a regressed second moment J(x).

        W(x, t) = σ² J(x) (σ² J(x) + α² I)⁻¹,    J(x) = E[g gᵀ | x]

    With J = V diag(λ) Vᵀ of the start, a network of x gives a lower triangular L(x) such that

        J(x)⁻¹ = V diag(λ)^(−½) L Lᵀ diag(λ)^(−½) Vᵀ

    The network minimises the proper scoring rule

        E[‖Lᵀ h‖² − 2 Σ_i log L_ii],    h = diag(λ)^(−½) Vᵀ g

    Its minimum is at (L Lᵀ)⁻¹ = E[h hᵀ | x] for any distribution of h. If the start is diagonal or scalar,
    then V = I, L is diagonal or a multiple of I, and the minimum gives the diagonal or the trace of J(x). The
    outputs of the network are bounded by ±3: without a bound, few simulations can give a J(x) that is
    thousands of times too small.

    Args:
        start: the closed form for t alone: scalar, diagonal or matrix.
        x: data of the training simulations (R, n, dim_x).
        generators: one for each replicate.
    """

    def __init__(self, start: OptimalWeight, x: Tensor, generators: Sequence[torch.Generator]) -> None:
        super().__init__(start)
        self.standardise = Standardise(x)
        self.k = start.values.shape[-1]
        outputs = self.k if start.directions is None else self.k * (self.k + 1) // 2
        self.mlp = ReplicatedMLP(x.shape[-1], outputs, width=WIDTH, depth=DEPTH, generators=generators)

    def loss(self, data: TrainingData, draws: Draws) -> Tensor:
        drawn = data.rows(draws.rows)
        log_diagonal, factor = self._factor(drawn.x)
        assert drawn.score is not None
        h = self._into_basis(drawn.score) / self.start.values.sqrt()
        transformed = factor * h if self.start.directions is None else _times(factor.mT, h)
        return transformed.square().mean(-1) - 2 * log_diagonal.mean(-1)

    def score_part(self, v: Tensor, u_t: Tensor, x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = alpha_sigma(t)
        _, factor = self._factor(x)
        values = self.start.values
        if self.start.directions is None:
            precision = alpha**2 * factor**2
            return precision / (sigma**2 * values + precision) * v
        # α² J⁻¹ (σ² I + α² J⁻¹)⁻¹ v; scaling by λ^½ on both sides keeps it well conditioned
        precision = (alpha**2).unsqueeze(-1) * (factor @ factor.mT)
        whitened = _times(precision, self._into_basis(v) / values.sqrt())
        solved = torch.linalg.solve(precision + torch.diag_embed(sigma**2 * values), whitened)
        return (values.sqrt() * solved) @ self.start.directions.mT

    def _factor(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log L_ii (..., n, k) and L (..., n, k, k), or the diagonal of L if L is diagonal."""
        outputs = self.mlp(self.standardise(x))
        if self.start.directions is None:
            log_diagonal = BOUND * torch.tanh(outputs / BOUND)
            return log_diagonal, log_diagonal.exp()
        return triangular(outputs, self.k)

    def _into_basis(self, v: Tensor) -> Tensor:
        return v if self.start.directions is None else v @ self.start.directions


class ConditionalHessianWeight(ConditionalWeight):
    """The weight of `ConditionalWeight` with J(x) = E[H | x] regressed on the Hessians H = −∇_u g.

    The information equality holds for every x, because u is integrated out: E[H | x] = E[g gᵀ | x]. With the
    start's J = V diag(λ) Vᵀ, the network minimises

        E[tr(Lᵀ H̃ L) − 2 Σ_i log L_ii],    H̃ = diag(λ)^(−½) Vᵀ H V diag(λ)^(−½)

    whose minimum is at (L Lᵀ)⁻¹ = E[H̃ | x], which is positive definite although single H̃ may not be.

    Source: Laplace-Fisher gate identities, arXiv 2606.25169.
    """

    def loss(self, data: TrainingData, draws: Draws) -> Tensor:
        drawn = data.rows(draws.rows)
        log_diagonal, factor = self._factor(drawn.x)
        assert drawn.hessian is not None
        assert self.start.directions is not None
        basis = (self.start.directions / self.start.values.sqrt()).unsqueeze(1)
        whitened = basis.mT @ drawn.hessian @ basis
        quadratic = (whitened @ factor * factor).sum((-2, -1)) / self.k
        return quadratic - 2 * log_diagonal.mean(-1)


class StateHessianWeight(StateGate):
    """The best of all weights of u_t, x and t, with E[H | u_t, x] regressed on Hessians H = −∇_u g.

        I − W*(u_t, x, t) = α² (α² I + σ² E[H | u_t, x])⁻¹ = (α²/σ²) E[P | u_t, x]⁻¹,    P = H + (α²/σ²) I

    This is the Laplace-Fisher identity, which also holds with latents: with d = y_score − y_DSM, α d is the
    gradient in u_0 of log p(u_0, z | u_t, x), so E[P | u_t, x] = α² E[d dᵀ | u_t, x] by the information
    equality. It is positive definite, although E[H | u_t, x] may not be. E[g gᵀ | u_t, x] is another matrix.

    With the start's J = V diag(λ) Vᵀ and D = diag(λ + α²/σ²), a network of the inputs of the `Preconditioned`
    recipe gives a lower triangular L that minimises

        E[tr(Lᵀ P̃ L) − 2 Σ_i log L_ii],    P̃ = D^(−½) Vᵀ P V D^(−½)

    whose minimum is at (L Lᵀ)⁻¹ = E[P̃ | u_t, x]. The outputs are bounded as in `ConditionalWeight`.

    Args:
        start: the closed form for t alone, with directions.
        u, x: training simulations (R, n, d) and (R, n, dim_x).
        generators: one for each replicate.

    Source: Laplace-Fisher gate identities, arXiv 2606.25169.
    """

    def __init__(
        self, start: OptimalWeight, u: Tensor, x: Tensor, generators: Sequence[torch.Generator]
    ) -> None:
        super().__init__(start)
        self.recipe = Preconditioned(u, x)
        self.k = u.shape[2]
        outputs = self.k * (self.k + 1) // 2
        self.mlp = ReplicatedMLP(
            self.recipe.n_inputs, outputs, width=WIDTH, depth=DEPTH, generators=generators
        )

    def loss(self, data: TrainingData, draws: Draws) -> Tensor:
        drawn, (alpha, sigma) = data.rows(draws.rows), alpha_sigma(draws.t)
        assert drawn.hessian is not None
        log_diagonal, factor = self._factor(alpha * drawn.u + sigma * draws.eps, drawn.x, draws.t)
        basis = self._basis(alpha, sigma)
        added = (alpha / sigma).square().unsqueeze(-1) * torch.eye(self.k, device=basis.device)
        whitened = basis.mT @ (drawn.hessian + added) @ basis
        quadratic = (whitened @ factor * factor).sum((-2, -1)) / self.k
        return quadratic - 2 * log_diagonal.mean(-1)

    def score_part(self, v: Tensor, u_t: Tensor, x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = alpha_sigma(t)
        transform = self._basis(alpha, sigma) @ self._factor(u_t, x, t)[1]
        return (alpha / sigma).square() * _times(transform, _times(transform.mT, v))

    def _basis(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return V D^(−½) (..., n, d, d)."""
        assert self.start.directions is not None
        scale = (self.start.values + (alpha / sigma).square()).rsqrt()
        return self.start.directions.unsqueeze(1) * scale.unsqueeze(-2)

    def _factor(self, u_t: Tensor, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return log L_ii (..., n, d) and L (..., n, d, d)."""
        inputs, _, _ = self.recipe(u_t, x, t)
        return triangular(self.mlp(inputs), self.k)


def triangular(outputs: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return log L_ii (..., k) and L (..., k, k) for a network's outputs (..., k(k + 1)/2), bounded by ±3."""
    outputs = BOUND * torch.tanh(outputs / BOUND)
    log_diagonal = outputs[..., :k]
    factor = torch.diag_embed(log_diagonal.exp())
    below = torch.tril_indices(k, k, -1, device=outputs.device)
    factor[..., below[0], below[1]] = outputs[..., k:]
    return log_diagonal, factor


def _times(matrix: Tensor, v: Tensor) -> Tensor:
    return (matrix @ v.unsqueeze(-1)).squeeze(-1)


class StateWeight(StateGate):
    """A weight that depends on u_t, x and t: a network corrects the closed form in the eigenbasis of J.

        W(u_t, x, t) = V diag(w) Vᵀ,    w_i = sigmoid(log(σ² λ_i/α²) + F_i(u_t, x, t)),    J = V diag(λ) Vᵀ

    F minimises the gate's own cost σ² E‖y_W‖²/d. It has the same inputs as the score network of the
    `Preconditioned` recipe.

    Args:
        start: the closed form for t alone.
        u, x: training simulations (R, n, d) and (R, n, dim_x).
        generators: one for each replicate.
    """

    def __init__(
        self, start: OptimalWeight, u: Tensor, x: Tensor, generators: Sequence[torch.Generator]
    ) -> None:
        super().__init__(start)
        self.recipe = Preconditioned(u, x)
        outputs = start.values.shape[-1]
        self.mlp = ReplicatedMLP(
            self.recipe.n_inputs, outputs, width=WIDTH, depth=DEPTH, generators=generators
        )

    def loss(self, data: TrainingData, draws: Draws) -> Tensor:
        return cost(self, data, draws)

    def score_part(self, v: Tensor, u_t: Tensor, x: Tensor, t: Tensor) -> Tensor:
        inputs, _, _ = self.recipe(u_t, x, t)
        remainder = torch.sigmoid(-logit(self.start.values, t) - self.mlp(inputs))
        return along(self.start.directions, remainder, v)
