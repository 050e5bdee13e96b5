"""One method compared with a baseline over many tasks, as numbers.

Both methods have the same simulations, so each bootstrap draw takes the same replicates and observations of
both. If a row of either did not end well, the place gets its status instead of numbers.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from ...tasks.errors import UserError
from ..metrics.catalogue import record_of
from ..running.rows import with_variants
from .statistics import (
    NO_RESULT,
    Array,
    Interval,
    difference_interval,
    distance_interval,
    ratio_interval,
    table_of,
)
from .table import method_labels, require_ranked

COLUMNS = ("task", "variant", "budget", "value", "low", "high", "p", "status")


def ratios(frame: pd.DataFrame, metric: str, method: str, baseline: str) -> pd.DataFrame:
    """Compute the ratio of a method's mean to the baseline's mean for each task, variant and budget.

    Below 1 the method is better. Values resolved in diffusion time are left out.

    Args:
        frame: a result table.
        metric: name of a metric for which 0 is perfect and no value is negative.
        method, baseline: two labels such as "mix(gate=learned)", compared within each variant. If one of them
            is not such a label, both must be methods with all their settings, such as "dsm(steps=30000)".

    Returns:
        One row for each task, variant ("" if the labels have all settings) and budget where both were run,
        with the columns `COLUMNS`. `low` and `high` are the ends of the bootstrap interval. `p` is Student's
        test of equal means. Numbers are NaN if `status` is not "ok".

    Raises:
        UserError: a ratio of two values of the metric does not show which is better.
    """
    if not record_of(metric).has_ratio:
        raise UserError(
            f"a ratio of two values of {metric} does not say which is better; `graybench table --metric "
            f"{metric}` shows the values."
        )
    return _compared(frame, metric, method, baseline, ratio_interval)


def differences(frame: pd.DataFrame, metric: str, method: str, baseline: str) -> pd.DataFrame:
    """Compute how much farther a method's mean is from perfect than the baseline's, for each place.

    Below 0 the method is better. A place is a task, variant and budget. Arguments and columns are as in
    `ratios`, but `metric` may be any ranked metric. `Metric.distance` defines the distance.

    Raises:
        UserError: the metric is not ranked.
    """
    require_ranked(metric)
    interval = partial(distance_interval, distance=record_of(metric).distance)
    return _compared(frame, metric, method, baseline, interval)


def _compared(
    frame: pd.DataFrame,
    metric: str,
    method: str,
    baseline: str,
    interval: Callable[[Array, Array], Interval],
) -> pd.DataFrame:
    rows = with_variants(frame[frame["time"].isna() & (frame["status"] != "skipped")])
    rows = rows[rows["metric"] == metric]
    if not {method, baseline} <= {*rows["label"]}:
        rows = rows.assign(label=method_labels(rows), variant="")
    records = []
    for place, group in rows.groupby(["task", "variant", "budget"], sort=False):
        sides = [group[group["label"] == label] for label in (method, baseline)]
        if any(side.empty for side in sides):
            continue
        statuses = [status for side in sides for status in side["status"] if status != "ok"]
        if statuses:
            records.append((*place, *NO_RESULT, np.nan, statuses[0]))
            continue
        own, other = map(table_of, sides)
        p = difference_interval(other, own, paired=True).p
        records.append((*place, *interval(own, other), p, "ok"))
    numbers = dict.fromkeys(("value", "low", "high", "p"), float)  # no rows have no type of their own
    return pd.DataFrame(records, columns=list(COLUMNS)).astype(numbers)
