"""What is resolved in diffusion time: means with intervals at each time, at the largest budget.

A method with a failure there has no line, but its status and reason.
"""

import numpy as np
import pandas as pd

from ..analysis.statistics import summarise
from ..running.rows import ending

METRICS = ("score_error", "target_variance")
TIMES = (0.01, 0.1, 0.3, 0.6, 1.0)  # of the table beside a chart
COLUMNS = ["label", "budget", "time", "value", "low", "high", "status", "reason", "cell"]


def points_over_time(rows: pd.DataFrame) -> pd.DataFrame:
    """Give the points of a metric on a task at one budget: a row for each method and time.

    Args:
        rows: of one metric, task, variant and budget, all those of a cell that failed included.

    Returns:
        `COLUMNS` with metric; a method that failed has one row without time and value. The intervals are
        those of `benchmark.analysis.statistics.summarise`.
    """
    found = []
    for label, own in rows.groupby("label", sort=False):
        end = ending(own)
        same = {"label": label, "budget": own["budget"].iloc[0], "cell": own["cell"].iloc[0]}
        ok = own[(own["status"] == "ok") & own["time"].notna()]
        if end.status not in ("ok", "skipped"):
            found.append(pd.DataFrame([same | end._asdict()]))
        elif len(ok):
            line = summarise(ok.sort_values("time"), ["time"]).dropna(subset="value")
            found.append(line.assign(**same, status="ok", reason=""))
    points = pd.concat(found, ignore_index=True) if found else pd.DataFrame()
    return points.reindex(columns=COLUMNS).assign(metric=rows["metric"].iloc[0])


def shown_at(points: pd.DataFrame) -> list[float]:
    """Give the times of the points that are nearest to `TIMES`, without repetition."""
    times = np.sort(points["time"].dropna().unique())
    return sorted({float(times[np.abs(times - time).argmin()]) for time in TIMES}) if len(times) else []
