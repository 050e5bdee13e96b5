"""Changes between two runs: one metric of two result tables, compared cell by cell."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..running.rows import ending, with_variants
from .statistics import LEVEL, difference_interval, holm, table_of
from .table import averaged

CELL = ["task", "variant", "budget", "label"]


class Change(NamedTuple):
    """The comparison of one cell of run A with the same cell of run B.

    Attributes:
        kind: "only in A", "only in B", "status" (the statuses differ), "no value" (both have the same status,
            which is not ok), "same" (equal to the last digit) or "differs".
        status_a, status_b: the status of the metric's rows in each run; empty if there are no rows.
        a, b: the means of the metric; NaN unless both are ok.
        difference, low, high, p: b − a with its interval and p-value; NaN unless both are ok.
        paired: whether the difference is paired.
    """

    kind: str
    status_a: str = ""
    status_b: str = ""
    a: float = np.nan
    b: float = np.nan
    difference: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    paired: bool = False


COLUMNS = (*CELL, *Change._fields, "beyond", "holm")


def changes(a: pd.DataFrame, b: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Compare a metric in two result tables, cell by cell.

    Values resolved in diffusion time are left out. A cell is identified by task, variant, budget and label.
    The difference is the mean of run B minus the mean of run A, with the interval of `difference_interval`.
    It is paired if both cells have the same root seed, task version and number of replicates and
    observations: their replicates then have the same simulations.

    A difference is *beyond noise* if its interval excludes 0, which happens by chance in about 5 % of
    comparisons. `holm` marks the differences that remain after Holm's correction over all comparisons of the
    two runs: with probability at least 95 % none of these is due to chance. Cells with equal values do not
    count as comparisons.

    Args:
        a, b: result tables.
        metric: name of the metric.

    Returns:
        One row for each cell of either table, with the columns `COLUMNS`: the cell, the fields of `Change`,
        `beyond` (beyond noise) and `holm`.

    Raises:
        UserError: a table has no such metric to average.
    """
    cells_a, cells_b = _cells(a, metric), _cells(b, metric)
    records = [(*key, *_change(cells_a.get(key), cells_b.get(key))) for key in {**cells_a, **cells_b}]
    found = pd.DataFrame(records, columns=[*CELL, *Change._fields])
    p = found["p"].to_numpy(dtype=float)
    differs = (found["kind"] == "differs").to_numpy()
    return found.assign(beyond=differs & (p < 1 - LEVEL), holm=holm(np.where(differs, p, np.nan)))


def _cells(frame: pd.DataFrame, metric: str) -> dict[tuple[Any, ...], pd.DataFrame]:
    rows = with_variants(averaged(frame, metric))
    return {tuple(key): own for key, own in rows.groupby(CELL, sort=False)}


def _change(a: pd.DataFrame | None, b: pd.DataFrame | None) -> Change:
    status_a, status_b = ("" if rows is None else ending(rows).status for rows in (a, b))
    if a is None or b is None:
        return Change("only in B" if a is None else "only in A", status_a, status_b)
    if (status_a, status_b) != ("ok", "ok"):
        return Change("no value" if status_a == status_b else "status", status_a, status_b)
    before, after = (table_of(rows[rows["status"] == "ok"]) for rows in (a, b))
    paired = _origin(a) == _origin(b) and before.shape == after.shape
    return Change(
        "same" if np.array_equal(before, after) else "differs",
        status_a,
        status_b,
        float(before.mean()),
        float(after.mean()),
        *difference_interval(before, after, paired=paired),
        paired=paired,
    )


def _origin(rows: pd.DataFrame) -> tuple[Any, Any]:
    return rows["root_seed"].iloc[0], rows["task_version"].iloc[0]


def print_changes(a: pd.DataFrame, b: pd.DataFrame, metric: str, names: list[str], console: Console) -> None:
    """Print what changed from table A to table B.

    Args:
        a, b: result tables.
        metric: name of the metric.
        names: names of A and B.
        console: where to print.

    Raises:
        UserError: a table has no such metric to average.
    """
    found = changes(a, b, metric)
    console.print(f"{metric}, cell by cell. A: {names[0]}. B: {names[1]}.", markup=False, highlight=False)
    for kind, title in (("only in A", "only in A"), ("only in B", "only in B"), ("status", "status changed")):
        rows = found[found["kind"] == kind]
        if len(rows):
            console.print(
                _listed(rows, title, ["A", "B"], rows[["status_a", "status_b"]].to_numpy().tolist())
            )
    differs = found[found["kind"] == "differs"]
    if len(differs):
        cells = [_shown(change) for change in differs.itertuples()]
        title = r"values that differ, B − A \[95 % interval], * beyond noise, ** after Holm's correction"
        console.print(_listed(differs, title, ["A", "B", "B − A", "paired"], cells))
    for line in summary(found):
        console.print(line, highlight=False)


def summary(found: pd.DataFrame) -> list[str]:
    """Return sentences that count the changes, and say how many are expected by chance."""
    count = found["kind"].value_counts().to_dict()
    lines = [
        f"{len(found)} cells: {count.get('only in A', 0)} only in A, {count.get('only in B', 0)} only in B, "
        f"{count.get('status', 0)} with another status, {count.get('no value', 0)} without a value in both, "
        f"{count.get('same', 0)} equal to the last digit, {count.get('differs', 0)} that differ."
    ]
    compared = int(((found["kind"] == "differs") & found["p"].notna()).sum())
    if compared:
        beyond, by_chance = int(found["beyond"].sum()), (1 - LEVEL) * compared
        lines.append(
            f"Of {compared} compared with an interval, about {by_chance:.1f} (5 %) are expected beyond noise "
            f"by chance; {beyond} are, {max(0.0, beyond - by_chance):.1f} more than expected, and "
            f"{int(found['holm'].sum())} remain after Holm's correction."
        )
    return lines


def _listed(rows: pd.DataFrame, title: str, columns: list[str], cells: list[list[str]]) -> Table:
    table = Table(title=title)
    for name in ("task", "variant", "method"):
        table.add_column(name, overflow="fold")
    for name in ("budget", *columns):
        table.add_column(name, justify="right")
    places = rows[["task", "variant", "label", "budget"]].itertuples(index=False)
    for (task, variant, label, budget), cell in zip(places, cells, strict=True):
        table.add_row(*map(escape, (task, variant, label)), f"{budget:,}", *cell)
    return table


def _shown(change: Any) -> list[str]:
    text = f"{change.difference:+.3g}"
    if not np.isnan(change.low):
        text += rf" \[{change.low:+.3g}, {change.high:+.3g}]"
    if change.beyond:
        text = f"[bold]{text} {'**' if change.holm else '*'}[/]"
    return [f"{change.a:.3g}", f"{change.b:.3g}", text, "yes" if change.paired else "no"]
