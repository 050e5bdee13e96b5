"""How many numbers a network learns as well without a summary: `score.summary.SHORT`.

    python -m graybench.benchmark.choices.summaries --task NAME --out FILE.csv

The loss of DSM on fresh simulations, with the summary for the structure of x and without. This loss estimates
the same quantity up to a constant, whatever the network sees, so the lower loss has the better score.
`choices.report` has the criterion.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ...methods.score.score_matching import DSM
from ...methods.score.summary import NETWORKS, NONE
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


def rows(task: Task, budget: int, replicates: int) -> Iterator[dict[str, Any]]:
    """Fit DSM with the summary and without; yield a row for each and each replicate."""
    simulations, seeds = training_simulations(task, budget, replicates)
    kind = type(task.structure.effective)
    (network,) = [name for name, structure in NETWORKS.items() if structure is kind]
    facts = {"task": task.label, "size": task.dim_x, "budget": budget}
    for option in (network, NONE):
        method = DSM(summaries=option)
        fresh = fresh_data(task, method, 1)
        for r, posterior in enumerate(method.train(simulations, seeds)):
            x = fresh.x if posterior.summary is None else posterior.summary(fresh.x)
            data = TrainingData(fresh.u, x, fresh.score)
            (loss,) = fresh_loss(method, posterior.model, posterior.gate, data).tolist()
            yield facts | {
                "summaries": option,
                "replicate": r,
                "step": posterior.training_steps,
                "loss": loss,
            }


def main(
    task: Annotated[str, typer.Option(help="The label of one of the tasks.")],
    budget: Annotated[list[int], typer.Option(help="May be repeated.")] = list(BUDGETS),  # noqa: B006
    replicates: int = REPLICATES,
    out: Annotated[Path | None, typer.Option(metavar="FILE.csv")] = None,
) -> None:
    """Measure the loss of DSM with a summary and without."""
    chosen = chosen_task(task, TASKS)
    write([row for size in budget for row in rows(chosen, size, replicates)], out)


if __name__ == "__main__":
    typer.run(main)
