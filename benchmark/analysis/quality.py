"""Time to quality: how long each method takes, for the methods that are as good as the best.

A user waits for fitting and sampling, and does not care how a method spends the time.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..metrics.catalogue import record_of
from ..running.rows import TIMINGS
from .statistics import Array, bootstrap_means, table_of
from .table import averaged, require_ranked

COLUMNS = ("task", "budget", "method", "value", "reached", "share", "seconds")
SURE = 0.95  # share of bootstrap draws above which it is not printed


class Timed(NamedTuple):
    """A method at one place.

    Attributes:
        distances: its distance from perfect, and that of each bootstrap draw, (1 + DRAWS,).
        value: its mean.
        seconds: seconds of fitting and sampling of one replicate.
    """

    distances: Array
    value: float
    seconds: float


def time_to_quality(frame: pd.DataFrame, metric: str, margin: float) -> pd.DataFrame:
    """Return which methods are within a margin of the best at each task and budget, and their seconds.

    Quality is the distance of the metric's mean from perfect (`Metric.distance`). All methods of a budget had
    the same simulations.

    Args:
        frame: a result table.
        metric: name of a ranked metric.
        margin: the largest excess over the best method's distance that counts as reached.

    Returns:
        The columns `COLUMNS`: task; budget; the method with its settings; its mean; whether it is within the
        margin; in which share of bootstrap draws over replicates and observations it is; and the seconds of
        fitting and sampling a replicate. Methods that failed or were skipped are left out.

    Raises:
        UserError: the table has no such metric to average, or the metric is not ranked.
    """
    rows = averaged(frame, metric)
    require_ranked(metric)
    records = []
    for (task, budget), place in rows.groupby(["task", "budget"], sort=False):
        found = _of_place(place, metric)
        if not found:
            continue
        excess = np.array([timed.distances for timed in found.values()])
        within = excess <= excess.min(0) + margin
        for (label, timed), own in zip(found.items(), within, strict=True):
            numbers = timed.value, bool(own[0]), float(own[1:].mean()), timed.seconds
            records.append((task, budget, label, *numbers))
    return pd.DataFrame(records, columns=list(COLUMNS))


def _of_place(place: pd.DataFrame, metric: str) -> dict[str, Timed]:
    distance = record_of(metric).distance
    found = {}
    for label, own in place.groupby("label", sort=False):
        if not (own["status"] == "ok").all():
            continue
        table = table_of(own)
        (draws,) = bootstrap_means(table)
        seconds = float(own[list(TIMINGS)].iloc[0].sum()) / len(table)
        distances = np.concatenate([[float(distance(table.mean()))], distance(draws)])
        found[str(label)] = Timed(distances, float(table.mean()), seconds)
    return found


def print_time_to_quality(frame: pd.DataFrame, metric: str, margin: float, console: Console) -> None:
    """Print one table for each budget: tasks down, methods within the margin by their seconds.

    A share in brackets is that of bootstrap draws in which the method is within the margin, if below 95 %.

    Args:
        frame: a result table.
        metric, margin: as in `time_to_quality`.
        console: where to print.

    Raises:
        UserError: the table has no such metric to average, or the metric is not ranked.
    """
    found = time_to_quality(frame, metric, margin)
    for budget, of_budget in found.groupby("budget"):
        title = f"budget {budget:,}: seconds to {metric} within {margin:g} of the best"
        table = Table("task", "best", "seconds of the methods that reach it", title=title)
        for task, place in of_budget.groupby("task", sort=False):
            values = place["value"].to_numpy(dtype=float)
            best = values[record_of(metric).distance(values).argmin()]
            reached = place[place["reached"]].sort_values("seconds")
            shown = [
                f"{seconds:,.3g} {escape(method)}" + (f" ({share:.0%})" if share < SURE else "")
                for seconds, method, share in zip(
                    reached["seconds"], reached["method"], reached["share"], strict=True
                )
            ]
            table.add_row(escape(str(task)), f"{best:.3g}", ", ".join(shown))
        console.print(table)
