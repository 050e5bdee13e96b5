"""How many numbers stay beside their summary: `score.summary.SHORT`.

    python -m graybench.benchmark.choices.summaries --task NAME --out FILE.csv

The loss of DSM on fresh simulations if it learns from x, from the summary for the structure of x, or from
both. This loss estimates the same quantity up to a constant, whatever the network sees, so the lower loss has
the better score.
`choices.report` has the criterion.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ...methods.score.score_matching import DSM
from ...methods.score.summary import Summary
from ...methods.score.trainer import Trainer
from ...methods.score.training_data import TrainingData
from ...tasks.task import Task
from .fresh import BUDGETS, REPLICATES, chosen_task, fresh_data, fresh_loss, training_simulations, write

TASKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("gaussian_mixture", {"draws": 2}),
    ("sbibm_slcp", {}),
    ("iid_mixture", {"draws": 8}),
    ("immigration_death", {}),
    ("ornstein_uhlenbeck_path", {}),
    ("sbibm_sir", {}),
    ("gaussian_mixture", {"draws": 8}),
    ("galton", {"balls": 16, "positions": True}),
    ("lotka_volterra", {}),
    ("schloegl", {}),
    ("sbibm_lotka_volterra", {}),
    ("hierarchical_normal", {"groups": 6}),
    ("iid_mixture", {"draws": 24}),
    ("galton", {"balls": 32, "positions": True}),
    ("robust_regression", {}),
    ("hierarchical_normal", {"groups": 10}),
    ("iid_mixture", {"draws": 50}),
    ("ar1_noise", {}),
    ("negative_binomial", {}),
    ("sbibm_bernoulli_glm_raw", {}),
    ("iid_mixture", {}),
    ("hierarchical_normal", {}),
)

# What DSM learns from, and up to which size x stays beside its summary; None stands for no summary.
WAYS: dict[str, float | None] = {"x": None, "summary": 0, "both": math.inf}


def rows(task: Task, budget: int, replicates: int) -> Iterator[dict[str, Any]]:
    """Fit DSM to x, to its summary and to both; yield a row for each and each replicate."""
    simulations, seeds = training_simulations(task, budget, replicates)
    method = DSM()
    raw, fresh = method.training_data(simulations), fresh_data(task, method, replicates)
    facts = {"task": task.label, "size": task.dim_x, "budget": budget}
    for way, short in WAYS.items():
        data, test = raw, fresh
        if short is not None:
            summary = Summary(task.structure.effective, raw.x, raw.u.shape[2], seeds, short)
            data = TrainingData(raw.u, summary.fit(raw.x, raw.u), raw.score)
            test = TrainingData(fresh.u, summary(fresh.x), fresh.score)
        trainer = method.trainer(data, seeds, Trainer)
        trainer.run(lambda done, total: None)
        losses = fresh_loss(method, *trainer.fitted, test).tolist()
        for r, (step, loss) in enumerate(zip(trainer.taken, losses, strict=True)):
            yield facts | {"learns_from": way, "replicate": r, "step": step, "loss": loss}


def main(
    task: Annotated[str, typer.Option(help="The label of one of the tasks.")],
    budget: Annotated[list[int], typer.Option(help="May be repeated.")] = list(BUDGETS),  # noqa: B006
    replicates: int = REPLICATES,
    out: Annotated[Path | None, typer.Option(metavar="FILE.csv")] = None,
) -> None:
    """Measure the loss of DSM with x, with its summary, and with both."""
    chosen = chosen_task(task, TASKS)
    write([row for size in budget for row in rows(chosen, size, replicates)], out)


if __name__ == "__main__":
    typer.run(main)
