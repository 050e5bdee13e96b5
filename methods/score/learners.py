"""How the parameters of a score model move: by compiled steps for plain networks, else by automatic
differentiation.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..nn.averaging import MovingAverage
from ..nn.descent import Descent
from ..nn.network import ReplicatedMLP
from .gates.gate import Gate

# Factor on the learning rate of a learned weight, which must settle before the score network can. With it the
# weight comes from ½ within 0.03 of w* in 3,000 steps at every budget on the Galton board (results/galton).
GATE_RATE = 3.0


@dataclass(frozen=True)
class Minibatch:
    """A weighted regression of the network's output.

    Attributes:
        inputs: of the network.
        goal_dsm: the goal, or the DSM part of it if a gate is trained.
        goal_score: the score part of the goal if a gate is trained, else None.
        u_t, x, t: where the gate is evaluated.
        weight: the loss weight.
    """

    inputs: Tensor
    goal_dsm: Tensor
    goal_score: Tensor | None
    u_t: Tensor
    x: Tensor
    t: Tensor
    weight: Tensor

    def part(self, k: int | list[int]) -> "Minibatch":
        """Return step k of minibatches that were prepared together, or replicates k of one minibatch."""
        score = None if self.goal_score is None else self.goal_score[k]
        place = self.u_t[k], self.x[k], self.t[k]
        return Minibatch(self.inputs[k], self.goal_dsm[k], score, *place, self.weight[k])


class Learner(Protocol):
    """Moves parameters, averages them, and keeps the best average.

    Attributes:
        average: the moving average, whose `parameters` are those that move.
    """

    average: MovingAverage

    def take(self, batches: Minibatch) -> None:
        """Take one step for each of S minibatches (S, R, B, ·)."""

    def judge(self, held_out: Minibatch) -> None:
        """Keep the average of each replicate whose loss on held-out rows (R, n, ·) is the least so far."""

    def keep(self, kept: list[int]) -> None:
        """Keep these replicates; the others are dropped."""


class CompiledLearner:
    """Trains plain networks on a CPU, see `Descent`.

    Args:
        mlp: the networks; trained in place.
        rate, decay: learning rate and decay of the moving average.
    """

    def __init__(self, mlp: ReplicatedMLP, rate: float, decay: float) -> None:
        self.descent, self.rate = Descent(mlp, decay), rate
        self.average = self.descent.average

    def take(self, batches: Minibatch) -> None:
        rates = [self.rate] * len(batches.inputs)
        self.descent.advance(batches.inputs, batches.goal_dsm, batches.weight, rates)

    def judge(self, held_out: Minibatch) -> None:
        self.descent.judge(held_out.inputs, held_out.goal_dsm, held_out.weight)

    def keep(self, kept: list[int]) -> None:
        self.descent.keep(kept)


class AutogradLearner:
    """Trains networks, and a gate if it is learned, on any device.

    Args:
        mlp, gate: trained in place.
        rate, decay: learning rate and decay of the moving average.
    """

    def __init__(self, mlp: ReplicatedMLP, gate: Gate, rate: float, decay: float) -> None:
        self.mlp, self.gate = mlp, gate
        network, weights = [*mlp.parameters()], trained_parameters(gate)
        groups: list[dict[str, object]] = [{"params": network}]
        if weights:
            groups.append({"params": weights, "lr": GATE_RATE * rate})
        self.adam = torch.optim.Adam(groups, rate, fused=True)
        self.average = MovingAverage([*network, *weights], decay, len(network[0]))

    def take(self, batches: Minibatch) -> None:
        for k in range(len(batches.inputs)):
            self.adam.zero_grad()
            self._loss(batches.part(k)).sum().backward()
            self.adam.step()
            self.average.update()

    def judge(self, held_out: Minibatch) -> None:
        with torch.no_grad():
            self.average.judge(lambda: self._loss(held_out))

    def keep(self, kept: list[int]) -> None:
        for p in self.average.parameters:
            state = self.adam.state[p]
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = state[name][kept]
            p.grad, p.data = None, p.data[kept]
        self.average.keep(kept)

    def _loss(self, batch: Minibatch) -> Tensor:
        """Return the mean loss of each replicate (R,)."""
        goal = batch.goal_dsm
        if batch.goal_score is not None:
            goal = self.gate.mix(goal, batch.goal_score, batch.u_t, batch.x, batch.t)
        return (batch.weight * (self.mlp(batch.inputs) - goal).square()).mean((1, 2))


def trained_parameters(gate: Gate) -> list[Tensor]:
    """Return the parameters of a learned gate, or nothing."""
    return [*gate.parameters()] if gate.trained else []
