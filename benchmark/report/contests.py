"""Where a method wins and where it loses: paired ratios of its error to the best other method's error.

Both methods had the same simulations, so the bootstrap draws the same replicates and observations for both.
The rival is the method with the least mean. The same numbers choose the rival and compare it, so it looks
slightly better than it is. A method wins or loses where Student's interval of the difference excludes 0, as
in `graybench compare DIR_A DIR_B`: against an equally good rival fixed beforehand, this happens at most 7
times in 100.
"""

from typing import Any

import numpy as np
import pandas as pd

from ..analysis.ranking import PLACE
from ..analysis.statistics import Array, difference_interval, ratio_interval, table_of
from ..metrics.catalogue import MAIN
from .points import records


def contests(rows: pd.DataFrame, points: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Return each method's contests: one for each place and metric where another method has a result as well.

    Args:
        rows: the rows, with the same replicates and observations for all methods of a place.
        points: the points of `points_of`, ranked.

    Returns:
        For each label the records of its points, with rival, ratio, low and high (of the ratio; NaN without
        one) and verdict: "wins", "loses", "even", "unknown" with one replicate only, or the status of a
        failure.
    """
    found: dict[str, list[dict[str, Any]]] = {label: [] for label in points["label"].unique()}
    for metric in MAIN:
        of_metric = rows[(rows["metric"] == metric) & (rows["status"] == "ok")]
        tables = {key: table_of(group) for key, group in of_metric.groupby([*PLACE, "label"], sort=False)}
        ranked = points[(points["metric"] == metric) & points["rank"].notna()]
        for place, group in ranked.groupby(PLACE, sort=False):
            for point in records(group):
                others = group[(group["label"] != point["label"]) & group["value"].notna()]
                if len(others):
                    rival = others.loc[others["value"].idxmin(), "label"]
                    mine, theirs = tables.get((*place, point["label"])), tables[*place, rival]
                    found[point["label"]].append(point | {"rival": rival} | _ratio(point, mine, theirs))
    return found


def _ratio(point: dict[str, Any], mine: Array | None, theirs: Array) -> dict[str, Any]:
    if point["failed"] or mine is None:
        return {"ratio": np.nan, "ratio_low": np.nan, "ratio_high": np.nan, "verdict": point["status"]}
    ratio, low, high = ratio_interval(mine, theirs)
    beyond = difference_interval(theirs, mine, paired=True)
    verdict = "wins" if beyond.high < 0 else "loses" if beyond.low > 0 else "even"
    verdict = "unknown" if np.isnan(beyond.low) else verdict
    return {"ratio": ratio, "ratio_low": low, "ratio_high": high, "verdict": verdict}
