"""The result table for people: budgets across, methods down, mean with 95 % interval, the best marked."""

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from benchmark.statistics import Array, summarise
from tasks.errors import UserError
from tasks.plugin import nearest

# What a perfect method scores; 0 for every other metric.
PERFECT = {"c2st_mlp": 0.5, "ess_fraction": 1.0, "coverage": 0.9, "expected_coverage": 0.9, "sbc": 1.0}
UNBOUNDED = ("excess_variance",)  # no value is perfect, and less is always better


def distance(metric: str, value: Array) -> Array:
    """Say how far values of a metric are from perfect, elementwise: the less, the better."""
    return value if metric in UNBOUNDED else np.abs(value - PERFECT.get(metric, 0.0))


def method_labels(frame: pd.DataFrame) -> "pd.Series[str]":
    """Give each row's method with its settings in brackets, `mix(gate=learned)`."""
    settings = frame["method_settings"].str.replace(" ", ", ")
    return frame["method"].where(settings == "", frame["method"] + "(" + settings + ")")


def averaged(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Select the rows of a metric that are not resolved in diffusion time; raise `UserError` if none are."""
    rows = frame[(frame["metric"] == metric) & frame["time"].isna()]
    plain = frame.loc[frame["time"].isna() & (frame["status"] == "ok"), "metric"].unique()
    resolved = (frame["metric"] == metric) & frame["time"].notna()
    if metric not in plain and (rows.empty or resolved.any()):
        hint = nearest(metric, plain) if len(plain) else "all its metrics are resolved in time."
        raise UserError(f"the table has no metric {metric!r} to average: {hint}")
    return rows.assign(label=method_labels(rows))


def print_table(frame: pd.DataFrame, metric: str, console: Console) -> None:
    """Print one table for each task; cells that did not end well show their status."""
    rows = averaged(frame, metric)
    for task, of_task in rows.groupby("task", sort=False):
        console.print(_table(str(task), metric, of_task))


def _table(task: str, metric: str, rows: pd.DataFrame) -> Table:
    bad = rows[rows["status"] != "ok"]
    # what is shown as a status must not take the mark of the best
    spoiled = (rows["status"] != "ok").groupby([rows["label"], rows["budget"]]).transform("any")
    summary = summarise(rows[~spoiled], ["label", "budget"])
    distances = pd.Series(distance(metric, summary["value"].to_numpy(dtype=float)), summary.index)
    best = set(distances.groupby(summary["budget"]).idxmin())
    numbers = summary[["value", "low", "high"]].to_numpy()
    places = list(zip(summary["label"], summary["budget"], strict=True))
    shown = {place: _cell(*numbers[i], best=i in best) for i, place in enumerate(places)}
    for label, budget, status in zip(bad["label"], bad["budget"], bad["status"], strict=True):
        shown[label, budget] = f"[italic]{status}[/]"
    floors = summary.groupby("budget")["floor"].mean()
    budgets = sorted(rows["budget"].unique())
    table = Table(title=f"{task} · {metric}, mean [95 % interval], * best".replace("[", r"\["))
    table.add_column("method", overflow="fold")
    for budget in budgets:
        table.add_column(f"{budget:,}", justify="right")
    for label in rows["label"].unique():
        table.add_row(label, *[shown.get((label, budget), "") for budget in budgets])
    if floors.notna().any():
        table.add_section()
        table.add_row("floor", *[f"{floors[b]:.2g}" if b in floors else "" for b in budgets])
    return table


def _cell(value: float, low: float, high: float, *, best: bool) -> str:
    text = f"{value:.3g}" if np.isnan(low) else rf"{value:.3g} \[{low:.3g}, {high:.3g}]"
    return f"[bold]{text} *[/]" if best else text
