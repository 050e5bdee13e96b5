"""How much the held-out loss must fall for training to go on: `nn.stopping.LEAST_FALL`.

    python -m graybench.benchmark.choices.stopping --task NAME --out FILE.csv

Every fit is trained to the cap, and each threshold is asked at every look whether it would have stopped. What
it would have kept, the best average so far, is judged by the method's own loss on fresh simulations.
`choices.report` has the criterion.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer
from torch import Tensor

from ...methods.nn.stopping import Plateau
from ...methods.score.mixtures import Mix
from ...methods.score.score_matching import DSM, ScoreMatching
from ...methods.score.trainer import MOST_STEPS, Trainer
from ...methods.score.training_data import TrainingData
from ...tasks.task import Task
from .fresh import BUDGETS, REPLICATES, chosen_task, fresh_data, fresh_loss, training_simulations, write

TASKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("lotka_volterra", {}),
    ("sbibm_slcp", {}),
    ("gaussian_mixture", {}),
    ("immigration_death", {}),
    ("galton", {}),
    ("linear_gaussian", {"dim": 10}),
    ("hierarchical_normal", {}),
    ("ar1_noise", {}),
)
METHODS: dict[str, type[ScoreMatching]] = {"dsm": DSM, "mix": Mix}
THRESHOLDS = (0.02, 0.01, 0.005, 0.0025, 0.001)
CAP = 0.0  # stands for a threshold that never stops


class Stop(NamedTuple):
    """Where a threshold would have stopped a replicate.

    Attributes:
        step: number of steps taken.
        seconds: processor time of the steps until then, shared evenly among the replicates.
        kept: the trained parameters that it would have kept.
    """

    step: int
    seconds: float
    kept: list[Tensor]


class Recorder(Trainer):
    """A trainer that goes on to the cap, and records where thresholds would have stopped.

    Attributes:
        stops: by threshold and replicate.
    """

    def run(self, progress: Callable[[int, int], None]) -> None:
        self.plateaus = {share: Plateau(len(self.replicates), share) for share in THRESHOLDS}
        self.stops: dict[tuple[float, int], Stop] = {}
        self.start = time.process_time()
        super().run(progress)

    def look(self, step: int) -> list[bool]:
        super().look(step)
        replicates, best = len(self.replicates), self.learner.average.best
        seconds = (time.process_time() - self.start) / replicates
        done = {share: plateau.look(step, best.loss) for share, plateau in self.plateaus.items()}
        done[CAP] = [False] * replicates
        for share, stopped in done.items():
            for r in range(replicates):
                if (stopped[r] or step == self.steps) and (share, r) not in self.stops:
                    self.stops[share, r] = Stop(step, seconds, [value[r].clone() for value in best.values])
        return done[CAP]


def rows(task: Task, method: ScoreMatching, budget: int, replicates: int) -> Iterator[dict[str, Any]]:
    """Train the method to its largest number of steps; yield a row for each threshold and replicate."""
    simulations, seeds = training_simulations(task, budget, replicates)
    data, summary = method.summarised(simulations, seeds)
    recorder = method.trainer(data, seeds, Recorder)
    recorder.run(lambda done, total: None)
    fresh = fresh_data(task, method, replicates)
    if summary is not None:
        fresh = TrainingData(fresh.u, summary(fresh.x), fresh.score)
    facts = {"task": task.label, "method": method.name, "budget": budget}
    for share in (*THRESHOLDS, CAP):
        stops = [recorder.stops[share, r] for r in range(replicates)]
        losses = _losses(method, recorder, [stop.kept for stop in stops], fresh)
        for r, (stop, loss) in enumerate(zip(stops, losses, strict=True)):
            found = {"step": stop.step, "cpu_seconds": round(stop.seconds, 3), "loss": loss}
            yield facts | {"threshold": share, "replicate": r} | found


@torch.no_grad()
def _losses(
    method: ScoreMatching, recorder: Recorder, kept: Sequence[Sequence[Tensor]], fresh: TrainingData
) -> list[float]:
    """Return the loss of each replicate with the parameters that it kept."""
    for parameter, *values in zip(recorder.results, *kept, strict=True):
        parameter.copy_(torch.stack(values))
    return fresh_loss(method, *recorder.fitted, fresh).tolist()


def main(
    task: Annotated[str, typer.Option(help="The label of one of the tasks.")],
    method: Annotated[list[str], typer.Option(help="May be repeated.")] = list(METHODS),  # noqa: B006
    budget: Annotated[list[int], typer.Option(help="May be repeated.")] = list(BUDGETS),  # noqa: B006
    replicates: int = REPLICATES,
    cap: Annotated[int, typer.Option(help="The number of training steps.")] = MOST_STEPS,
    out: Annotated[Path | None, typer.Option(metavar="FILE.csv")] = None,
) -> None:
    """Measure where thresholds would have stopped, and what they would have kept."""
    chosen = chosen_task(task, TASKS)
    made = [METHODS[name](steps=cap) for name in method]
    write([row for each in made for size in budget for row in rows(chosen, each, size, replicates)], out)


if __name__ == "__main__":
    typer.run(main)
