"""How to train summaries: the loss of `dsm` on fresh simulations after each of several ways.

    python -m graybench.benchmark.choices.summary_training --task NAME --budget N --variant NAME --out CSV

Each variant replaces x by a summary, see `summary_variants`, and `dsm` without summaries is fitted to it:

    none                            x itself
    shipped                         `methods.score.summary`: predictions of u, out of fold
    shipped in sample               the same, but every network predicts the rows that it saw
    features trained                regression of u; predictions of u, in sample
    features trained out of fold    the same in three folds; predictions of u, out of fold
    gaussian likelihood             predicted means and log-variances of u, in sample
    joint score                     twelve features, from which with u the joint score is regressed
    joint training                  twelve features, trained by regression of u and then by the loss of `dsm`
    by hand                         sufficient statistics, where they are known

All variants estimate the same score, so the lower loss is the better one.

Trained features are trained until their held-out loss has stopped falling, but not beyond the cap of
`summary_networks.train`. Data of 200 numbers reach the cap before training may stop by itself.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from ...methods.score.score_matching import DSM
from ...methods.score.summary import NONE
from ...tasks.task import Task
from .fresh import REPLICATES, chosen_task, fresh_data, fresh_loss, training_simulations, write
from .summary_variants import VARIANTS, data_of, learn

TASKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("hierarchical_normal", {}),
    ("ar1_noise", {}),
    ("iid_mixture", {}),
    ("negative_binomial", {}),
    ("robust_regression", {}),
)


def rows(task: Task, budget: int, variant: str, replicates: int) -> Iterator[dict[str, Any]]:
    """Train the summary of a variant, fit `dsm` to it, and yield a row for each replicate.

    Seconds are processor seconds; those of `dsm` are shared evenly among the replicates. Joint training has a
    second row for each replicate, with the loss of the score network that was trained with the summary.
    """
    simulations, seeds = training_simulations(task, budget, replicates)
    learned, seconds = [], []
    for own, seed in zip(simulations, seeds, strict=True):
        start = time.process_time()
        learned.append(learn(variant, data_of(task, own), seed))
        seconds.append(time.process_time() - start)
    start, method = time.process_time(), DSM(summaries=NONE)
    pairs = zip(simulations, learned, strict=True)
    posteriors = method.train([replace(own, x=found.training, structure=None) for own, found in pairs], seeds)
    fitting = (time.process_time() - start) / replicates
    fresh = fresh_data(task, method, 1)
    for r, (found, posterior) in enumerate(zip(learned, posteriors, strict=True)):
        data = replace(fresh, x=found.summary(fresh.x[0]).unsqueeze(0))
        models = {variant: posterior.model}
        if found.model is not None:
            models[f"{variant}, its own score network"] = found.model
        for label, model in models.items():
            (loss,) = fresh_loss(method, model, posterior.gate, data).tolist()
            facts = {"task": task.label, "budget": budget, "variant": label, "replicate": r, "loss": loss}
            yield facts | {"summary_seconds": seconds[r], "dsm_seconds": fitting}


def losses(found: pd.DataFrame) -> pd.DataFrame:
    """Return mean losses over replicates, their `standard error` and seconds, by task, budget and variant."""
    groups = found.groupby(["task", "budget", "variant"], sort=False)
    means = groups[["loss", "summary_seconds", "dsm_seconds"]].mean()
    means.insert(1, "standard error", groups["loss"].sem())
    return means.reset_index().sort_values(["task", "budget", "loss"], ignore_index=True)


def main(
    task: Annotated[str, typer.Option(help="The label of one of the tasks.")],
    budget: Annotated[int, typer.Option(help="Number of training simulations.")],
    variant: Annotated[str, typer.Option(help="One of: " + ", ".join(VARIANTS) + ".")],
    replicates: int = REPLICATES,
    out: Annotated[Path | None, typer.Option(metavar="FILE.csv")] = None,
) -> None:
    """Measure one way to train summaries."""
    write([*rows(chosen_task(task, TASKS), budget, variant, replicates)], out)


if __name__ == "__main__":
    typer.run(main)
