"""Tables and verdicts of the measurements on fresh simulations.

    python -m graybench.benchmark.choices.report FOLDER

reads stopping*.csv, summaries*.csv and summary_training*.csv, and prints Markdown. The criteria:

    stopping    the excess is loss/(loss at the cap) − 1. The threshold is the largest for which, with every
                method and budget, the excess is at most 1 % on average over tasks and at most 3 % on each
    SHORT       the largest measured size at which, for some task and budget, the summary has a loss more
                than 1 % above that of x: the summary must not make a task worse, so up to there x stays
"""

import re
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from ...tasks.errors import UserError
from .stopping import CAP
from .summary_training import losses

MEAN_EXCESS, LARGEST_EXCESS = 0.01, 0.03  # of thresholds
SUMMARY_EXCESS = 0.01


def excesses(found: pd.DataFrame) -> pd.DataFrame:
    """Return `excess`, `stderr`, `step` and `cpu_seconds` by threshold, method, budget and task.

    They are means over replicates; `stderr` is the standard error of `excess`.
    """
    fit = ["task", "method", "budget", "replicate"]
    cap = found[found["threshold"] == CAP].set_index(fit)["loss"].rename("cap")
    joined = found[found["threshold"] != CAP].join(cap, on=fit)
    joined["excess"] = joined["loss"] / joined["cap"] - 1
    groups = joined.groupby(["threshold", "method", "budget", "task"])
    means = groups[["excess", "step", "cpu_seconds"]].mean()
    return means.assign(stderr=groups["excess"].sem()).reset_index()


def over_tasks(by_task: pd.DataFrame) -> pd.DataFrame:
    """Return means over tasks by threshold, method and budget, with the largest excess and its task."""
    groups = by_task.groupby(["threshold", "method", "budget"])
    table = groups[["excess", "step", "cpu_seconds"]].mean()
    table["stderr"] = groups["stderr"].agg(lambda own: own.pow(2).sum() ** 0.5 / len(own))
    worst = by_task.loc[groups["excess"].idxmax()].set_index(["threshold", "method", "budget"])
    return table.assign(largest=worst["excess"], where=worst["task"]).reset_index()


def chosen_threshold(means: pd.DataFrame) -> float | None:
    """Return the threshold that the criterion chooses among the rows of `over_tasks`, or None."""
    good = (means["excess"] <= MEAN_EXCESS) & (means["largest"] <= LARGEST_EXCESS)
    fulfilled = good.groupby(means["threshold"]).all()
    return None if not fulfilled.any() else float(fulfilled[fulfilled].index.max())


def summary_excesses(found: pd.DataFrame) -> pd.DataFrame:
    """Return the mean losses, and how far those of the summary and of both lie above that of x.

    Excesses are shares of the loss of x, with standard errors over replicates. Rows are sizes, tasks and
    budgets.
    """
    fit = ["size", "task", "budget", "replicate"]
    losses = found.pivot(index=fit, columns="learns_from", values="loss")[["x", "summary", "both"]]
    for way in ("summary", "both"):
        losses[f"excess of {way}"] = losses[way] / losses["x"] - 1
    groups = losses.groupby(fit[:-1])
    errors = groups[["excess of summary", "excess of both"]].sem().add_prefix("stderr of the ")
    return groups.mean().join(errors).reset_index()


def chosen_size(table: pd.DataFrame) -> int:
    """Return SHORT for the rows of `summary_excesses`; 0 if the summary alone makes no task worse."""
    worse = table.loc[table["excess of summary"] > SUMMARY_EXCESS, "size"]
    return 0 if worse.empty else int(worse.max())


def markdown(table: pd.DataFrame) -> str:
    """Return a Markdown table; shares are in percent."""
    shown = table.copy()
    for share in [name for name in table if re.match("threshold|.*excess|largest|stderr", str(name))]:
        shown[f"{share}"] = (100 * shown[share]).map("{:.3g} %".format)
    for name in {"step", "budget"} & {*table.columns}:
        shown[name] = shown[name].map("{:,.0f}".format)
    lines = [shown.columns, ["---"] * shown.shape[1], *shown.map(_short).to_numpy()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _short(entry: object) -> str:
    return f"{entry:.4g}" if isinstance(entry, float) else str(entry)


def _read(folder: Path, pattern: str) -> pd.DataFrame | None:
    files = sorted(folder.glob(pattern))
    return pd.concat([pd.read_csv(file) for file in files]) if files else None


def report(folder: Path) -> str:
    """Return the Markdown of a folder.

    Raises:
        UserError: the folder has no such files.
    """
    parts = []
    if (found := _read(folder, "stopping*.csv")) is not None:
        by_task = excesses(found)
        means, columns = over_tasks(by_task), ["excess", "stderr", "largest", "where", "step", "cpu_seconds"]
        threshold = chosen_threshold(means)
        verdict = "No threshold"
        if threshold is not None:
            verdict = f"{100 * threshold:g} % is the largest threshold that"
        parts += [
            "## Stopping",
            markdown(means[["threshold", "method", "budget", *columns]]),
            f"{verdict} fulfils the criterion.",
            markdown(by_task[["task", "method", "budget", "threshold", "excess", "stderr", "step"]]),
        ]
    if (found := _read(folder, "summaries*.csv")) is not None:
        table = summary_excesses(found)
        parts += ["## Summaries", markdown(table), f"SHORT is {chosen_size(table)} by the criterion."]
    if (found := _read(folder, "summary_training*.csv")) is not None:
        parts += ["## Training of summaries", markdown(losses(found))]
    if not parts:
        raise UserError(
            f"{folder}: there is no stopping*.csv, no summaries*.csv and no summary_training*.csv here."
        )
    return "\n\n".join(parts)


def main(folder: Annotated[Path, typer.Argument(metavar="FOLDER")]) -> None:
    """Print the tables and verdicts of a folder of CSV files."""
    print(report(folder))


if __name__ == "__main__":
    typer.run(main)
